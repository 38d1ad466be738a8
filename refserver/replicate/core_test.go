package replicate

import (
	"reflect"
	"slices"
	"testing"
)

const second = int64(1e9)

func arrival(n uint64) Entry {
	return Entry{ID: string(rune('0' + n)), Key: Key{Edge: 7, Boot: 1, Counter: n}.String()}
}

// turn is one event and the action that must answer it.
type turn struct {
	event Event
	want  Action
}

var (
	start    = turn{Started{}, CreateGroup{}}
	pending  = turn{GroupReady{}, Read{Pending: true, Max: 3}}
	idle     = turn{ReadDone{}, Read{Max: 3, BlockNs: BlockNs}}
	e1       = arrival(1)
	e2       = arrival(2)
	foreign  = Entry{ID: "9", Key: "somebody-elses"}
	one, two = []byte("one"), []byte("two")
)

func wait(ms int64, failures int) Wait { return Wait{WaitNs: ms * 1e6, Failures: failures} }

func reads(entries ...Entry) ReadDone { return ReadDone{Entries: entries} }

func fetches(entries ...Entry) Fetch {
	var f Fetch
	for _, e := range entries {
		f.Keys = append(f.Keys, e.Key)
	}
	return f
}

func confirms(entries ...Entry) Confirm {
	var c Confirm
	for _, e := range entries {
		c.IDs = append(c.IDs, e.ID)
	}
	return c
}

func TestStep(t *testing.T) {
	again := turn{Woke{}, Read{Pending: true, Max: 3}}
	sent := []turn{start, pending, idle, {reads(e1, e2), fetches(e1, e2)},
		{Fetched{[][]byte{one, two}}, Send{[][]byte{one, two}}}}
	tests := []struct {
		name  string
		turns []turn
		want  Counts
	}{
		{"two records, then nothing", append(slices.Clip(sent),
			turn{Sent{}, confirms(e1, e2)}, turn{Confirmed{}, Read{Max: 3, BlockNs: BlockNs}}, idle),
			Counts{Replicated: 2, Batches: 1}},
		{"what a predecessor had comes first, until there is no more of it",
			[]turn{start, pending, {reads(e1), fetches(e1)}, {Fetched{[][]byte{one}}, Send{[][]byte{one}}},
				{Sent{}, confirms(e1)}, {Confirmed{}, Read{Pending: true, Max: 3}}, idle},
			Counts{Replicated: 1, Batches: 1}},
		{"central away: pending again, pauses double", append(slices.Clip(sent),
			turn{SendFailed{}, wait(50, 1)}, again, turn{reads(e1, e2), fetches(e1, e2)},
			turn{Fetched{[][]byte{one, two}}, Send{[][]byte{one, two}}}, turn{SendFailed{}, wait(100, 2)}, again),
			Counts{SendFailures: 2}},
		{"one of two expired", []turn{start, pending, idle, {reads(e1, e2), fetches(e1, e2)},
			{Fetched{[][]byte{nil, two}}, Send{[][]byte{two}}}, {Sent{}, confirms(e1, e2)}},
			Counts{Replicated: 1, Batches: 1, Expired: 1}},
		{"all expired: nothing to send", []turn{start, pending, idle, {reads(e1, e2), fetches(e1, e2)},
			{Fetched{[][]byte{nil, nil}}, confirms(e1, e2)}}, Counts{Expired: 2}},
		{"expired is counted once, however often the deletion fails", []turn{start, pending, idle, {reads(e1), fetches(e1)},
			{Fetched{[][]byte{nil}}, confirms(e1)}, {RedisFailed{}, wait(50, 1)}, again, {reads(e1), confirms(e1)}},
			Counts{Expired: 1, RedisFailures: 1}},
		{"deletion failed: deleted without sending again", append(slices.Clip(sent),
			turn{Sent{}, confirms(e1, e2)}, turn{RedisFailed{}, wait(50, 1)}, again, turn{reads(e1, e2), confirms(e1, e2)}),
			Counts{Replicated: 2, Batches: 1, RedisFailures: 1}},
		{"an ID given again by an empty Redis is another entry", append(slices.Clip(sent),
			turn{Sent{}, confirms(e1, e2)}, turn{RedisFailed{}, wait(50, 1)}, again,
			turn{reads(Entry{ID: e1.ID, Key: arrival(3).Key}), fetches(arrival(3))}),
			Counts{Replicated: 2, Batches: 1, RedisFailures: 1}},
		{"group lost", []turn{start, pending, idle, {RedisFailed{GroupLost: true}, wait(50, 1)},
			{Woke{}, CreateGroup{}}, pending}, Counts{RedisFailures: 1, GroupsRecreated: 1}},
		{"Redis away from the start", []turn{start, {RedisFailed{}, wait(50, 1)}, {Woke{}, CreateGroup{}},
			{RedisFailed{}, wait(100, 2)}, {Woke{}, CreateGroup{}}, pending}, Counts{RedisFailures: 2}},
		{"entries of others are deleted, their keys left alone", []turn{start, pending, idle,
			{reads(foreign, e1, Entry{ID: "8"}), fetches(e1)}, {Fetched{[][]byte{{}}}, confirms(foreign, e1, Entry{ID: "8"})}},
			Counts{Malformed: 3}},
		{"more than asked for", []turn{start, pending, {reads(e1, e2, arrival(3), arrival(4)), fetches(e1, e2, arrival(3))}}, Counts{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := New(Options{BatchEntries: 3, DrainLimitNs: 5 * second})
			play(t, c, 0, test.turns)
			if c.Counts() != test.want {
				t.Errorf("counts %+v, want %+v", c.Counts(), test.want)
			}
		})
	}
}

func play(t *testing.T, c *Core, nowNs int64, turns []turn) {
	t.Helper()
	for i, turn := range turns {
		if got := c.Step(nowNs, turn.event); !reflect.DeepEqual(got, turn.want) {
			t.Fatalf("turn %d: %T%+v is answered %T%+v, want %T%+v", i, turn.event, turn.event, got, got, turn.want, turn.want)
		}
	}
}

func TestConfirmedKeysAreKeptAWhile(t *testing.T) {
	c := New(Options{BatchEntries: 3, KeepNs: 300 * second, DrainLimitNs: second})
	kept := Confirm{IDs: []string{foreign.ID, e1.ID}, Keys: []string{e1.Key}, KeepNs: 300 * second}
	play(t, c, 0, []turn{start, {GroupReady{}, Read{Pending: true, Max: 3}}, idle, {reads(foreign, e1), fetches(e1)},
		{Fetched{[][]byte{one}}, Send{[][]byte{one}}}, {Sent{}, kept}})
}

func TestBackoffIsCapped(t *testing.T) {
	c := New(Options{BatchEntries: 3, DrainLimitNs: second})
	play(t, c, 0, []turn{start})
	var ms []int64
	for range 100 {
		ms = append(ms, c.Step(0, RedisFailed{}).(Wait).WaitNs/1e6)
	}
	if want := []int64{50, 100, 200, 400, 800, 1000, 1000}; !slices.Equal(ms[:7], want) || ms[99] != 1000 {
		t.Errorf("pauses of %v … %d ms, want %v", ms[:7], ms[99], want)
	}
}

func TestDrain(t *testing.T) {
	fresh := func() *Core {
		c := New(Options{BatchEntries: 3, DrainLimitNs: second})
		play(t, c, 0, []turn{start, pending, idle})
		c.Drain(0)
		return c
	}
	t.Run("until empty", func(t *testing.T) {
		play(t, fresh(), 0, []turn{{reads(e1), fetches(e1)}, {Fetched{[][]byte{one}}, Send{[][]byte{one}}},
			{Sent{}, confirms(e1)}, {Confirmed{}, Read{Max: 3}}, {ReadDone{}, Stop{Drained: true}}})
	})
	t.Run("until the limit", func(t *testing.T) {
		c := fresh()
		play(t, c, second-10, []turn{{reads(e1), fetches(e1)}, {Fetched{[][]byte{one}}, Send{[][]byte{one}}},
			{SendFailed{}, Wait{WaitNs: 10, Failures: 1}}})
		c.Drain(second - 10) // the second call does not move the limit
		play(t, c, second, []turn{{Woke{}, Stop{Drained: false}}})
	})
	t.Run("the limit holds for success too", func(t *testing.T) {
		play(t, fresh(), second, []turn{{reads(e1), fetches(e1)}, {Fetched{[][]byte{one}}, Send{[][]byte{one}}},
			{Sent{}, confirms(e1)}, {Confirmed{}, Stop{Drained: false}}})
	})
}

func TestBurstIsToldOnce(t *testing.T) {
	c := New(Options{BatchEntries: 3, DrainLimitNs: second})
	gone := []turn{{reads(e1, e2), fetches(e1, e2)}, {Fetched{[][]byte{nil, nil}}, confirms(e1, e2)}}
	next := turn{Confirmed{}, Read{Max: 3, BlockNs: BlockNs}}
	play(t, c, 0, slices.Concat([]turn{start, pending, idle}, gone, []turn{next}, gone, []turn{next}))
	if n := c.TakeBurst(); n != 0 {
		t.Errorf("the burst is told (%d) before it is over", n)
	}
	play(t, c, 0, []turn{{reads(e1), fetches(e1)}, {Fetched{[][]byte{one}}, Send{[][]byte{one}}}, {Sent{}, confirms(e1)}, next})
	if n, again := c.TakeBurst(), c.TakeBurst(); n != 4 || again != 0 {
		t.Errorf("told %d, then %d; want 4, then 0", n, again)
	}
}

// Deletions whose answers are lost, one after another, out of a long pending
// list: what is remembered of them stays within a batch.
func TestMemoryIsBounded(t *testing.T) {
	c := New(Options{BatchEntries: 3, DrainLimitNs: second})
	play(t, c, 0, []turn{start, pending})
	for n := range uint64(50) {
		batch := []Entry{arrival(3*n + 1), arrival(3*n + 2), arrival(3*n + 3)}
		play(t, c, 0, []turn{{reads(batch...), fetches(batch...)}, {Fetched{make([][]byte, 3)}, confirms(batch...)}})
		c.Step(0, RedisFailed{})
		play(t, c, 0, []turn{{Woke{}, Read{Pending: true, Max: 3}}})
		if len(c.done) != 3 {
			t.Fatalf("%d entries remembered after batch %d, want 3", len(c.done), n)
		}
	}
}
