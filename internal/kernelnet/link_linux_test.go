package kernelnet_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postbench/postbench/internal/kernelnet"
	"github.com/postbench/postbench/internal/kernelnet/exchange"
)

const port = 443

// open makes a network, or leaves the test out where that is not allowed.
func open(t *testing.T, spec kernelnet.Spec) *kernelnet.Link {
	t.Helper()
	link, err := kernelnet.New(spec)
	if errors.Is(err, kernelnet.ErrUnsupported) {
		if _, stat := os.Stat("/dev/net/tun"); os.Getenv("CI") != "" && stat == nil && os.Geteuid() == 0 {
			t.Fatal("CI leaves nothing out: ", err)
		}
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := link.Close(); err != nil {
			t.Error(err)
		}
	})
	return link
}

// measure does a few exchanges of the kind over link.
func measure(t *testing.T, link *kernelnet.Link, kind exchange.Kind, exchanges int) []exchange.Sample {
	t.Helper()
	listener, err := link.Listen(port)
	if err != nil {
		t.Fatal(err)
	}
	dial := func(ctx context.Context) (net.Conn, error) { return link.Dial(ctx, port) }
	samples, err := kind.Measure(t.Context(), listener, dial, exchanges, 4)
	if err != nil {
		t.Fatal(err)
	}
	return samples
}

const slack = 30 * time.Millisecond // for a busy machine

func TestEveryRoundTripTakesTheRTT(t *testing.T) {
	const rtt = 20 * time.Millisecond
	link := open(t, kernelnet.Spec{RTTNs: rtt.Nanoseconds()})
	for i, rounds := range []time.Duration{1, 2, 3} { // kept; new; TLS 1.3
		kind := exchange.Kinds()[i]
		for _, s := range measure(t, link, kind, 20) {
			if s.Total() < rounds*rtt {
				t.Errorf("%s: %v, want at least %d × %v", kind.Name, s.Total(), rounds, rtt)
			}
		}
		median := exchange.Percentiles(measure(t, link, kind, 20), 50)[0]
		if median > rounds*rtt+slack {
			t.Errorf("%s: the median is %v, want %d × %v", kind.Name, median, rounds, rtt)
		}
	}
	for _, c := range counts(link) {
		if c.Packets == 0 || c.Packets != c.Delivered+c.Waiting || c.DeviceDrops != 0 {
			t.Errorf("without loss: %+v", c)
		}
	}
}

func counts(link *kernelnet.Link) [2]kernelnet.Counts {
	toServer, toClient := link.Counts()
	return [2]kernelnet.Counts{toServer, toClient}
}

// The kernel tries a SYN again after 1 s, and data after RTT + 200 ms.
func TestALostPacketIsSentAgain(t *testing.T) {
	const rtt = 20 * time.Millisecond
	for _, test := range []struct {
		name          string
		flags         byte // of the packets lost, the first of its kind on every connection
		connect, wait time.Duration
	}{
		{"SYN", 0x02, time.Second + rtt, rtt},
		{"request", 0x18, rtt, 2*rtt + 200*time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			seen := map[[2]byte]bool{}
			link := open(t, kernelnet.Spec{RTTNs: rtt.Nanoseconds(), Drop: func(toServer bool, p []byte) bool {
				client := [2]byte(p[20:22])
				if !toServer || p[33] != test.flags || seen[client] {
					return false
				}
				seen[client] = true
				return true
			}})
			samples := measure(t, link, exchange.Kinds()[1], 4)
			for _, s := range samples {
				if s.Connect < test.connect || s.Wait < test.wait {
					t.Errorf("%+v, want at least %v and %v", s, test.connect, test.wait)
				}
			}
			if c := counts(link)[0]; c.Lost != int64(len(samples)) {
				t.Errorf("%+v, want %d lost", c, len(samples))
			}
		})
	}
}

func TestDialFails(t *testing.T) {
	link := open(t, kernelnet.Spec{Drop: func(_ bool, p []byte) bool { return p[23] == 1 }}) // port 1: nobody answers
	if _, err := link.Dial(t.Context(), port); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("nobody listens: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := link.Dial(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("out of time: %v", err)
	}
	if err := link.Close(); err != nil {
		t.Error(err)
	}
	if _, err := link.Dial(t.Context(), port); !errors.Is(err, net.ErrClosed) {
		t.Errorf("dialled on a closed network: %v", err)
	}
	if _, err := link.Listen(port); !errors.Is(err, net.ErrClosed) {
		t.Errorf("listening on a closed network: %v", err)
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	open(t, kernelnet.Spec{}) // skips, and warms up the runtime's own descriptors
	descriptors, spaces := left(t)
	for range 5 {
		link := open(t, kernelnet.Spec{})
		measure(t, link, exchange.Kinds()[1], 4)
		if err := link.Close(); err != nil {
			t.Fatal(err)
		}
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		d, s := left(t)
		if d <= descriptors && s <= spaces {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d descriptors and %d namespaces, before %d and %d", d, s, descriptors, spaces)
		}
		time.Sleep(10 * time.Millisecond) // the kernel ends a thread some time after its goroutine
	}
}

// left counts open descriptors and the network namespaces of all threads.
func left(t *testing.T) (descriptors, spaces int) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	threads, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, path := range threads {
		if name, err := os.Readlink(path); err == nil { // else the thread has ended
			known[name] = true
		}
	}
	return len(entries), len(known)
}

// A megabyte is many segments in flight; links have equal addresses.
func TestLinksDoNotMeet(t *testing.T) {
	for range 4 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			link := open(t, kernelnet.Spec{RTTNs: 1e6})
			listener, err := link.Listen(port)
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			go func() {
				if conn, err := listener.Accept(); err == nil {
					_, _ = conn.Write(make([]byte, 1<<20))
					_ = conn.Close()
				}
			}()
			conn, err := link.Dial(t.Context(), port)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			n, err := io.Copy(io.Discard, conn)
			if err != nil || n != 1<<20 {
				t.Errorf("%d bytes, %v", n, err)
			}
		})
	}
}
