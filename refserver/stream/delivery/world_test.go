package delivery

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
)

const (
	ms     = 1_000_000
	second = 1_000_000_000

	simTickNs  = 10 * ms
	simRecords = 2_000
	simSlots   = 300 // of the lane
	simCalmNs  = 60 * second
)

// faults are chances: of a break, of a silent death and of a refusal per batch,
// of the others per tick.
type faults struct {
	breaks, silent, refused, noConnection, nonsense, restart, centralAway float64
}

// world is an edge's lane, a sender, a network and central in virtual time. It
// is the judge: it knows of every record whether central has it, and fails the
// test the moment that a token comes back for one that central does not have, or
// that central gets other bytes than the edge has written.
type world struct {
	t     *testing.T
	rng   *rand.Rand
	fault faults
	nowNs int64

	core     *Core[int]
	before   Counts // of the senders that died
	restarts int
	written  int             // records so far; a record's number is its token
	held     map[int][]byte  // in the lane, by number
	waiting  []int           // in the lane, not handed to this sender
	has      map[int]int     // how often central has committed a record
	awayNs   int64           // central is away until then
	conns    map[uint64]bool // whether what is sent over it arrives
	mail     []letter        // on its way, in no order
}

// letter is something that happens later. It goes to one life of the sender.
type letter struct {
	atNs    int64
	life    int
	event   Event    // to the sender, or
	arrives *arrival // at central
}

type arrival struct {
	conn, id uint64
	records  [][]byte
}

func newWorld(t *testing.T, seed uint64, f faults) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 1)), fault: f, held: map[int][]byte{}, has: map[int]int{}}
	w.start()
	return w
}

// start is a new life of the sender: whatever the lane holds is handed out again.
func (w *world) start() {
	if w.core != nil {
		w.before = sum(w.before, w.core.Counts())
		w.restarts++
	}
	w.core = New[int](Options{BatchRecords: 8, Window: 4, AckLimitNs: 2 * second})
	w.conns = map[uint64]bool{}
	w.waiting = w.waiting[:0]
	for n := range w.held {
		w.waiting = append(w.waiting, n)
	}
	slices.Sort(w.waiting)
}

func sum(a, b Counts) Counts {
	return Counts{
		Records: a.Records + b.Records, Batches: a.Batches + b.Batches, Resent: a.Resent + b.Resent, ResentRecords: a.ResentRecords + b.ResentRecords, Acked: a.Acked + b.Acked,
		Refused: a.Refused + b.Refused, Connects: a.Connects + b.Connects, Reconnects: a.Reconnects + b.Reconnects,
		Failures: a.Failures + b.Failures, AckTimeout: a.AckTimeout + b.AckTimeout, BadAnswers: a.BadAnswers + b.BadAnswers,
	}
}

func (w *world) chance(p float64) bool { return w.rng.Float64() < p }

// later is a time of the network: mostly short, sometimes long.
func (w *world) later() int64 {
	if w.chance(0.05) {
		return w.nowNs + w.rng.Int64N(second*9/10)
	}
	return w.nowNs + w.rng.Int64N(30*ms)
}

func (w *world) post(event Event) {
	w.mail = append(w.mail, letter{atNs: w.later(), life: w.restarts, event: event})
}

// tick is one turn of the shell.
func (w *world) tick() {
	w.nowNs += simTickNs
	if w.chance(w.fault.restart) {
		w.start()
	}
	if w.chance(w.fault.centralAway) {
		w.awayNs = w.nowNs + w.rng.Int64N(20*second)
	}
	if id := w.rng.Uint64N(2 * (w.core.lastID + 1)); w.chance(w.fault.nonsense) && !w.inFlight(id) {
		w.do(w.core.Step(w.nowNs, Answered{Conn: w.core.conn, ID: id}))
	}
	w.deliver()
	for range w.rng.IntN(20) {
		if len(w.held) < simSlots && w.written < simRecords {
			w.written++
			w.held[w.written] = strconv.AppendInt(nil, int64(w.written), 10)
			w.waiting = append(w.waiting, w.written)
		}
	}
	n := min(len(w.waiting), w.core.Room())
	for _, token := range w.waiting[:n] {
		w.core.Add(w.held[token], token)
	}
	w.waiting = w.waiting[n:]
	w.do(w.core.Step(w.nowNs, Tick{}))
}

func (w *world) inFlight(id uint64) bool {
	return slices.ContainsFunc(w.core.inFlight, func(b *Batch[int]) bool { return b.ID == id })
}

// deliver lets happen what is due, in the order of time.
func (w *world) deliver() {
	slices.SortStableFunc(w.mail, func(a, b letter) int { return int(a.atNs - b.atNs) })
	for len(w.mail) > 0 && w.mail[0].atNs <= w.nowNs {
		l := w.mail[0]
		w.mail = w.mail[1:]
		switch {
		case l.arrives != nil:
			w.arrive(l.life, l.arrives)
		case l.life == w.restarts:
			w.do(w.core.Step(w.nowNs, l.event))
		}
	}
}

func (w *world) do(a *Actions[int]) {
	for _, token := range a.Free {
		record, held := w.held[token]
		if !held || w.has[token] == 0 {
			w.t.Fatalf("record %d is free: in the lane %v, at central %d times", token, held, w.has[token])
		}
		for i := range record { // another record lies there now
			record[i] = '!'
		}
		delete(w.held, token)
	}
	if a.Connect != 0 {
		if w.nowNs < w.awayNs || w.chance(w.fault.noConnection) {
			w.post(Disconnected{a.Connect})
		} else {
			w.conns[a.Connect] = true
			w.mail = append(w.mail, letter{atNs: w.nowNs, life: w.restarts, event: Connected{a.Connect}})
		}
	}
	for _, b := range a.Send {
		w.send(b)
	}
	if c := w.core; len(c.inFlight)+len(c.again)+len(c.fresh) > c.options.Window || c.state != connected && len(c.inFlight) > 0 {
		w.t.Fatalf("%d in flight, %d again, %d fresh, state %d", len(c.inFlight), len(c.again), len(c.fresh), c.state)
	}
}

// send copies what travels: the network has it, whatever becomes of the lane.
func (w *world) send(b *Batch[int]) {
	if len(b.Records) == 0 || len(b.Records) > 8 {
		w.t.Fatalf("a batch of %d records", len(b.Records))
	}
	conn := w.core.conn
	if w.chance(w.fault.breaks) {
		w.post(Disconnected{conn}) // what is on its way may still arrive
	}
	if w.chance(w.fault.silent) {
		w.conns[conn] = false
	}
	if !w.conns[conn] {
		return
	}
	a := &arrival{conn: conn, id: b.ID}
	for _, record := range b.Records {
		a.records = append(a.records, slices.Clone(record))
	}
	w.mail = append(w.mail, letter{atNs: w.later(), life: w.restarts, arrives: a})
}

// arrive is central's part.
func (w *world) arrive(life int, a *arrival) {
	if w.nowNs < w.awayNs {
		return
	}
	refused := w.chance(w.fault.refused)
	if !refused {
		for _, record := range a.records {
			n, err := strconv.Atoi(string(record))
			if err != nil {
				w.t.Fatalf("central got %q", record)
			}
			w.has[n]++
		}
	}
	if life != w.restarts || !w.conns[a.conn] {
		return // nobody hears the answer
	}
	w.post(Answered{Conn: a.conn, ID: a.id, Refused: refused})
}

// run lives through the faults until everything is written, then mends them and
// expects that central gets all there is.
func (w *world) run() Counts {
	for w.written < simRecords {
		w.tick()
	}
	w.fault, w.awayNs = faults{}, 0
	calm := w.nowNs + simCalmNs
	for len(w.held) > 0 && w.nowNs < calm {
		w.tick()
	}
	if len(w.held) > 0 || len(w.has) != simRecords {
		w.t.Fatalf("%d records left, central has %d of %d", len(w.held), len(w.has), simRecords)
	}
	return sum(w.before, w.core.Counts())
}
