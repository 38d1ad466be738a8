package machine

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

func (f *Facts) readSystem() {
	f.Model, _ = fromFile("/proc/cpuinfo", parseModel)
	f.MemBytes, _ = fromFile("/proc/meminfo", parseMemBytes)
	f.Kernel, _ = fromFile("/proc/sys/kernel/osrelease", parseWord)
	f.BootID, _ = fromFile("/proc/sys/kernel/random/boot_id", parseWord)
}

// SampleCPU reads the machine's CPU times now. Off Linux it is ErrUnsupported.
func SampleCPU() (CPUSample, error) {
	return fromFile("/proc/stat", parseCPUSample)
}

// ProcessCPU is the CPU time, user and system, of the living or not yet waited
// for process pid and of those of its children that it has waited for, to 10 ms.
// Off Linux it is ErrUnsupported.
func ProcessCPU(pid int) (time.Duration, error) {
	return fromFile(fmt.Sprintf("/proc/%d/stat", pid), parseProcessCPU)
}

func fromFile[T any](path string, parse func(io.Reader) (T, error)) (T, error) {
	var zero T
	file, err := os.Open(path)
	if err != nil {
		return zero, fmt.Errorf("read machine: %w", err)
	}
	defer file.Close()
	v, err := parse(file)
	if err != nil {
		return zero, fmt.Errorf("read machine: %s: %w", path, err)
	}
	return v, nil
}

func parseWord(r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxProcBytes))
	return strings.TrimSpace(string(b)), err
}
