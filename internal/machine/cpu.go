package machine

import (
	"fmt"
	"syscall"
	"time"
)

// CPUSample is the CPU time that all CPUs together have spent since boot, by
// use, in ticks of 1/100 s (the line "cpu" of /proc/stat, see proc(5)).
//
// The columns guest and guest_nice are left out on purpose: the kernel counts
// the time of guests in user and nice already, so adding them would count it
// twice.
type CPUSample struct {
	User, Nice, System, Idle, IOWait, IRQ, SoftIRQ uint64
	// Steal is the time in which a CPU of this virtual machine wanted to run
	// and the hypervisor ran something else.
	Steal uint64
}

// StealShare is the part, 0 to 1, of all CPU time between the earlier sample a
// and the later b that was stolen: Δsteal / Δ(user + nice + system + idle +
// iowait + irq + softirq + steal). Idle time is in the denominator, so on a half
// idle machine the busy CPUs suffered more than the share says.
//
// ok is false when the two samples do not tell: no tick between them, or a
// counter that ran backwards because they are swapped or of different boots.
func StealShare(a, b CPUSample) (share float64, ok bool) {
	before, after := a.columns(), b.columns()
	var total float64
	for i := range before {
		if after[i] >= before[i] {
			total += float64(after[i] - before[i])
			continue
		}
		// Idle and iowait of a sleeping CPU are estimates, and proc(5) says of
		// iowait that it may decrease. Such a column adds nothing.
		if i != columnIdle && i != columnIOWait {
			return 0, false
		}
	}
	if total == 0 {
		return 0, false
	}
	return float64(b.Steal-a.Steal) / total, true
}

const columnIdle, columnIOWait = 3, 4

func (s CPUSample) columns() [8]uint64 {
	return [8]uint64{s.User, s.Nice, s.System, s.Idle, s.IOWait, s.IRQ, s.SoftIRQ, s.Steal}
}

// SelfCPU is the CPU time, user and system, that this process has used; its
// children are not in it.
func SelfCPU() time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		panic(fmt.Sprintf("BUG: getrusage of the own process: %v", err))
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
