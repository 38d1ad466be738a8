package machine

import "golang.org/x/sys/unix"

func (f *Facts) readSystem() {
	f.Model, _ = unix.Sysctl("machdep.cpu.brand_string")
	f.MemBytes, _ = unix.SysctlUint64("hw.memsize")
	f.Kernel, _ = unix.Sysctl("kern.osrelease")
	f.BootID, _ = unix.Sysctl("kern.bootsessionuuid")
}
