package batcher

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/postbench/postbench/internal/wholefile"
)

// maxBootFileBytes is more than any boot file has, see FORMAT.md.
const maxBootFileBytes = 128

var (
	// ErrBootFile says that the boot file is not what a batcher writes.
	ErrBootFile = errors.New("the boot file is damaged; restore it, or delete it if the clock is right")
	// ErrNoBootLeft says that the boot ids are used up, which no clock can do.
	ErrNoBootLeft = errors.New("the boot file holds the highest id there is; give the edge a new id and delete it")
)

// takeBoot gives this life of the batcher its id, and returns when no later one
// can be given the same. The caller holds the lock of the lanes: two processes
// at the file would take the same id.
func takeBoot(path string, nowUnixNs int64) (uint64, error) {
	stored, err := readBoot(path)
	if err != nil {
		return 0, fmt.Errorf("batcher: %s: %w", path, err)
	}
	boot, err := nextBoot(stored, nowUnixNs)
	if err != nil {
		return 0, fmt.Errorf("batcher: %s: %w", path, err)
	}
	if err := wholefile.Write(path, encodeBoot(boot)); err != nil {
		return 0, fmt.Errorf("batcher: write the boot file: %w", err)
	}
	return boot, nil
}

// nextBoot rises even if the clock goes back.
func nextBoot(stored uint64, nowUnixNs int64) (uint64, error) {
	if stored == math.MaxUint64 {
		return 0, ErrNoBootLeft
	}
	return max(stored+1, uint64(max(nowUnixNs, 0))), nil
}

// readBoot is 0 if there is no file.
func readBoot(path string) (uint64, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxBootFileBytes))
	if err != nil {
		return 0, err
	}
	return decodeBoot(text)
}

func encodeBoot(boot uint64) []byte {
	line := fmt.Appendf(nil, "postbench-boot 1 %d", boot)
	return fmt.Appendf(line, " %08x\n", crc32.Checksum(line, crc32.MakeTable(crc32.Castagnoli)))
}

func decodeBoot(text []byte) (uint64, error) {
	fields := strings.Fields(string(text))
	if len(fields) != 4 {
		return 0, ErrBootFile
	}
	boot, err := strconv.ParseUint(fields[2], 10, 64)
	// There is one way to write an id; whatever else is there is damage.
	if err != nil || boot == 0 || string(encodeBoot(boot)) != string(text) {
		return 0, ErrBootFile
	}
	return boot, nil
}
