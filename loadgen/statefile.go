//go:build unix

package loadgen

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/postbench/postbench/loadgen/audit"
)

const (
	stateMagic     = "PBSTATE1"
	stateHeader    = audit.CellBytes
	stateChunk     = 1 << 20
	maxStateIntent = 1 << 32
)

// StateFile keeps the cells of a run in a mapped file, so that the heap stays
// flat however long the run is. The format is in audit/FORMAT.md.
type StateFile struct {
	Cells   []audit.Cell
	mapping []byte
	file    *os.File
}

// CreateState makes a state file for n intents. Every block is written before
// the file is mapped: a disk that is too full is an error here and never a
// SIGBUS in the middle of a run. On error no file is left.
func CreateState(path string, n uint64) (*StateFile, error) {
	if n == 0 || n > maxStateIntent {
		return nil, fmt.Errorf("state of %d intents: want 1 to %d", n, uint64(maxStateIntent))
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create run state: %w", err)
	}
	state, err := fillState(file, n)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create run state %s: %w", path, err), file.Close(), os.Remove(path))
	}
	return state, nil
}

func fillState(file *os.File, n uint64) (*StateFile, error) {
	size := int64(stateHeader + n*audit.CellBytes)
	zero := make([]byte, stateChunk)
	for written := int64(0); written < size; {
		k, err := file.Write(zero[:min(stateChunk, size-written)])
		if err != nil {
			return nil, err
		}
		written += int64(k)
	}
	header := make([]byte, stateHeader)
	copy(header, stateMagic)
	binary.LittleEndian.PutUint64(header[8:], n)
	if _, err := file.WriteAt(header, 0); err != nil {
		return nil, err
	}
	return mapState(file, size, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

// OpenState maps an existing state file. The caller may write to the cells;
// nothing of it reaches the file.
func OpenState(path string) (*StateFile, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open run state: %w", err)
	}
	state, err := checkState(file)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open run state %s: %w", path, err), file.Close())
	}
	return state, nil
}

func checkState(file *os.File) (*StateFile, error) {
	header := make([]byte, stateHeader)
	if _, err := file.ReadAt(header, 0); err != nil {
		return nil, fmt.Errorf("no header: %w", err)
	}
	if string(header[:8]) != stateMagic {
		return nil, errors.New("not a postbench run state of version 1")
	}
	n := binary.LittleEndian.Uint64(header[8:])
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if n == 0 || n > maxStateIntent || info.Size() != int64(stateHeader+n*audit.CellBytes) {
		return nil, fmt.Errorf("%d bytes do not hold the %d intents that the header names", info.Size(), n)
	}
	return mapState(file, info.Size(), n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
}

func mapState(file *os.File, size int64, n uint64, protection, flags int) (*StateFile, error) {
	mapping, err := unix.Mmap(int(file.Fd()), 0, int(size), protection, flags)
	if err != nil {
		return nil, fmt.Errorf("map: %w", err)
	}
	// The mapping is page aligned and the header is one cell long, so cells
	// are aligned; the layout is little-endian on every supported platform.
	cells := unsafe.Slice((*audit.Cell)(unsafe.Pointer(&mapping[stateHeader])), n)
	return &StateFile{Cells: cells, mapping: mapping, file: file}, nil
}

// Close unmaps; the cells must not be used any more.
func (s *StateFile) Close() error {
	s.Cells = nil
	return errors.Join(unix.Munmap(s.mapping), s.file.Close())
}
