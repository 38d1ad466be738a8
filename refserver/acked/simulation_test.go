package acked

import (
	"bytes"
	"cmp"
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/postbench/postbench/refserver/datagram"
)

const msNs = int64(time.Millisecond)

func testEdge() datagram.Edge { return datagram.Edge{ID: 7, KeyID: 2, PSK: [32]byte{7}} }

func edgeBoot(n int) datagram.Boot { return datagram.Boot{ID: uint64(n), Salt: [16]byte{1, byte(n)}} }

func centralBoot(n int) datagram.Boot {
	return datagram.Boot{ID: uint64(n), Salt: [16]byte{2, byte(n)}}
}

func testAddr(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
}

// network is how bad both ways are, as shares of what is sent.
type network struct {
	loss, duplicate, reorder, corrupt float64
	delayNs                           int64
}

// happening is something in virtual time.
type happening struct {
	atNs  int64
	order int
	do    func()
}

type agenda []happening

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(a[i].atNs, a[j].atNs), cmp.Compare(a[i].order, a[j].order)) < 0
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(happening)) }
func (a *agenda) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

// commitment is what one commit of central brings.
type commitment struct {
	tickets []Ticket
	records []string
	states  []datagram.BootState
	dead    bool // central died over it
}

// world is an edge, a bad network and central, in virtual time. The lane and
// the rows outlive every process.
type world struct {
	t       *testing.T
	rng     *rand.Rand
	network network
	nowNs   int64
	agenda  agenda
	order   int

	lane   []string // all records ever put into it, by token
	freed  []bool
	left   int // in the lane
	next   int // the first that was not handed to this boot of the sender
	sender *Sender[int]
	boots  int
	spent  []Counts // of the boots before
	putNs  []int64  // by token

	rows     map[string]int64 // when they were committed
	states   []datagram.BootState
	receiver *datagram.Receiver // nil while central is down
	acker    *Acker
	centrals int
	pending  []*commitment // under way
	buffer   int           // central's receive buffer, in the kernel's bytes
}

func newWorld(t *testing.T, seed uint64, n network) *world {
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 3)), network: n, nowNs: 1, rows: make(map[string]int64),
	}
	w.buffer = 1 << (14 + w.rng.IntN(8)) // down to the smallest window there is
	w.startSender()
	w.startCentral()
	w.after(0, w.tick)
	return w
}

func (w *world) after(ns int64, do func()) {
	w.order++
	heap.Push(&w.agenda, happening{w.nowNs + ns, w.order, do})
}

// run lets virtual time pass until done, at most so long.
func (w *world) run(limit time.Duration, done func() bool) {
	w.t.Helper()
	for end := w.nowNs + int64(limit); !done(); {
		h := heap.Pop(&w.agenda).(happening)
		if w.nowNs = h.atNs; w.nowNs > end {
			w.t.Fatalf("after %v: %d records left, %d in flight, %+v, %+v", limit, w.left, w.sender.InFlight(),
				w.sender.Counts(), w.sender.timing)
		}
		h.do()
	}
}

func (w *world) startSender() {
	if w.sender != nil {
		w.spent = append(w.spent, w.sender.Counts())
	}
	w.boots++
	s, err := New[int](testEdge(), edgeBoot(w.boots), Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.sender, w.next = s, 0
}

// put puts a record into the lane.
func (w *world) put() {
	w.lane = append(w.lane, fmt.Sprintf("record %d %s", len(w.lane), bytes.Repeat([]byte{'x'}, 60+w.rng.IntN(100))))
	w.freed, w.putNs = append(w.freed, false), append(w.putNs, w.nowNs)
	w.left++
}

func (w *world) tick() {
	for ; w.next < len(w.lane) && w.sender.Room() > 0; w.next++ {
		if w.freed[w.next] {
			continue
		}
		if err := w.sender.Add([]byte(w.lane[w.next]), w.next); err != nil {
			w.t.Fatal(err)
		}
	}
	w.act(w.sender.Step(w.nowNs, Event{}))
	w.after(10*msNs, w.tick)
}

// act does what the sender wants, and holds it to its promise: it lets go of
// nothing that central has not.
func (w *world) act(a Actions[int]) {
	for _, token := range a.Free {
		if w.freed[token] || w.rows[w.lane[token]] == 0 {
			w.t.Fatalf("record %d freed: before %v, committed %v", token, w.freed[token], w.rows[w.lane[token]] != 0)
		}
		w.freed[token] = true
		w.left--
	}
	boot := uint16(w.boots)
	for _, d := range a.Send {
		w.transmit(d, func(copy []byte) { w.arrive(copy, testAddr(boot)) })
	}
}

// transmit sends a datagram through the network.
func (w *world) transmit(d []byte, deliver func([]byte)) {
	if w.rng.Float64() < w.network.loss {
		return
	}
	copies := 1
	if w.rng.Float64() < w.network.duplicate {
		copies = 2
	}
	for range copies {
		payload, delay := bytes.Clone(d), w.network.delayNs+1+w.rng.Int64N(msNs/2)
		if w.rng.Float64() < w.network.reorder {
			delay += w.rng.Int64N(20 * msNs)
		}
		if w.rng.Float64() < w.network.corrupt {
			payload[w.rng.IntN(len(payload))] ^= 1 << w.rng.IntN(8)
		}
		w.after(delay, func() { deliver(payload) })
	}
}

func (w *world) startCentral() {
	r, err := datagram.NewReceiver([]datagram.Edge{testEdge()}, w.states)
	if err != nil {
		w.t.Fatal(err)
	}
	w.centrals++
	w.receiver = r
	if w.acker, err = NewAcker([]datagram.Edge{testEdge()}, centralBoot(w.centrals), WindowBytes(w.buffer, 1)); err != nil {
		w.t.Fatal(err)
	}
}

// killCentral loses what was opened and not committed; a commit under way may
// have come through.
func (w *world) killCentral(downNs int64) {
	if w.receiver == nil {
		return
	}
	w.receiver, w.acker = nil, nil
	for _, c := range w.pending {
		if c.dead = true; w.rng.IntN(2) == 0 {
			w.write(c)
		}
	}
	w.pending = nil
	w.after(downNs, w.startCentral)
}

func (w *world) arrive(d []byte, from netip.AddrPort) {
	if w.receiver == nil {
		return
	}
	opened, err := w.receiver.Step(w.nowNs, d)
	if err != nil {
		if opened.WantsAck {
			w.acker.Replayed(&opened)
			w.sendAcks()
		}
		return
	}
	ticket, wanted := w.acker.Opened(&opened, from)
	if !wanted {
		w.t.Fatal("an ack is not wanted")
	}
	c := &commitment{tickets: []Ticket{ticket}, states: w.receiver.States()}
	for frames := datagram.Frames(opened.Body); frames.Next(); {
		c.records = append(c.records, string(frames.Record()))
	}
	takes := 200_000 + w.rng.Int64N(3*msNs)
	if w.rng.IntN(500) == 0 {
		takes = w.rng.Int64N(500 * msNs)
	}
	w.pending = append(w.pending, c)
	w.after(takes, func() {
		if c.dead {
			return
		}
		w.pending = slices.DeleteFunc(w.pending, func(other *commitment) bool { return other == c })
		w.write(c)
		for _, ticket := range c.tickets {
			w.acker.Committed(ticket)
		}
		w.sendAcks()
	})
}

// write is a synced commit: identities that are known already make no row.
func (w *world) write(c *commitment) {
	for _, r := range c.records {
		if w.rows[r] == 0 {
			w.rows[r] = w.nowNs
		}
	}
	w.states = append(w.states, c.states...)
}

func (w *world) sendAcks() {
	if w.acker == nil {
		return
	}
	acks, nextNs := w.acker.Step(w.nowNs)
	for _, a := range acks {
		to := a.To
		w.transmit(a.Bytes, func(copy []byte) {
			if to == testAddr(uint16(w.boots)) { // else its socket is gone
				w.act(w.sender.Step(w.nowNs, Event{Kind: AckArrived, Ack: copy}))
			}
		})
	}
	if nextNs != NeverNs {
		w.after(nextNs-w.nowNs, w.sendAcks)
	}
}

// total adds up the counts of all boots of the sender.
func (w *world) total() (sum Counts) {
	for _, c := range append(w.spent, w.sender.Counts()) {
		sum.Records += c.Records
		sum.Datagrams += c.Datagrams
		sum.Bytes += c.Bytes
		sum.Acked += c.Acked
		sum.ResentRecords += c.ResentRecords
		sum.ResentBytes += c.ResentBytes
		sum.Probes += c.Probes
	}
	return sum
}

// check holds the rows against the lane.
func (w *world) check() {
	w.t.Helper()
	if len(w.rows) != len(w.lane) {
		w.t.Errorf("%d rows of %d records", len(w.rows), len(w.lane))
	}
	for token, record := range w.lane {
		if !w.freed[token] || w.rows[record] == 0 {
			w.t.Fatalf("record %d: freed %v, committed %v", token, w.freed[token], w.rows[record] != 0)
		}
	}
	if acked := w.total().Acked; acked != int64(len(w.lane)) {
		w.t.Errorf("%d acked of %d", acked, len(w.lane))
	}
}

// networks are those that the promise is made for.
var networks = map[string]network{
	"perfect":    {},
	"1 %":        {loss: 0.01, duplicate: 0.5, reorder: 0.2, corrupt: 0.01},
	"30 %":       {loss: 0.3, duplicate: 0.5, reorder: 0.2, corrupt: 0.05},
	"far away":   {loss: 0.05, duplicate: 0.1, reorder: 0.1, delayNs: 85 * msNs},
	"unbearable": {loss: 0.6, duplicate: 0.5, reorder: 0.5, corrupt: 0.2, delayNs: 20 * msNs},
}

// Whatever the network loses, doubles, reorders and damages, and however often
// both ends are killed: every record becomes one row, and soon.
func TestNothingIsLost(t *testing.T) {
	for name, n := range networks {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(60) {
				w := newWorld(t, seed, n)
				records := 100 + w.rng.IntN(1500)
				for range records {
					w.after(w.rng.Int64N(400*msNs), w.put)
				}
				for range w.rng.IntN(4) {
					w.after(w.rng.Int64N(600*msNs), w.startSender)
				}
				for range w.rng.IntN(4) {
					w.after(w.rng.Int64N(600*msNs), func() { w.killCentral(w.rng.Int64N(300 * msNs)) })
				}
				limit := time.Minute
				if n.loss > 0.5 { // four of five round trips fail, through a window of two datagrams at times
					limit = 10 * time.Minute
				}
				w.run(limit, func() bool { return len(w.lane) == records && w.left == 0 })
				w.check()
			}
		})
	}
}

// What loss costs, at 2,000 records a second over 10 ms there and back: bytes,
// and time until a record is committed. Virtual time, so the figures are exact.
func TestWhatLossCosts(t *testing.T) {
	for _, tt := range []struct {
		loss           float64
		maxBytes       float64 // sent, by those of a network that loses nothing
		maxP50, maxP99 time.Duration
	}{
		{0, 1.03, 15 * time.Millisecond, 40 * time.Millisecond},
		{0.01, 1.05, 15 * time.Millisecond, 60 * time.Millisecond},
		{0.1, 1.25, 20 * time.Millisecond, 120 * time.Millisecond},
		{0.3, 1.7, 40 * time.Millisecond, 300 * time.Millisecond},
	} {
		const records = 10_000
		w := newWorld(t, 1, network{loss: tt.loss, delayNs: 5 * msNs})
		w.buffer = 8 << 20
		w.startCentral()
		for n := range int64(records) {
			w.after(n*msNs/2, w.put)
		}
		w.run(time.Minute, func() bool { return len(w.lane) == records && w.left == 0 })
		w.check()
		var took []int64
		var needed int
		for token, record := range w.lane {
			took = append(took, w.rows[record]-w.putNs[token])
			needed += datagram.FrameBytes + len(record)
		}
		slices.Sort(took)
		needed += datagram.Overhead * (needed/datagram.MaxBodyBytes + 1)
		c := w.total()
		p50, p99 := time.Duration(took[records/2]), time.Duration(took[records*99/100])
		bytes := float64(c.Bytes) / float64(needed)
		t.Logf("loss %2.0f %%: %.3f of the bytes needed, %4.1f %% of them sent again; committed after p50 %v, p99 %v, most %v",
			100*tt.loss, bytes, 100*float64(c.ResentBytes)/float64(c.Bytes), p50, p99, time.Duration(took[records-1]))
		if bytes > tt.maxBytes || p50 > tt.maxP50 || p99 > tt.maxP99 {
			t.Errorf("loss %g: above the limits %+v", tt.loss, tt)
		}
	}
}
