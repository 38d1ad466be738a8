package collect

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/postbench/postbench/refserver/acked"
	"github.com/postbench/postbench/refserver/datagram"
)

// asker is a sender that wants acks and reads them.
type asker struct {
	*sender
	opener *datagram.AckOpener
}

func newAsker(t *testing.T, addr string, boot datagram.Boot) *asker {
	t.Helper()
	s := newSender(t, addr, testEdge(1), boot)
	s.sealer.AskForAcks()
	opener, err := datagram.NewAckOpener(testEdge(1), boot)
	if err != nil {
		t.Fatal(err)
	}
	return &asker{s, opener}
}

// ack waits for the next one.
func (a *asker) ack() datagram.Ack {
	a.t.Helper()
	ack, err := a.read(patience)
	if err != nil {
		a.t.Fatal(err)
	}
	return ack
}

func (a *asker) read(wait time.Duration) (datagram.Ack, error) {
	if err := a.conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		a.t.Fatal(err)
	}
	buffer := make([]byte, bufferBytes)
	n, err := a.conn.Read(buffer)
	if err != nil {
		return datagram.Ack{}, err
	}
	return a.opener.OpenAck(buffer[:n])
}

func has(a datagram.Ack, seqs ...uint64) bool {
	for _, seq := range seqs {
		if !a.Has(seq) {
			return false
		}
	}
	return true
}

// The ack comes when the commit has returned, not when the datagram was read.
func TestAcksFollowCommits(t *testing.T) {
	f := newFakeStore()
	f.gate, f.begun = make(chan struct{}), make(chan struct{}, 1)
	c := newCollector(t, f).start()
	a := newAsker(t, c.UDPAddr(), testBoot(5))
	a.send(recordOf(1), recordOf(2))
	<-f.begun
	a.send() // a probe is answered at once, with what is committed by now
	if ack := a.ack(); ack.HighestSeq != 2 || !has(ack, 2) || ack.Has(1) {
		t.Errorf("before the commit: %+v", ack)
	}
	f.gate <- struct{}{}
	ack := a.ack()
	if !has(ack, 1, 2) || !ack.Newest || ack.WindowBytes != acked.WindowBytes(int(c.Counts().ReceiveBufferBytes), 1) {
		t.Errorf("after it: %+v", ack)
	}
	close(f.gate)
	f.begun = nil
	a.send([]byte("no record")) // as bad if it is sent again, so it is not asked for
	if ack := a.ack(); !has(ack, 1, 2, 3) {
		t.Errorf("a bad record: %+v", ack)
	}
	if counts := c.end(); counts.AcksSent != 3 || counts.AckErrors != 0 || counts.Committed != 2 || counts.BadRecords != 1 {
		t.Errorf("%+v", counts)
	}
}

// Who sends a datagram twice has missed its ack, and gets it again where its
// newest datagram came from. Nobody else is told anything.
func TestReplaysAreAnsweredToTheSender(t *testing.T) {
	f := newFakeStore()
	c := newCollector(t, f).start()
	a := newAsker(t, c.UDPAddr(), testBoot(5))
	first := a.seal(recordOf(1))
	a.write(append([]byte(nil), first...))
	a.ack()
	thief := newAsker(t, c.UDPAddr(), testBoot(5))
	thief.write(first)
	if ack := a.ack(); !has(ack, 1) || ack.Counter != 2 {
		t.Errorf("%+v", ack)
	}
	stranger := newSender(t, c.UDPAddr(), testEdge(1), testBoot(6)) // wants none
	stranger.send(recordOf(2))
	waitFor(t, "the commit", func() bool { return c.Counts().Committed == 2 })
	if counts := c.end(); counts.AcksSent != 2 || counts.Refused["replay"] != 1 || len(f.seen) != 2 {
		t.Errorf("%+v", counts)
	}
	if ack, err := thief.read(time.Millisecond); err == nil {
		t.Errorf("the thief got %+v", ack)
	}
}

// What is committed at the end is acked at the end, and an edge takes the acks
// of the next life.
func TestAcksAcrossRestart(t *testing.T) {
	f := newFakeStore()
	first := newCollector(t, f)
	a := newAsker(t, first.UDPAddr(), testBoot(5))
	for n := range 20 {
		a.send(recordOf(n))
	}
	first.start().end()
	for acked := make(map[uint64]bool); len(acked) < 20; {
		ack := a.ack() // fails if the last one is missing
		for seq := range uint64(20) {
			if ack.Has(seq + 1) {
				acked[seq+1] = true
			}
		}
	}
	second := newCollector(t, f).start()
	b := newAsker(t, second.UDPAddr(), testBoot(5))
	a.conn = b.conn
	a.send(recordOf(20))
	if ack := a.ack(); !has(ack, 21) || ack.Has(20) || !ack.Newest {
		t.Errorf("%+v", ack)
	}
	second.end()
}

func TestCollectorBootRises(t *testing.T) {
	f, last := newFakeStore(), uint64(0)
	for _, nowNs := range []int64{1000, 1000, 10, -5, 2000} {
		boot, err := takeBoot(f, nowNs)
		if err != nil || boot <= last || nowNs > 0 && boot < uint64(nowNs) {
			t.Errorf("at %d: boot %d after %d, %v", nowNs, boot, last, err)
		}
		last = boot
	}
	for _, damaged := range [][]byte{{}, []byte("damaged"), {math.MaxUint8, 255, 255, 255, 255, 255, 255, 255}} {
		f.values[bootKey] = damaged
		if _, err := takeBoot(f, 1); !errors.Is(err, datagram.ErrBadState) {
			t.Errorf("%x: %v", damaged, err)
		}
	}
}
