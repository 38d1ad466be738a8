package acked

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/postbench/postbench/refserver/batch"
	"github.com/postbench/postbench/refserver/datagram"
)

// pair is a sender and central's end of it, without a network.
type pair struct {
	t        testing.TB
	sender   *Sender[int]
	receiver *datagram.Receiver
	acker    *Acker
	tickets  map[uint64]Ticket // by seq
	records  map[uint64]int    // by seq
}

func newPair(t testing.TB, pace int) *pair {
	t.Helper()
	s, err := New[int](testEdge(), edgeBoot(1), Options{MaxDatagramsPerTick: pace})
	if err != nil {
		t.Fatal(err)
	}
	r, err := datagram.NewReceiver([]datagram.Edge{testEdge()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &pair{t: t, sender: s, receiver: r, tickets: make(map[uint64]Ticket), records: make(map[uint64]int)}
	p.acker = newAcker(t, 1)
	return p
}

func newAcker(t testing.TB, boot int) *Acker {
	t.Helper()
	a, err := NewAcker([]datagram.Edge{testEdge()}, centralBoot(boot), 100*datagram.MaxBytes)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// add adds records of 400 bytes, two to a datagram, with tokens from first on.
func (p *pair) add(first, n int) {
	p.t.Helper()
	for i := range n {
		if err := p.sender.Add(bytes.Repeat([]byte{'r'}, 400), first+i); err != nil {
			p.t.Fatal(err)
		}
	}
}

// tick returns the seqs that were sent.
func (p *pair) tick(nowNs int64) []uint64 { return p.opened(p.sender.Step(nowNs, Event{})) }

func (p *pair) opened(a Actions[int]) (seqs []uint64) {
	p.t.Helper()
	for _, d := range a.Send {
		o, err := p.receiver.Step(nowNs0, bytes.Clone(d))
		if err != nil {
			p.t.Fatal(err)
		}
		ticket, wanted := p.acker.Opened(&o, testAddr(1))
		if !wanted {
			p.t.Fatalf("datagram %d wants no ack", o.Seq)
		}
		p.tickets[o.Seq], p.records[o.Seq] = ticket, o.Count
		seqs = append(seqs, o.Seq)
	}
	return seqs
}

const nowNs0 = 1

// ack commits the seqs and returns the ack of what is committed by then.
func (p *pair) ack(seqs ...uint64) []byte {
	p.t.Helper()
	for _, seq := range seqs {
		p.acker.Committed(p.tickets[seq])
	}
	acks := p.acker.Flush()
	if len(acks) != 1 {
		p.t.Fatalf("%d acks", len(acks))
	}
	return bytes.Clone(acks[0].Bytes)
}

// freed hands an ack over and returns the tokens that it frees.
func (p *pair) freed(nowNs int64, ack []byte) []int {
	a := p.sender.Step(nowNs, Event{Kind: AckArrived, Ack: bytes.Clone(ack)})
	p.opened(a)
	return slices.Clone(a.Free)
}

func wantSeqs(t testing.TB, what string, got []uint64, want ...uint64) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: sent %v, want %v", what, got, want)
	}
}

func TestAckFreesItsOwnSeqs(t *testing.T) {
	p := newPair(t, 0)
	p.add(0, 6)
	wantSeqs(t, "first tick", p.tick(0), 1, 2, 3)
	if got := p.freed(msNs, p.ack(1, 3)); !slices.Equal(got, []int{0, 1, 4, 5}) {
		t.Errorf("freed %v", got)
	}
	if got := p.freed(msNs, p.ack(1, 3)); len(got) != 0 { // the same once more
		t.Errorf("freed again: %v", got)
	}
	if p.sender.Held() != 2 || p.sender.InFlight() != 1 {
		t.Errorf("%d held, %d in flight", p.sender.Held(), p.sender.InFlight())
	}
	wantSeqs(t, "not yet", p.tick(MinTimeoutNs-1))
	wantSeqs(t, "timeout", p.tick(MinTimeoutNs), 4)
	// The late ack of the first sending counts as well, and only once.
	if got := p.freed(MinTimeoutNs, p.ack(2)); !slices.Equal(got, []int{2, 3}) || p.sender.Held() != 0 {
		t.Errorf("freed %v", got)
	}
	p.add(6, 2) // in the places of those
	if got := p.freed(MinTimeoutNs, p.ack(4)); len(got) != 0 || p.sender.Held() != 2 {
		t.Errorf("another's ack freed %v", got)
	}
	c := p.sender.Counts()
	if c.Records != 6 || c.Acked != 6 || c.ResentRecords != 2 || c.ResentDatagrams != 1 || c.ResentBytes != 2*402 || c.Acks != 4 {
		t.Errorf("%+v", c)
	}
}

// A record that is acked while it waits to be sent again is not sent again.
func TestAckedWhileWaiting(t *testing.T) {
	p := newPair(t, 1)
	p.add(0, 4)
	wantSeqs(t, "first", p.tick(0), 1)
	wantSeqs(t, "second", p.tick(10*msNs), 2)
	wantSeqs(t, "timeout of both, pace of one", p.tick(InitialTimeoutNs+10*msNs), 3) // carries what 1 did
	if got := p.freed(InitialTimeoutNs+11*msNs, p.ack(2)); !slices.Equal(got, []int{2, 3}) {
		t.Errorf("freed %v", got)
	}
	wantSeqs(t, "nothing waits", p.tick(InitialTimeoutNs+20*msNs))
	if got := p.freed(InitialTimeoutNs+21*msNs, p.ack(3)); !slices.Equal(got, []int{0, 1}) {
		t.Errorf("freed %v", got)
	}
}

// Full datagrams need not wait for the tick; others do.
func TestAckMakesRoomForFullDatagrams(t *testing.T) {
	p := newPair(t, 0)
	window := InitialWindowBytes / datagram.MaxBytes
	p.add(0, 2*window+5)
	if seqs := p.tick(0); len(seqs) != window {
		t.Fatalf("%d sent", len(seqs))
	}
	a := p.sender.Step(msNs, Event{Kind: AckArrived, Ack: p.ack(1, 2, 3)})
	if wantSeqs(t, "at once", p.opened(a), uint64(window+1), uint64(window+2)); len(a.Free) != 6 {
		t.Errorf("%d freed", len(a.Free))
	}
	wantSeqs(t, "the rest", p.tick(10*msNs), uint64(window+3))
}

// When nothing comes back, no more than two windows are sent, then probes,
// slower and slower; an answer to one sets everything going again.
func TestSilenceIsProbed(t *testing.T) {
	p := newPair(t, 0)
	window := uint64(InitialWindowBytes / datagram.MaxBytes)
	p.add(0, 3*int(window))
	var sent, probes []uint64
	var probedAtNs []int64
	nowNs := int64(0)
	for ; nowNs < 10_000*msNs; nowNs += 10 * msNs {
		for _, seq := range p.tick(nowNs) {
			if sent = append(sent, seq); p.records[seq] == 0 {
				probes, probedAtNs = append(probes, seq), append(probedAtNs, nowNs)
			}
		}
	}
	if data := uint64(len(sent) - len(probes)); data != 2*window {
		t.Errorf("%d datagrams of records sent into silence, want %d", data, 2*window)
	}
	last := probedAtNs[len(probedAtNs)-1] - probedAtNs[len(probedAtNs)-2]
	if n := len(probes); n < 8 || n > 12 || last != MaxTimeoutNs || p.sender.Counts().Probes != int64(n) {
		t.Errorf("%d probes, the last after %d ms", n, last/msNs)
	}
	p.freed(nowNs, p.ack(probes[len(probes)-1]))
	if p.sender.timing.backoff != 0 || p.sender.Held() != 3*int(window) {
		t.Errorf("backoff %d, %d held", p.sender.timing.backoff, p.sender.Held())
	}
	if seqs := p.tick(nowNs + 10*msNs); len(seqs) == 0 || p.records[seqs[0]] == 0 {
		t.Errorf("after the answer %v", seqs)
	}
}

// The window is that of the newest ack, and closed it lets only probes out.
func TestWindowOfTheNewestAck(t *testing.T) {
	p := newPair(t, 0)
	p.add(0, 2)
	p.tick(0)
	old := p.ack(1)
	p.acker.windowBytes = 0
	shut := p.acker.edges[7][0]
	shut.ack.WindowBytes = 0
	p.acker.mark(shut)
	p.freed(msNs, p.ack())
	p.freed(msNs, old)
	p.add(2, 2)
	seqs := p.tick(10 * msNs)
	if len(seqs) != 1 || p.records[seqs[0]] != 0 {
		t.Errorf("sent %v", seqs)
	}
	shut.ack.WindowBytes = datagram.MaxBytes
	p.freed(11*msNs, p.ack(seqs...))
	if seqs := p.tick(20 * msNs); len(seqs) != 1 || p.records[seqs[0]] != 2 {
		t.Errorf("sent %v", seqs)
	}
}

// What is older than the map travels again, even before its time.
func TestOffTheMap(t *testing.T) {
	p := newPair(t, 0)
	p.acker.windowBytes = MaxInFlight * datagram.MaxBytes
	p.add(0, 2)
	p.tick(0) // seq 1 is never acked
	for n := 2; n < 2*datagram.AckBits; n += 2 {
		p.add(n, 2)
		p.freed(0, p.ack(p.tick(0)...))
		for seq := range p.tickets {
			delete(p.tickets, seq)
		}
	}
	if c := p.sender.Counts(); c.ResentRecords != 0 || p.sender.Held() != 2 {
		t.Fatalf("%+v", c)
	}
	p.add(5000, 2)
	// The first takes the place of seq 1 and its records.
	wantSeqs(t, "again", p.tick(0), datagram.AckBits+1, datagram.AckBits+2)
	if c := p.sender.Counts(); c.ResentRecords != 2 {
		t.Errorf("%+v", c)
	}
	if got := p.freed(0, p.ack(datagram.AckBits+1)); !slices.Equal(got, []int{0, 1}) {
		t.Errorf("freed %v", got)
	}
}

func TestUnsentCountAsNeverSent(t *testing.T) {
	p := newPair(t, 0)
	p.add(0, 6)
	if n := len(p.sender.Step(0, Event{}).Send); n != 3 {
		t.Fatalf("%d sent", n)
	}
	p.sender.Unsent(2)
	c := p.sender.Counts()
	if c.Records != 2 || c.Datagrams != 1 || c.Bytes != datagram.Overhead+2*402 || p.sender.InFlight() != 1 {
		t.Errorf("%+v, %d in flight", c, p.sender.InFlight())
	}
	wantSeqs(t, "next tick", p.tick(10*msNs), 4, 5)
	if got := p.freed(11*msNs, p.ack(4, 5)); !slices.Equal(got, []int{2, 3, 4, 5}) {
		t.Errorf("freed %v", got)
	}
	if c := p.sender.Counts(); c.Records != 6 || c.Datagrams != 3 || c.ResentRecords != 0 || c.ResentDatagrams != 0 || c.ResentBytes != 0 {
		t.Errorf("%+v", c)
	}
	// The first is lost, sent again, and that not taken either.
	p.sender.Step(1000*msNs, Event{})
	p.sender.Unsent(1)
	if c := p.sender.Counts(); c.Datagrams != 3 || c.ResentRecords != 0 || c.ResentDatagrams != 0 || c.ResentBytes != 0 || p.sender.InFlight() != 0 {
		t.Errorf("%+v", c)
	}
}

// Only central's own acks free anything.
func TestForgedAcksFreeNothing(t *testing.T) {
	p := newPair(t, 0)
	p.add(0, 2)
	p.tick(0)
	good := p.ack(1)
	for bit := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		if got := p.freed(msNs, bad); len(got) != 0 {
			t.Fatalf("bit %d flipped: freed %v", bit, got)
		}
	}
	refused := int64(0)
	for reason, n := range p.sender.Counts().AcksRefused {
		if refused += n; reason == "" {
			t.Error("a refusal without a reason")
		}
	}
	if c := p.sender.Counts(); refused != int64(len(good)*8) || c.Acks != 0 || c.AcksRefused["forged"] == 0 {
		t.Errorf("%+v", c)
	}
	if got := p.freed(msNs, good); len(got) != 2 {
		t.Errorf("freed %v", got)
	}
}

func TestSenderRefuses(t *testing.T) {
	p := newPair(t, 1)
	for _, n := range []int{0, datagram.MaxRecordBytes + 1} {
		if err := p.sender.Add(make([]byte, n), 0); !errors.Is(err, batch.ErrRecordLength) {
			t.Errorf("record of %d bytes: %v", n, err)
		}
	}
	for n := range (MaxInFlight + 1) * MaxRecordsPerDatagram {
		if err := p.sender.Add([]byte("r"), n); err != nil {
			t.Fatal(n, err)
		}
	}
	if err := p.sender.Add([]byte("r"), 0); !errors.Is(err, batch.ErrFull) || p.sender.Room() != 0 {
		t.Error(err)
	}
	if p.tick(0); p.records[1] != MaxRecordsPerDatagram {
		t.Errorf("%d records in a datagram", p.records[1])
	}
	for _, pace := range []int{-1, batch.LimitDatagramsPerTick + 1} {
		if _, err := New[int](testEdge(), edgeBoot(1), Options{MaxDatagramsPerTick: pace}); !errors.Is(err, batch.ErrOptions) {
			t.Errorf("%d datagrams: %v", pace, err)
		}
	}
	for name, err := range map[string]error{"key": newErr(datagram.Edge{}, edgeBoot(1)), "boot": newErr(testEdge(), datagram.Boot{})} {
		if !errors.Is(err, datagram.ErrNoKey) && !errors.Is(err, datagram.ErrNoBoot) {
			t.Errorf("no %s: %v", name, err)
		}
	}
}

func newErr(e datagram.Edge, b datagram.Boot) error {
	_, err := New[string](e, b, Options{})
	return err
}

func TestTimeouts(t *testing.T) {
	var first timing
	if got := first.timeoutNs(); got != InitialTimeoutNs {
		t.Errorf("before the first ack %d", got)
	}
	for _, tt := range []struct {
		samplesNs []int64
		minNs     int64
		maxNs     int64
	}{
		{[]int64{msNs, msNs, msNs, msNs}, MinTimeoutNs, MinTimeoutNs},
		{slices.Repeat([]int64{100 * msNs}, 50), 110 * msNs, 111 * msNs},
		{slices.Repeat([]int64{50 * msNs, 150 * msNs}, 50), 250 * msNs, 350 * msNs},
		{[]int64{1 << 60}, MaxTimeoutNs, MaxTimeoutNs},
	} {
		var known timing
		for _, ns := range tt.samplesNs {
			known.sample(ns)
		}
		if got := known.timeoutNs(); got < tt.minNs || got > tt.maxNs {
			t.Errorf("after %d samples of %d ns: %d, want %d to %d", len(tt.samplesNs), tt.samplesNs[0], got, tt.minNs, tt.maxNs)
		}
		known.progress(0)
		for nowNs := int64(0); nowNs < 20*MaxTimeoutNs; nowNs += msNs {
			known.silence(nowNs)
		}
		if got := known.timeoutNs(); got != MaxTimeoutNs {
			t.Errorf("after a long silence: %d", got)
		}
		known.progress(0)
		if got := known.timeoutNs(); got > tt.maxNs {
			t.Errorf("after progress: %d", got)
		}
	}
	for _, tt := range []struct{ buffer, edges, want int }{
		{212_992, 1, 46}, {212_992, 50, minWindow}, {8 << 20, 1, MaxInFlight}, {8 << 20, 50, 36}, {0, 0, minWindow},
	} {
		if got := WindowBytes(tt.buffer, tt.edges); got != uint32(tt.want*datagram.MaxBytes) {
			t.Errorf("%s: %d datagrams, want %d", fmt.Sprint(tt), got/datagram.MaxBytes, tt.want)
		}
	}
}
