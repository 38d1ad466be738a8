package lanes

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/postbench/postbench/refserver/shm"
)

// quarantine keeps the slot of a damaged record for somebody to look at, and frees it
// even if that fails: it can never be delivered.
func (d *Dir) quarantine(l *lane, s shm.Slot) {
	d.stats.Corrupt++
	name := filepath.Join(d.path, quarantineName, fmt.Sprintf("lane-%04d-%d.slot", l.number, s.Pos))
	if err := keep(name, s.Raw); err != nil {
		d.note(fmt.Errorf("lanes: lane %d, position %d is damaged and was not kept: %w", l.number, s.Pos, err))
	}
	l.consumer.Free(s.Pos)
}

// keep writes a file whole: a name without ".tmp" is never half a slot.
func keep(name string, content []byte) error {
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	kept, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(kept) >= maxQuarantined {
		return fmt.Errorf("%s holds %d files; look at them and remove them", dir, len(kept))
	}
	if err := os.WriteFile(name+".tmp", content, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".tmp", name)
}
