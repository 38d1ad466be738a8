package netem

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/udpsocket"
)

// answer sends a number back to where the last one came from.
func (l *link) answer(to *net.UDPAddr, n uint64) {
	l.t.Helper()
	if _, err := l.to.WriteToUDP(numbered(n), to); err != nil {
		l.t.Fatal(err)
	}
}

// receiveFrom returns the next number behind the relay and its sender, as the
// other end sees it.
func (l *link) receiveFrom() (uint64, *net.UDPAddr) {
	l.t.Helper()
	var buffer [64]byte
	_ = l.to.SetReadDeadline(time.Now().Add(patience))
	n, from, err := l.to.ReadFromUDP(buffer[:])
	if err != nil || n != 8 {
		l.t.Fatalf("read %d bytes, %v", n, err)
	}
	return binary.BigEndian.Uint64(buffer[:]), from
}

func (l *link) dial() *net.UDPConn {
	l.t.Helper()
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(l.relay.Addr())))
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// answered returns the next number that comes back to a sender.
func answered(t *testing.T, conn *net.UDPConn) uint64 {
	t.Helper()
	var buffer [64]byte
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	n, err := conn.Read(buffer[:])
	if err != nil || n != 8 {
		t.Fatalf("read %d bytes, %v", n, err)
	}
	return binary.BigEndian.Uint64(buffer[:])
}

// Answers come back to who was asked for, through the relay's own address.
func TestAnswersComeBack(t *testing.T) {
	l := newLink(t, Config{})
	l.start()
	senders := []*net.UDPConn{l.dial(), l.dial(), l.dial()}
	seen := make(map[string]bool)
	for i, conn := range senders {
		if _, err := conn.Write(numbered(uint64(i))); err != nil {
			t.Fatal(err)
		}
		n, from := l.receiveFrom()
		seen[from.String()] = true
		l.answer(from, 100+n)
		l.answer(from, 200+n)
	}
	for i, conn := range senders { // connected: only the relay's address gets through
		if got := answered(t, conn); got != uint64(100+i) {
			t.Errorf("sender %d got %d", i, got)
		}
		if got := answered(t, conn); got != uint64(200+i) {
			t.Errorf("sender %d got %d", i, got)
		}
	}
	if len(seen) != len(senders) {
		t.Errorf("%d senders look like %d", len(senders), len(seen))
	}
	counts := l.end()
	back := l.relay.BackCounts()
	checkBalance(t, counts)
	checkBalance(t, back)
	if counts.Sent != 3 || counts.Forwarded != 3 || back.Sent != 6 || back.Forwarded != 6 || back.KernelDrops > 0 {
		t.Errorf("%+v\n%+v", counts, back)
	}
}

// The way back is impaired for itself, and leaves the other one's fates alone.
func TestWayBackIsImpaired(t *testing.T) {
	const n = 100 // fits the receive buffer of any system
	bad := Impairment{Loss: 0.2, Duplicate: 0.3, Reorder: 0.3, Corrupt: 0.1}
	l := newLink(t, Config{Seed: 5, Back: bad, DelayNs: 2 * msNs})
	l.start()
	l.send(0)
	_, from := l.receiveFrom()
	start := time.Now()
	for i := range uint64(n) {
		l.answer(from, i)
	}
	_ = answered(t, l.from)
	if took := time.Since(start); took < 2*time.Millisecond {
		t.Errorf("back after %v", took)
	}
	waitFor(t, func() bool { return l.relay.BackCounts().Sent == n })
	counts := l.end()
	back := l.relay.BackCounts()
	checkBalance(t, back)
	if counts.Sent != 1 || counts.Forwarded != 1 || counts.Dropped+counts.Duplicated+counts.Corrupted != 0 {
		t.Errorf("%+v", counts)
	}
	if back.Dropped < n/10 || back.Duplicated < n/6 || back.Corrupted == 0 || back.Reordered == 0 || back.Held != 0 || back.Delayed != 0 {
		t.Errorf("%+v", back)
	}
	for received := int64(1); received < back.Forwarded; received++ {
		_ = answered(t, l.from)
	}
}

// What is held back needs no other answer, nor the end, to be released.
func TestHeldAnswersAreReleased(t *testing.T) {
	l := newLink(t, Config{Back: Impairment{Reorder: 1}})
	l.start()
	l.send(0)
	_, from := l.receiveFrom()
	l.answer(from, 7)
	if got := answered(t, l.from); got != 7 {
		t.Errorf("got %d", got)
	}
}

// Only the other end may answer.
func TestStrangersAreNotPassedOn(t *testing.T) {
	l := newLink(t, Config{})
	l.start()
	l.send(0)
	_, from := l.receiveFrom()
	stranger, _, err := udpsocket.Listen("127.0.0.1:0", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stranger.Close() }()
	if _, err := stranger.WriteToUDP(numbered(66), from); err != nil {
		t.Fatal(err)
	}
	l.answer(from, 7)
	if got := answered(t, l.from); got != 7 {
		t.Errorf("got %d", got)
	}
	waitFor(t, func() bool { return l.relay.BackCounts().Strangers == 1 })
	if back := l.relay.BackCounts(); back.Sent != 1 {
		t.Errorf("%+v", back)
	}
}

// The sender that has been silent for longest makes room.
func TestSendersAreBounded(t *testing.T) {
	ps := newPeers()
	defer ps.close()
	at := func(port int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port))
	}
	var ids []uint64
	for port := range MaxSenders {
		p, isNew, err := ps.at(at(1000 + port))
		if err != nil || !isNew {
			t.Fatalf("sender %d: new %v, %v", port, isNew, err)
		}
		ids = append(ids, p.id)
	}
	if p, isNew, err := ps.at(at(1000)); err != nil || isNew || p.id != ids[0] {
		t.Errorf("new %v, %v", isNew, err)
	}
	if _, isNew, err := ps.at(at(1000 + MaxSenders)); err != nil || !isNew {
		t.Errorf("new %v, %v", isNew, err)
	}
	if len(ps.byAddr) != MaxSenders || len(ps.byID) != MaxSenders || ps.of(ids[0]) == nil || ps.of(ids[1]) != nil {
		t.Errorf("%d and %d known; the first %v, the second %v", len(ps.byAddr), len(ps.byID), ps.of(ids[0]), ps.of(ids[1]))
	}
}
