package machine

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// ErrFormat says that a kernel file does not look as documented in proc(5).
var ErrFormat = errors.New("unexpected format")

// maxProcBytes limits what is read of one /proc file. All that is looked for
// stands at the beginning, so a longer file (hundreds of CPUs) is cut unharmed.
const maxProcBytes = 256 << 10

// ticksPerS is USER_HZ, the unit of the times in /proc. The kernel's own
// frequency may differ, but what it shows to user space is 100 on every
// architecture that Go supports.
const ticksPerS = 100

// modelKeys are the names under which /proc/cpuinfo gives the processor, by
// architecture; the first one present wins.
var modelKeys = [...]string{"model name", "Model", "cpu model", "uarch", "Processor"}

// parseModel finds the processor's name in /proc/cpuinfo; "" if there is none.
func parseModel(r io.Reader) (string, error) {
	found := make(map[string]string, len(modelKeys))
	err := eachLine(r, func(line string) bool {
		key, value, ok := strings.Cut(line, ":")
		key = strings.TrimSpace(key)
		if _, seen := found[key]; ok && !seen && isModelKey(key) {
			found[key] = strings.TrimSpace(value)
		}
		return key != modelKeys[0]
	})
	for _, key := range modelKeys {
		if found[key] != "" {
			return found[key], err
		}
	}
	return "", err
}

func isModelKey(key string) bool {
	for _, k := range modelKeys {
		if k == key {
			return true
		}
	}
	return false
}

// parseMemBytes finds MemTotal in /proc/meminfo. "kB" there means 1,024 bytes.
func parseMemBytes(r io.Reader) (uint64, error) {
	var total uint64
	err := error(fmt.Errorf("no MemTotal: %w", ErrFormat))
	scanErr := eachLine(r, func(line string) bool {
		rest, ok := strings.CutPrefix(line, "MemTotal:")
		if !ok {
			return true
		}
		total, err = parseKiB(rest)
		return false
	})
	if scanErr != nil {
		return 0, scanErr
	}
	return total, err
}

func parseKiB(s string) (uint64, error) {
	fields := strings.Fields(s)
	if len(fields) != 2 || fields[1] != "kB" {
		return 0, fmt.Errorf("MemTotal %q: %w", s, ErrFormat)
	}
	kib, err := strconv.ParseUint(fields[0], 10, 64)
	if err != nil || kib > math.MaxUint64>>10 {
		return 0, fmt.Errorf("MemTotal %q: %w", s, ErrFormat)
	}
	return kib << 10, nil
}

// parseCPUSample reads the line "cpu" (all CPUs together) of /proc/stat. Kernels
// before 2.6.11 have no steal column; columns beyond the ones known are ignored.
func parseCPUSample(r io.Reader) (CPUSample, error) {
	s, err := CPUSample{}, error(fmt.Errorf("no line \"cpu\": %w", ErrFormat))
	scanErr := eachLine(r, func(line string) bool {
		rest, ok := strings.CutPrefix(line, "cpu ")
		if !ok {
			return true
		}
		s, err = parseTicks(strings.Fields(rest))
		return false
	})
	if scanErr != nil {
		return CPUSample{}, scanErr
	}
	return s, err
}

func parseTicks(fields []string) (CPUSample, error) {
	var s CPUSample
	into := []*uint64{&s.User, &s.Nice, &s.System, &s.Idle, &s.IOWait, &s.IRQ, &s.SoftIRQ, &s.Steal}
	if len(fields) < len(into) {
		return CPUSample{}, fmt.Errorf("line \"cpu\" has %d columns, want at least %d: %w", len(fields), len(into), ErrFormat)
	}
	for i, p := range into {
		v, err := strconv.ParseUint(fields[i], 10, 64)
		if err != nil {
			return CPUSample{}, fmt.Errorf("line \"cpu\" column %d %q: %w", i+1, fields[i], ErrFormat)
		}
		*p = v
	}
	return s, nil
}

// parseProcessCPU reads utime, stime, cutime and cstime (columns 14 to 17) of
// /proc/PID/stat: the process with all its threads, dead ones included, and the
// children that it has waited for. That is what rusage says after its end, so
// the two figures continue each other.
func parseProcessCPU(r io.Reader) (time.Duration, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxProcBytes))
	if err != nil {
		return 0, err
	}
	// Column 2 is the program's name in parentheses, and the name itself may
	// hold spaces and parentheses: only the last ')' is sure to end it.
	end := bytes.LastIndexByte(b, ')')
	fields := bytes.Fields(b[end+1:])
	const utime, cstime = 14 - 3, 17 - 3 // column 3 is the first after the name
	if end < 0 || len(fields) <= cstime {
		return 0, fmt.Errorf("process stat has too few columns: %w", ErrFormat)
	}
	var ticks int64
	for _, f := range fields[utime : cstime+1] {
		v, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil || v < 0 || v > math.MaxInt64/int64(time.Second)-ticks {
			return 0, fmt.Errorf("process stat time %q: %w", f, ErrFormat)
		}
		ticks += v
	}
	return time.Duration(ticks) * (time.Second / ticksPerS), nil
}

// eachLine calls f for every line until f returns false or maxProcBytes are read.
func eachLine(r io.Reader, f func(line string) bool) error {
	sc := bufio.NewScanner(io.LimitReader(r, maxProcBytes))
	sc.Buffer(nil, maxProcBytes+1) // no line can be too long for it
	for sc.Scan() {
		if !f(sc.Text()) {
			return nil
		}
	}
	return sc.Err()
}
