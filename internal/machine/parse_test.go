package machine

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

const (
	cpuinfoX86   = "processor\t: 0\nmodel\t\t: 2\nmodel name\t: AMD EPYC\n\nprocessor\t: 1\nmodel name\t: other\n"
	cpuinfoARM   = "processor\t: 0\nCPU part\t: 0xd08\n\nHardware\t: BCM2835\nModel\t\t: Raspberry Pi 4\n"
	cpuinfoPlain = "processor\t: 0\nBogoMIPS\t: 50.00\n"
)

func TestParseModel(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"x86, first CPU":   {cpuinfoX86, "AMD EPYC"},
		"arm board":        {cpuinfoARM, "Raspberry Pi 4"},
		"name is the best": {"Model\t: board\nmodel name\t: ARMv7\n", "ARMv7"},
		"not told":         {cpuinfoPlain, ""},
		"empty value":      {"model name\t:\n", ""},
		"empty file":       {"", ""},
	} {
		got, err := parseModel(strings.NewReader(c.in))
		if got != c.want || err != nil {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}

func TestParseMemBytes(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want uint64
		err  error
	}{
		"ordinary":     {"MemTotal:        8131572 kB\nMemFree: 1 kB\n", 8131572 << 10, nil},
		"not first":    {"MemFree: 1 kB\nMemTotal: 2 kB\n", 2048, nil},
		"missing":      {"MemFree: 1 kB\n", 0, ErrFormat},
		"no unit":      {"MemTotal: 12\n", 0, ErrFormat},
		"not a number": {"MemTotal: x kB\n", 0, ErrFormat},
		"overflow":     {"MemTotal: 18446744073709551615 kB\n", 0, ErrFormat},
	} {
		got, err := parseMemBytes(strings.NewReader(c.in))
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %d, %v; want %d, %v", name, got, err, c.want, c.err)
		}
	}
}

func TestParseCPUSample(t *testing.T) {
	full := CPUSample{User: 1, Nice: 2, System: 3, Idle: 4, IOWait: 5, IRQ: 6, SoftIRQ: 7, Steal: 8}
	for name, c := range map[string]struct {
		in   string
		want CPUSample
		err  error
	}{
		"ordinary":           {"cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 9 9 9 9 9 9 9 9 9 9\n", full, nil},
		"unknown columns":    {"cpu  1 2 3 4 5 6 7 8 9 10 x\n", full, nil},
		"no guest columns":   {"cpu 1 2 3 4 5 6 7 8\n", full, nil},
		"no steal column":    {"cpu 1 2 3 4 5 6 7\n", CPUSample{}, ErrFormat},
		"only single CPUs":   {"cpu0 1 2 3 4 5 6 7 8\n", CPUSample{}, ErrFormat},
		"negative":           {"cpu 1 2 3 -4 5 6 7 8\n", CPUSample{}, ErrFormat},
		"beyond 64 bits":     {"cpu 1 2 3 99999999999999999999 5 6 7 8\n", CPUSample{}, ErrFormat},
		"empty":              {"", CPUSample{}, ErrFormat},
		"long line before":   {strings.Repeat("x", 100_000) + "\ncpu 1 2 3 4 5 6 7 8\n", full, nil},
		"beyond what's read": {strings.Repeat("x", maxProcBytes) + "\ncpu 1 2 3 4 5 6 7 8\n", CPUSample{}, ErrFormat},
	} {
		got, err := parseCPUSample(strings.NewReader(c.in))
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %+v, %v; want %+v, %v", name, got, err, c.want, c.err)
		}
	}
}

func TestParseProcessCPU(t *testing.T) {
	const rest = " S 1 42 42 0 -1 4194560 10 20 30 40 150 50 7 3 20 0 1 0 100 0 0\n"
	for name, c := range map[string]struct {
		in   string
		want time.Duration
		err  error
	}{
		"own and children's":  {"42 (edge)" + rest, 2100 * time.Millisecond, nil},
		"spaces in the name":  {"42 (a b c)" + rest, 2100 * time.Millisecond, nil},
		"parens in the name":  {"42 (a) S 1 ()" + rest, 2100 * time.Millisecond, nil},
		"newline in the name": {"42 (a\nb)" + rest, 2100 * time.Millisecond, nil},
		"cut short":           {"42 (edge) S 1 42 42 0 -1 4194560 10 20 30 40 150 50 7", 0, ErrFormat},
		"no name":             {"42 edge" + rest, 0, ErrFormat},
		"negative":            {"42 (edge) S 1 42 42 0 -1 4194560 10 20 30 40 -150 50 7 3 20", 0, ErrFormat},
		"sum overflows":       {"42 (edge) S 1 42 42 0 -1 4194560 10 20 30 40 9000000000 9000000000 7 3 20", 0, ErrFormat},
		"empty":               {"", 0, ErrFormat},
	} {
		got, err := parseProcessCPU(strings.NewReader(c.in))
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %v, %v; want %v, %v", name, got, err, c.want, c.err)
		}
	}
}

func TestParsersPassReadErrors(t *testing.T) {
	broken := errors.New("disk on fire")
	for name, parse := range map[string]func(io.Reader) error{
		"model":   func(r io.Reader) error { _, err := parseModel(r); return err },
		"mem":     func(r io.Reader) error { _, err := parseMemBytes(r); return err },
		"cpu":     func(r io.Reader) error { _, err := parseCPUSample(r); return err },
		"process": func(r io.Reader) error { _, err := parseProcessCPU(r); return err },
	} {
		if err := parse(failingReader{broken}); !errors.Is(err, broken) {
			t.Errorf("%s: %v, want %v", name, err, broken)
		}
	}
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

// The kernel writes these files, but a parser that reads out of bounds would
// take the whole run down with it.
func FuzzParsers(f *testing.F) {
	for _, seed := range []string{
		cpuinfoX86, cpuinfoARM, "MemTotal: 2 kB\n", "cpu  1 2 3 4 5 6 7 8 9 10\n",
		"42 (a) b) S 1 42 42 0 -1 4194560 10 20 30 40 150 50 7 3 20\n", ")", "cpu ", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		if s, err := parseModel(strings.NewReader(in)); err != nil {
			t.Errorf("model %q: %v", s, err)
		}
		if n, err := parseMemBytes(strings.NewReader(in)); n%1024 != 0 || err != nil && n != 0 {
			t.Errorf("memory %d, %v", n, err)
		}
		if s, err := parseCPUSample(strings.NewReader(in)); err != nil && s != (CPUSample{}) {
			t.Errorf("sample %+v together with %v", s, err)
		}
		if d, err := parseProcessCPU(strings.NewReader(in)); d < 0 || err != nil && d != 0 {
			t.Errorf("CPU time %v, %v", d, err)
		}
	})
}
