// Package machine tells what a measurement ran on and what the machine did
// meanwhile: facts for the result document, CPU time stolen by the hypervisor,
// CPU time of processes, and the limit of open files.
//
// Linux answers from /proc; darwin gives what sysctl offers. What a system
// cannot tell is left empty, or is ErrUnsupported where a zero would be read as
// a measurement.
package machine

import (
	"errors"
	"runtime"
)

// ErrUnsupported says that this operating system does not offer the figure.
var ErrUnsupported = errors.New("not available on this operating system")

// Facts describes the machine. A field that the system does not tell is empty.
type Facts struct {
	CPUs     int    // logical CPUs that this process may run on
	Model    string // the processor's marketing name
	Kernel   string // kernel release, as `uname -r`
	MemBytes uint64 // physical memory; a container's own limit is not looked at
	BootID   string // equal for two processes exactly when they share one boot, hence one monotonic clock
	OS       string // GOOS
	Arch     string // GOARCH
}

// Read collects the facts. It never fails: see Facts for what is missing.
func Read() Facts {
	f := Facts{CPUs: runtime.NumCPU(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	f.readSystem()
	return f
}
