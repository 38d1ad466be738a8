package machine

import (
	"errors"
	"math"
	"os"
	"runtime"
	"syscall"
	"testing"
)

func TestStealShare(t *testing.T) {
	base := CPUSample{User: 100, Nice: 10, System: 50, Idle: 1000, IOWait: 40, IRQ: 1, SoftIRQ: 2, Steal: 5}
	after := func(change func(*CPUSample)) CPUSample {
		s := base
		change(&s)
		return s
	}
	for name, c := range map[string]struct {
		b     CPUSample
		share float64
		ok    bool
	}{
		"none stolen": {after(func(s *CPUSample) { s.User += 50; s.Idle += 50 }), 0, true},
		"two percent": {after(func(s *CPUSample) { s.User += 58; s.Idle += 40; s.Steal += 2 }), 0.02, true},
		"all stolen":  {after(func(s *CPUSample) { s.Steal += 7 }), 1, true},
		"every column counts once": {after(func(s *CPUSample) {
			*s = CPUSample{User: 101, Nice: 11, System: 51, Idle: 1001, IOWait: 41, IRQ: 2, SoftIRQ: 3, Steal: 6}
		}), 1.0 / 8, true},
		"iowait ran backwards":     {after(func(s *CPUSample) { s.IOWait--; s.Idle += 99; s.Steal++ }), 0.01, true},
		"no tick between":          {base, 0, false},
		"user ran backwards":       {after(func(s *CPUSample) { s.User--; s.Idle += 50 }), 0, false},
		"steal ran backwards":      {after(func(s *CPUSample) { s.Steal--; s.Idle += 50 }), 0, false},
		"only idle, and backwards": {after(func(s *CPUSample) { s.Idle-- }), 0, false},
	} {
		share, ok := StealShare(base, c.b)
		if math.Abs(share-c.share) > 1e-12 || ok != c.ok {
			t.Errorf("%s: %v, %v; want %v, %v", name, share, ok, c.share, c.ok)
		}
	}
}

func TestReadKnowsThisMachine(t *testing.T) {
	f := Read()
	if f.CPUs < 1 || f.OS != runtime.GOOS || f.Arch != runtime.GOARCH {
		t.Errorf("facts %+v", f)
	}
	if runtime.GOOS == "linux" && (f.Kernel == "" || f.MemBytes == 0 || f.BootID == "") {
		t.Errorf("Linux tells kernel, memory and boot id; got %+v", f)
	}
	if f != Read() {
		t.Error("two reads in a row differ")
	}
}

func TestSampleCPUNeverRunsBackwards(t *testing.T) {
	a, err := SampleCPU()
	if errors.Is(err, ErrUnsupported) {
		t.Skip(err)
	}
	b, err2 := SampleCPU()
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	if b.User < a.User || b.System < a.System || b.Steal < a.Steal || a.User+a.Idle == 0 {
		t.Errorf("first %+v, then %+v", a, b)
	}
}

func TestProcessCPUAgreesWithSelfCPU(t *testing.T) {
	const tickNs = 1e9 / ticksPerS
	before := SelfCPU()
	burnCPU(10 * tickNs)
	got, err := ProcessCPU(os.Getpid())
	if errors.Is(err, ErrUnsupported) {
		t.Skip(err)
	}
	after := SelfCPU()
	if err != nil || got < before+6*tickNs || got > after+4*tickNs {
		t.Errorf("ProcessCPU %v, %v; SelfCPU was %v before and %v after", got, err, before, after)
	}
	if after-before < 10*tickNs {
		t.Errorf("burnt %v of CPU, SelfCPU moved by %v", 10*tickNs, after-before)
	}
}

// burnCPU spins until the process has used ns more CPU time; CPU time, unlike
// wall time, passes equally on a loaded machine.
func burnCPU(ns int64) {
	for end := SelfCPU().Nanoseconds() + ns; SelfCPU().Nanoseconds() < end; {
	}
}

func TestProcessCPUOfNobody(t *testing.T) {
	if d, err := ProcessCPU(-1); err == nil || d != 0 {
		t.Errorf("pid -1: %v, %v; want an error", d, err)
	}
}

func TestMaxOpenFilesRaisesTheSoftLimit(t *testing.T) {
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was) })
	low := syscall.Rlimit{Cur: min(256, was.Max), Max: was.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	got, err := MaxOpenFiles()
	if want := min(was.Max, kernelMaxOpenFiles()); got != want || err != nil {
		t.Fatalf("%d, %v; want %d", got, err, want)
	}
	var now syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &now); err != nil || uint64(now.Cur) != got {
		t.Errorf("in force: %d, %v; returned %d", now.Cur, err, got)
	}
}
