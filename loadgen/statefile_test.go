//go:build unix

package loadgen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/postbench/postbench/loadgen/audit"
)

func TestStateRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.bin")
	const n = 20_000 // more than one chunk of writing
	state, err := CreateState(path, n)
	if err != nil {
		t.Fatal(err)
	}
	for i := range state.Cells {
		if state.Cells[i] != (audit.Cell{}) {
			t.Fatalf("new cell %d is %+v", i, state.Cells[i])
		}
		state.Cells[i].DueNs, state.Cells[i].LastStatus = int64(i), 204
	}
	if err := state.Close(); err != nil {
		t.Fatal(err)
	}

	// A judge may write into an opened state; nothing of it reaches the file.
	for range 2 {
		state, err := OpenState(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(state.Cells) != n || state.Cells[n-1].DueNs != n-1 || state.Cells[1].LastStatus != 204 || state.Cells[1].Rows != 0 {
			t.Errorf("%d cells, last %+v", len(state.Cells), state.Cells[n-1])
		}
		state.Cells[1].Rows = 7
		if err := state.Close(); err != nil {
			t.Fatal(err)
		}
	}

	// The bytes are those of audit/FORMAT.md.
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := append([]byte("PBSTATE1"), binary.LittleEndian.AppendUint64(nil, n)...)
	want = append(want, make([]byte, 48)...)
	if !bytes.Equal(raw[:64], want) || len(raw) != 64+64*n || binary.LittleEndian.Uint64(raw[64*n:]) != n-1 {
		t.Errorf("%d bytes, header %q", len(raw), raw[:64])
	}
}

func TestStateNeverOverwrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.bin")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := CreateState(path, 10); !errors.Is(err, os.ErrExist) {
		t.Errorf("error %v", err)
	}
	if kept, _ := os.ReadFile(path); string(kept) != "precious" {
		t.Errorf("the file now holds %q", kept)
	}
}

func TestStateOfImpossibleSize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.bin")
	for _, n := range []uint64{0, maxStateIntent + 1, 1 << 63} {
		if _, err := CreateState(path, n); err == nil {
			t.Errorf("%d intents were accepted", n)
		}
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file was left behind: %v", err)
	}
	if _, err := CreateState(filepath.Join(path, "in", "no", "directory"), 1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

// A file size limit stands for the full disk: it works for every user and on
// every file system, and the kernel refuses in the same place.
func TestStateOnFullDisk(t *testing.T) {
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	limited := before
	limited.Cur = stateChunk + stateChunk/2 // full in the middle of the second write
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limited); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "state.bin")
	_, err := CreateState(path, 1<<20)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, syscall.EFBIG) || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v, want one about the size that names %s", err, path)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("half a state was left behind: %v", err)
	}
}

func TestBrokenStateIsRefused(t *testing.T) {
	whole := make([]byte, 64+3*64)
	copy(whole, stateMagic)
	binary.LittleEndian.PutUint64(whole[8:], 3)
	edited := func(edit func([]byte)) []byte {
		raw := bytes.Clone(whole)
		edit(raw)
		return raw
	}
	for name, c := range map[string]struct {
		raw  []byte
		want string // "" = accepted
	}{
		"whole":          {whole, ""},
		"empty":          {nil, "no header"},
		"short header":   {whole[:63], "no header"},
		"header only":    {whole[:64], "do not hold the 3 intents"},
		"truncated":      {whole[:len(whole)-1], "do not hold the 3 intents"},
		"too long":       {append(bytes.Clone(whole), 0), "do not hold the 3 intents"},
		"other magic":    {edited(func(raw []byte) { raw[7] = '2' }), "not a postbench run state of version 1"},
		"no intents":     {edited(func(raw []byte) { raw[8] = 0 }), "do not hold the 0 intents"},
		"overflown size": {edited(func(raw []byte) { binary.LittleEndian.PutUint64(raw[8:], 1<<58+3) }), "do not hold"},
	} {
		path := filepath.Join(t.TempDir(), "state.bin")
		if err := os.WriteFile(path, c.raw, 0o600); err != nil {
			t.Fatal(err)
		}
		state, err := OpenState(path)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want == "":
			state.Close()
		case err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path):
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if _, err := OpenState(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
