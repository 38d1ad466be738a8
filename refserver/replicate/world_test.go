package replicate

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// world is an edge, its Redis, central and a replicator in virtual time. It is
// the judge: it knows of every arrival whether its key lives and whether
// central has it, and fails the test the moment that an entry is deleted
// although the key lives and central does not have it.
type world struct {
	t     *testing.T
	rng   *rand.Rand
	nowNs int64
	ttlNs int64 // 0 = redis-confirmed
	fault faults

	redis     redis
	redisUpNs int64 // away until then
	centralNs int64 // likewise

	nextPutNs int64
	counter   uint64
	arrivals  map[string]*fate // by key

	core   *Core
	action Action
	before Counts // of the replicators that died
	crashed, recreated,
	foundGone int64
}

// faults are chances per step.
type faults struct {
	crash, replyLost, centralAway, redisAway, redisEmpty float64
	outageNs                                             int64 // at most
}

// fate is what became of an arrival.
type fate struct {
	committed int
	gone      bool // a fetch found its key gone
	wiped     bool // its Redis came back empty
	deleted   bool // its entry was
}

type redis struct {
	keys     map[string]int64 // expiry, 0 = none
	stream   []Entry
	lastID   int64
	hasGroup bool
	groupID  string
	pending  []Entry
}

const (
	simBatch  = 8
	simPutsNs = second / 10 // mean distance
	simKeepNs = 30 * second
	simEndNs  = 300 * second
)

func newWorld(t *testing.T, seed uint64, ttlNs int64, f faults) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 0)), ttlNs: ttlNs, fault: f, arrivals: make(map[string]*fate)}
	w.redis = redis{keys: make(map[string]int64)}
	w.newCore()
	return w
}

func (w *world) newCore() {
	if w.core != nil {
		w.crashed++
		w.before = sum(w.before, w.core.Counts())
	}
	o := Options{BatchEntries: simBatch, DrainLimitNs: 1 << 60}
	if w.ttlNs == 0 {
		o.KeepNs = simKeepNs
	}
	w.core = New(o)
	w.action = w.core.Step(w.nowNs, Started{})
}

func sum(a, b Counts) Counts {
	return Counts{
		Replicated: a.Replicated + b.Replicated, Expired: a.Expired + b.Expired, Malformed: a.Malformed + b.Malformed,
		Batches: a.Batches + b.Batches, SendFailures: a.SendFailures + b.SendFailures,
		RedisFailures: a.RedisFailures + b.RedisFailures, GroupsRecreated: a.GroupsRecreated + b.GroupsRecreated,
	}
}

func (w *world) chance(p float64) bool { return w.rng.Float64() < p }

// pass lets time go by and the edge put.
func (w *world) pass(ns int64) {
	for end := w.nowNs + ns; ; {
		if w.nextPutNs > end {
			w.nowNs = end
			break
		}
		w.nowNs = max(w.nowNs, w.nextPutNs)
		w.nextPutNs = w.nowNs + w.rng.Int64N(2*simPutsNs)
		w.put()
	}
}

// alive tells whether Redis still has the key.
func (w *world) alive(key string) bool {
	expiry, found := w.redis.keys[key]
	return found && (expiry == 0 || expiry > w.nowNs)
}

func (w *world) put() {
	if w.nowNs < w.redisUpNs || w.nowNs >= simEndNs {
		return // answered 503: no arrival
	}
	w.counter++
	w.redis.lastID++
	e := Entry{ID: fmt.Sprintf("%012d", w.redis.lastID), Key: Key{Edge: 1, Boot: 1, Counter: w.counter}.String()}
	w.redis.stream = append(w.redis.stream, e)
	w.redis.keys[e.Key] = 0
	if w.ttlNs > 0 {
		w.redis.keys[e.Key] = w.nowNs + w.ttlNs
	}
	w.arrivals[e.Key] = &fate{}
}

// fail draws what breaks before the next action.
func (w *world) fail() {
	if w.chance(w.fault.centralAway) {
		w.centralNs = w.nowNs + w.rng.Int64N(w.fault.outageNs)
	}
	if w.chance(w.fault.redisAway) {
		w.redisUpNs = w.nowNs + w.rng.Int64N(w.fault.outageNs)
	}
	if w.chance(w.fault.redisEmpty) {
		for _, e := range w.redis.stream {
			w.arrivals[e.Key].wiped = true
		}
		w.redis = redis{keys: make(map[string]int64), lastID: w.redis.lastID}
	}
}

// step carries out one action, with faults before, in and after it.
func (w *world) step() (stopped *Stop) {
	w.fail()
	if w.chance(w.fault.crash) {
		w.newCore()
		return nil
	}
	event := w.do()
	if event == nil {
		stop := w.action.(Stop)
		return &stop
	}
	if w.chance(w.fault.crash) {
		w.newCore()
		return nil
	}
	w.action = w.core.Step(w.nowNs, event)
	if n := len(w.core.done); n > simBatch {
		w.t.Fatalf("the core remembers %d entries, more than a batch", n)
	}
	return nil
}

func (w *world) do() Event {
	w.pass(second / 1000)
	switch a := w.action.(type) {
	case Wait:
		w.pass(a.WaitNs)
		return Woke{}
	case Send:
		return w.send(a)
	case Stop:
		return nil
	}
	if w.nowNs < w.redisUpNs {
		return RedisFailed{}
	}
	event := w.doRedis()
	if _, failed := event.(RedisFailed); !failed && w.chance(w.fault.replyLost) {
		return RedisFailed{}
	}
	return event
}

func (w *world) send(a Send) Event {
	if w.nowNs < w.centralNs {
		return SendFailed{}
	}
	for _, record := range a.Records {
		w.arrivals[string(record)].committed++
	}
	if w.chance(w.fault.replyLost) {
		return SendFailed{}
	}
	return Sent{}
}

func (w *world) doRedis() Event {
	r := &w.redis
	switch a := w.action.(type) {
	case CreateGroup:
		if !r.hasGroup {
			r.hasGroup, r.groupID, r.pending = true, "", nil
			w.recreated++
		}
		return GroupReady{}
	case Read:
		return w.read(a)
	case Fetch:
		var values [][]byte
		for _, key := range a.Keys {
			if w.alive(key) {
				values = append(values, []byte(key)) // the record is the key: easy to judge
				continue
			}
			values = append(values, nil)
			if f := w.arrivals[key]; !f.gone {
				f.gone = true
				w.foundGone++
			}
		}
		return Fetched{values}
	case Confirm:
		return w.confirm(a)
	}
	w.t.Fatalf("%T is not for Redis", w.action)
	return nil
}

func (w *world) read(a Read) Event {
	r := &w.redis
	if !r.hasGroup {
		return RedisFailed{GroupLost: true}
	}
	if a.Pending {
		return ReadDone{slices.Clone(r.pending[:min(a.Max, len(r.pending))])}
	}
	fresh := w.fresh(a.Max)
	if len(fresh) == 0 && a.BlockNs > 0 {
		w.pass(a.BlockNs)
		fresh = w.fresh(a.Max)
	}
	if len(fresh) > 0 {
		r.pending = append(r.pending, fresh...)
		r.groupID = fresh[len(fresh)-1].ID
	}
	return ReadDone{fresh}
}

// fresh are entries beyond what the group has handed out; IDs sort as strings.
func (w *world) fresh(most int) []Entry {
	stream := w.redis.stream
	from, _ := slices.BinarySearchFunc(stream, w.redis.groupID+"+", func(e Entry, id string) int { return strings.Compare(e.ID, id) })
	return slices.Clone(stream[from:min(len(stream), from+most)])
}

// confirm deletes entries and is where a loss would happen.
func (w *world) confirm(a Confirm) Event {
	r := &w.redis
	for _, id := range a.IDs {
		at, found := slices.BinarySearchFunc(r.stream, id, func(e Entry, id string) int { return strings.Compare(e.ID, id) })
		if !found {
			continue
		}
		key := r.stream[at].Key
		f := w.arrivals[key]
		if f.deleted = true; f.committed == 0 && (w.alive(key) || !f.gone) {
			w.t.Fatalf("%s: entry deleted, key alive: %v, but central does not have it", key, w.alive(key))
		}
		r.stream = slices.Delete(r.stream, at, at+1)
	}
	r.pending = slices.DeleteFunc(r.pending, func(e Entry) bool { return slices.Contains(a.IDs, e.ID) })
	for _, key := range a.Keys {
		if w.alive(key) {
			r.keys[key] = w.nowNs + a.KeepNs
		}
	}
	return Confirmed{}
}
