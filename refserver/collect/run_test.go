package collect

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/refserver/datagram"
	"github.com/postbench/postbench/refserver/store"
	"github.com/postbench/postbench/refserver/store/pebbledb"
)

// nonzero drops the reasons that nothing was refused for.
func nonzero(refused map[string]int64) string {
	var found []string
	for reason, n := range refused {
		if n != 0 {
			found = append(found, fmt.Sprintf("%s=%d", reason, n))
		}
	}
	slices.Sort(found)
	return strings.Join(found, " ")
}

func stateOf(t *testing.T, value []byte) (s datagram.BootState) {
	t.Helper()
	if err := s.Decode(value); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCommitsWhatWasSent(t *testing.T) {
	const datagrams, perDatagram = 300, 3
	f := newFakeStore()
	c := newCollector(t, f)
	s := newSender(t, c.UDPAddr(), testEdge(1), testBoot(5))
	seqOf, n := make(map[string]uint64), 0
	for range datagrams { // waits in the socket: nobody reads yet
		var records [][]byte
		for range perDatagram {
			records = append(records, recordOf(n))
			seqOf[clickID(n)] = s.seq + 1
			n++
		}
		s.send(records...)
	}
	counts := c.start().end()
	if counts.Datagrams != datagrams || counts.Records != int64(n) || counts.Committed != int64(n) ||
		counts.Duplicates != 0 || counts.KernelDrops > 0 || nonzero(counts.Refused) != "" {
		t.Errorf("%+v", counts)
	}
	if ids := f.clickIDs(); len(ids) != n || len(f.seen) != n {
		t.Errorf("%d committed, %d different, want %d", len(ids), len(f.seen), n)
	}
	for _, call := range f.calls {
		if len(call.clickIDs) > MaxRecords || len(call.states) != 1 {
			t.Errorf("a commit of %d records and %d states", len(call.clickIDs), len(call.states))
		}
		var last uint64
		for _, id := range call.clickIDs { // within a batch, as they came
			if seqOf[id] < last {
				t.Fatalf("%s of datagram %d behind datagram %d", id, seqOf[id], last)
			}
			last = seqOf[id]
		}
		for _, value := range call.states {
			if state := stateOf(t, value); state.EdgeID != 1 || state.Boot != 5 || state.HighestSeq != last {
				t.Errorf("committed up to datagram %d with state %+v", last, state)
			}
		}
	}
}

// Several commits are under way at a time, more batches wait in the queue, and
// then the reader waits and the kernel drops. Everything is counted.
func TestFullQueueHoldsTheReader(t *testing.T) {
	f := newFakeStore()
	f.gate, f.begun = make(chan struct{}), make(chan struct{}, 1)
	c := newSized(t, f, 16<<10).start()
	s := newSender(t, c.UDPAddr(), testEdge(1), testBoot(1))
	sent := 0
	sendOne := func() { s.send(recordOf(sent)); sent++ }
	for lane := range commitLanes {
		sendOne()
		<-f.begun
		if n := c.Backlog(); n != int64(lane+1) {
			t.Fatalf("backlog of %d with %d commits under way", n, lane+1)
		}
	}
	for range maxQueued + 1 { // the last one waits with the reader
		sendOne()
		waitFor(t, "the reader", func() bool { return c.Backlog() == int64(sent) })
	}
	for range 200 { // far more than the socket holds
		sendOne()
	}
	held := commitLanes + maxQueued + 1
	if counts := c.Counts(); counts.Datagrams != int64(held) || c.Backlog() != int64(held) {
		t.Errorf("%d read, backlog %d; want %d", counts.Datagrams, c.Backlog(), held)
	}
	drops := c.Counts().KernelDrops
	if drops == 0 || c.Counts().ReceiveBufferBytes < 16<<10 {
		t.Errorf("nothing dropped: %+v", c.Counts())
	}
	f.begun = nil
	close(f.gate)
	counts := c.end()
	if f.most != commitLanes {
		t.Errorf("%d commits at a time, want %d", f.most, commitLanes)
	}
	if drops > 0 && (counts.KernelDrops != drops || counts.Committed+drops != int64(sent)) {
		t.Errorf("%d sent, %+v", sent, counts)
	}
}

// A collector that starts again refuses what an earlier one took, in whatever
// order the lanes' commits reached the store.
func TestRestartFromStates(t *testing.T) {
	f := newFakeStore()
	first := newCollector(t, f)
	s := newSender(t, first.UDPAddr(), testEdge(1), testBoot(5))
	var sent [][]byte
	first.start()
	for n := range 50 {
		sent = append(sent, s.seal(recordOf(n)))
		s.write(slices.Clone(sent[n]))
		waitFor(t, "the commit", func() bool { return first.Counts().Committed == int64(n+1) })
	}
	first.end()
	if len(f.values) < 3 { // one is the collector's own
		t.Fatalf("only %d lanes were used: the test shows nothing", len(f.values))
	}

	second := newCollector(t, f)
	again := newSender(t, second.UDPAddr(), testEdge(1), testBoot(4)) // an older boot
	for _, datagram := range sent {
		again.write(datagram)
	}
	again.send(recordOf(900))
	s.conn = again.conn
	s.send(recordOf(50)) // the boot goes on
	newSender(t, second.UDPAddr(), testEdge(1), testBoot(6)).send(recordOf(51))
	counts := second.start().end()
	if nonzero(counts.Refused) != "old_boot=1 replay=50" || counts.Committed != 2 || counts.Duplicates != 0 {
		t.Errorf("%+v", counts)
	}
}

// A lane that commits late does not take back what another one has stored.
func TestLateLaneTakesNothingBack(t *testing.T) {
	f := newFakeStore()
	state := func(seq uint64) []datagram.BootState {
		boot := testBoot(5)
		return []datagram.BootState{{EdgeID: 1, Boot: boot.ID, Salt: boot.Salt, HighestSeq: seq}}
	}
	early, late := newLane(2), newLane(0)
	for _, states := range [][]pebbledb.KV{early.encode(state(9)), late.encode(state(7))} {
		if err := f.CommitBatch(nil, states, nil); err != nil {
			t.Fatal(err)
		}
	}
	c := newCollector(t, f)
	s := newSender(t, c.UDPAddr(), testEdge(1), testBoot(5))
	for n := range 10 {
		s.send(recordOf(n))
	}
	if counts := c.start().end(); nonzero(counts.Refused) != "replay=9" || counts.Committed != 1 {
		t.Errorf("%+v", counts)
	}
}

func TestStatesThatAreNone(t *testing.T) {
	foreign := datagram.BootState{EdgeID: 2, Boot: 1}
	for name, value := range map[string][]byte{"damaged": []byte("x"), "another edge's": foreign.Append(nil)} {
		f := newFakeStore()
		f.values[stateKey(1, 3)] = value
		_, err := New(t.Context(), Config{UDPAddr: "127.0.0.1:0", Edges: []datagram.Edge{testEdge(1)}, Store: f, Now: time.Now})
		if !errors.Is(err, datagram.ErrBadState) || !strings.Contains(err.Error(), "collect/boot/1/3") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRefusedAndBadAreCounted(t *testing.T) {
	f := newFakeStore()
	c := newCollector(t, f, testEdge(1), testEdge(2)).start()
	s := newSender(t, c.UDPAddr(), testEdge(1), testBoot(1))
	stranger := newSender(t, c.UDPAddr(), testEdge(3), testBoot(1))
	sealed := s.seal(recordOf(1), []byte("no record"), recordOf(2))
	s.write(slices.Clone(sealed))
	s.write(slices.Clone(sealed)) // replay
	flipped := s.seal(recordOf(3))
	flipped[60] ^= 1
	s.write(flipped)
	stranger.send(recordOf(4))
	s.write([]byte("short"))
	s.write(make([]byte, datagram.MaxBytes+1))
	s.send() // a probe
	s.send([]byte("no record either"))
	newSender(t, c.UDPAddr(), testEdge(2), testBoot(1)).send(recordOf(2))
	waitFor(t, "the datagrams", func() bool { return c.Counts().Datagrams == 9 })
	counts := c.end()
	if got, want := nonzero(counts.Refused), "forged=1 long=1 replay=1 short=1 unknown_edge=1"; got != want {
		t.Errorf("refused %s, want %s", got, want)
	}
	if counts.Records != 5 || counts.BadRecords != 2 || counts.Committed != 3 || counts.Duplicates != 1 {
		t.Errorf("%+v", counts)
	}
}

func TestFailedCommitEndsRun(t *testing.T) {
	f := newFakeStore()
	f.err = errors.New("disk full")
	c := newCollector(t, f)
	s := newSender(t, c.UDPAddr(), testEdge(1), testBoot(1))
	c.start()
	s.send(recordOf(0), recordOf(1))
	if err := c.result(); !errors.Is(err, f.err) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want the store's error in one line", err)
	}
	if counts := c.Counts(); counts.Committed != 0 || c.Backlog() != 2 {
		t.Errorf("backlog %d, %+v", c.Backlog(), counts)
	}
}

// Every lane fails while the reader has more: nobody waits for anybody.
func TestFailureOfAllLanes(t *testing.T) {
	f := newFakeStore()
	f.err = errors.New("disk full")
	f.gate, f.begun = make(chan struct{}), make(chan struct{}, commitLanes)
	c := newCollector(t, f).start()
	s := newSender(t, c.UDPAddr(), testEdge(1), testBoot(1))
	for n := range commitLanes + maxQueued + 1 {
		s.send(recordOf(n))
		waitFor(t, "the reader", func() bool { return c.Backlog() == int64(n+1) })
	}
	close(f.gate)
	if err := c.result(); !errors.Is(err, f.err) {
		t.Errorf("got %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	valid := Config{UDPAddr: "127.0.0.1:0", Edges: []datagram.Edge{testEdge(1)}, Store: newFakeStore(), Now: time.Now}
	for name, spoil := range map[string]func(*Config){
		"no edges":   func(c *Config) { c.Edges = nil },
		"no key":     func(c *Config) { c.Edges = []datagram.Edge{{ID: 1}} },
		"same keys":  func(c *Config) { c.Edges = append(c.Edges, c.Edges[0]) },
		"no address": func(c *Config) { c.UDPAddr = "nowhere" },
		"IPv6":       func(c *Config) { c.UDPAddr = "[::1]:0" },
		"store":      func(c *Config) { c.Store = brokenStore{} },
	} {
		config := valid
		spoil(&config)
		c, err := New(t.Context(), config)
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
		if c != nil {
			_ = c.Close()
		}
	}
	two := testEdge(1)
	two.KeyID = 2 // an edge whose key is being replaced
	if ids := edgeIDs([]datagram.Edge{testEdge(3), testEdge(1), two}); !slices.Equal(ids, []uint16{1, 3}) {
		t.Errorf("edges %d", ids)
	}
}

type brokenStore struct{}

func (brokenStore) Value(string) ([]byte, error) { return nil, store.ErrBusy }

func (brokenStore) CommitBatch([]store.Conversion, []pebbledb.KV, []store.Outcome) error {
	return store.ErrBusy
}
