package machine

import "golang.org/x/sys/unix"

// kernelMaxOpenFiles is kern.maxfilesperproc: the hard limit is usually
// "unlimited" here, and setrlimit refuses a soft limit above this figure.
func kernelMaxOpenFiles() uint64 {
	n, err := unix.SysctlUint32("kern.maxfilesperproc")
	if err != nil {
		return unlimited
	}
	return uint64(n)
}
