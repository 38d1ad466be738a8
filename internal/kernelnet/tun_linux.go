package kernelnet

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	tunName = "pb0"
	// tunQueue is how many packets the device holds until the relay reads them.
	tunQueue = 16384
	// siocSIFTxQLen is SIOCSIFTXQLEN, which x/sys does not name.
	siocSIFTxQLen = 0x8943
)

// openTUN makes a TUN device with address, up, in the calling thread's
// namespace and returns its descriptor, non-blocking.
func openTUN(address [4]byte) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("%w: /dev/net/tun: %w", ErrUnsupported, err)
	}
	if err := setUp(fd, address); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func setUp(tun int, address [4]byte) error {
	request, err := unix.NewIfreq(tunName)
	if err != nil {
		return fmt.Errorf("TUN device %s: %w", tunName, err)
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(tun, unix.TUNSETIFF, request); err != nil {
		return fmt.Errorf("%w: TUN device: %w", ErrUnsupported, err)
	}
	control, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("TUN device: socket to set it up: %w", err)
	}
	steps := []struct {
		name    string
		request uint
		fill    func(*unix.Ifreq) error
	}{
		{"address", unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(address[:]) }},
		{"netmask", unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr([]byte{255, 255, 255, 0}) }},
		{"queue length", siocSIFTxQLen, func(r *unix.Ifreq) error { r.SetUint32(tunQueue); return nil }},
		{"link up", unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }},
	}
	for _, step := range steps {
		if request, err = unix.NewIfreq(tunName); err == nil {
			err = step.fill(request)
		}
		if err == nil {
			err = unix.IoctlIfreq(control, step.request, request)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("TUN device: %s: %w", step.name, err), unix.Close(control))
		}
	}
	return unix.Close(control)
}

// deviceDrops is how many packets the calling thread's device lost because its
// queue was full: the 12th figure behind its name in /proc/net/dev.
func deviceDrops() int64 {
	text, err := os.ReadFile("/proc/thread-self/net/dev")
	if err != nil {
		return UnknownDrops
	}
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, ":")
		if fields := strings.Fields(rest); strings.TrimSpace(name) == tunName && len(fields) > 11 {
			if drops, err := strconv.ParseInt(fields[11], 10, 64); err == nil {
				return drops
			}
		}
	}
	return UnknownDrops
}
