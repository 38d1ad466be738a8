package netem

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/dist"
	"github.com/postbench/postbench/internal/udpsocket"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

type link struct {
	t     *testing.T
	relay *Relay
	from  *net.UDPConn // to the relay
	to    *net.UDPConn // behind it
	ended chan error
	stop  context.CancelFunc
}

func newLink(t *testing.T, config Config) *link {
	t.Helper()
	l := &link{t: t, ended: make(chan error, 1)}
	to, _, err := udpsocket.Listen("127.0.0.1:0", 0)
	if err != nil {
		t.Fatal(err)
	}
	l.to = to
	t.Cleanup(func() { _ = to.Close() })
	config.Forward = to.LocalAddr().String()
	if l.relay, err = NewRelay(config); err != nil {
		t.Fatal(err)
	}
	at, err := net.ResolveUDPAddr("udp4", l.relay.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if l.from, err = net.DialUDP("udp4", nil, at); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.from.Close() })
	return l
}

func (l *link) start() {
	ctx, cancel := context.WithCancel(l.t.Context())
	l.stop = cancel
	go func() { l.ended <- l.relay.Run(ctx) }()
	l.t.Cleanup(cancel)
}

// end stops the relay and returns its last word.
func (l *link) end() Counts {
	l.t.Helper()
	l.stop()
	select {
	case err := <-l.ended:
		if err != nil {
			l.t.Fatal(err)
		}
	case <-time.After(patience):
		l.t.Fatal("the relay does not end")
	}
	return l.relay.Counts()
}

func (l *link) send(n uint64) {
	l.t.Helper()
	if _, err := l.from.Write(numbered(n)); err != nil {
		l.t.Fatal(err)
	}
}

// receive returns the next number behind the relay.
func (l *link) receive() uint64 {
	l.t.Helper()
	var buffer [64]byte
	_ = l.to.SetReadDeadline(time.Now().Add(patience))
	n, err := l.to.Read(buffer[:])
	if err != nil || n != 8 {
		l.t.Fatalf("read %d bytes, %v", n, err)
	}
	return binary.BigEndian.Uint64(buffer[:])
}

func TestRelayDropsTheList(t *testing.T) {
	l := newLink(t, Config{Drop: []uint64{2, 3}, Records: func(d []byte) int { return int(d[7]) }})
	l.start()
	for n := range uint64(5) {
		l.send(n + 1)
	}
	for _, want := range []uint64{1, 4, 5} {
		if got := l.receive(); got != want {
			t.Fatalf("received %d, want %d", got, want)
		}
	}
	if c := l.end(); c != (Counts{Sent: 5, Forwarded: 3, Dropped: 2, DroppedRecords: 5, KernelDrops: c.KernelDrops}) || c.KernelDrops > 0 {
		t.Errorf("%+v", c)
	}
}

// A held datagram needs no other to be released.
func TestRelayReleasesInTime(t *testing.T) {
	l := newLink(t, Config{Impairment: Impairment{Reorder: 1}})
	l.start()
	l.send(1)
	if got := l.receive(); got != 1 {
		t.Fatalf("received %d", got)
	}
	if c := l.end(); c.Forwarded != 1 || c.Reordered != 0 || c.Held != 0 {
		t.Errorf("%+v", c)
	}
}

// What was sent before the end is relayed, what was held back too.
func TestRelayDrainsAtTheEnd(t *testing.T) {
	const n = 500
	l := newLink(t, Config{Impairment: Impairment{Reorder: 0.5}})
	for i := range uint64(n) { // waits in the socket: nobody reads yet
		l.send(i)
	}
	l.start()
	if c := l.end(); c.Sent != n || c.Forwarded != n || c.Held != 0 || c.Reordered == 0 {
		t.Errorf("%+v", c)
	}
	seen := make(map[uint64]bool)
	for range n {
		seen[l.receive()] = true
	}
	if len(seen) != n {
		t.Errorf("%d of %d arrived", len(seen), n)
	}
}

// Every datagram takes the path's delay, and jitter changes no order.
func TestRelayDelays(t *testing.T) {
	const n, delay = 200, 30 * time.Millisecond
	jitter, err := dist.New([]dist.Point{{Percentile: 50, Ns: msNs}, {Percentile: 99, Ns: 30 * msNs}})
	if err != nil {
		t.Fatal(err)
	}
	l := newLink(t, Config{DelayNs: delay.Nanoseconds(), Jitter: jitter})
	l.start()
	start := time.Now()
	for i := range uint64(n) {
		l.send(i)
	}
	for want := range uint64(n) {
		if got := l.receive(); got != want {
			t.Fatalf("received %d, want %d", got, want)
		}
		if took := time.Since(start); took < delay {
			t.Fatalf("received after %v", took)
		}
	}
	c := l.end()
	if checkBalance(t, c); c.Forwarded != n || c.Delayed != 0 {
		t.Errorf("%+v", c)
	}
}

// What is on its way at the end goes out, in order.
func TestRelayDrainsTheDelayed(t *testing.T) {
	l := newLink(t, Config{DelayNs: MaxRTTNs})
	l.start()
	for n := range uint64(3) {
		l.send(n)
	}
	waitFor(t, func() bool { return l.relay.Counts().Delayed == 3 })
	checkBalance(t, l.relay.Counts())
	if c := l.end(); c.Forwarded != 3 || c.Delayed != 0 {
		t.Errorf("%+v", c)
	}
	for want := range uint64(3) {
		if got := l.receive(); got != want {
			t.Errorf("received %d, want %d", got, want)
		}
	}
}

func TestDelayLineIsBounded(t *testing.T) {
	line, err := newDelayLine(Config{DelayNs: 10})
	if err != nil {
		t.Fatal(err)
	}
	for i := range MaxDelayed {
		if !line.push(int64(i), 0, numbered(uint64(i))) {
			t.Fatalf("full at %d", i)
		}
	}
	if line.push(MaxDelayed, 0, nil) {
		t.Error("it has no end")
	}
	if _, ok := line.pop(9); ok {
		t.Error("arrived too early")
	}
	for i := range MaxDelayed {
		if d, ok := line.pop(neverNs - 1); !ok || binary.BigEndian.Uint64(d.payload) != uint64(i) {
			t.Fatalf("%d: %v, %v", i, d, ok)
		}
	}
	if _, err := newDelayLine(Config{DelayNs: -1}); !errors.Is(err, ErrConfig) {
		t.Error(err)
	}
}

// portTries is how often a port that was free may be somebody else's by now.
const portTries = 10

// A closed port behind the relay costs what is sent to it, nothing later.
func TestRelayOutlivesTheReceiver(t *testing.T) {
	for range portTries {
		if outlivesTheReceiver(t) {
			return
		}
	}
	t.Errorf("the receiver's port was taken %d times", portTries)
}

// outlivesTheReceiver is false if the port was gone before it could be opened again.
func outlivesTheReceiver(t *testing.T) bool {
	t.Helper()
	l := newLink(t, Config{})
	l.start()
	addr := l.to.LocalAddr().String()
	_ = l.to.Close()
	for range 10 {
		l.send(0)
	}
	waitFor(t, func() bool { return l.relay.Counts().Forwarded == 10 })
	to, _, err := udpsocket.Listen(addr, 0)
	if err != nil {
		return false
	}
	defer func() { _ = to.Close() }()
	l.to = to
	l.send(7)
	if got := l.receive(); got != 7 {
		t.Errorf("received %d", got)
	}
	if c := l.end(); c.Sent != 11 || c.SendFailed != 0 {
		t.Errorf("%+v", c)
	}
	return true
}

func TestRelayRefuses(t *testing.T) {
	for _, forward := range []string{"", "127.0.0.1", "127.0.0.1:0", "192.0.2.1:9", "[::1]:9"} {
		relay, err := NewRelay(Config{Forward: forward})
		if !errors.Is(err, ErrConfig) {
			t.Errorf("forward to %q: %v", forward, err)
		}
		if relay != nil {
			_ = relay.Close()
		}
	}
	if _, err := NewRelay(Config{Forward: "127.0.0.1:9", Impairment: Impairment{Loss: 2}}); !errors.Is(err, ErrConfig) {
		t.Error(err)
	}
}

func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
		time.Sleep(time.Millisecond) // polls what a goroutine with a real socket does
	}
}
