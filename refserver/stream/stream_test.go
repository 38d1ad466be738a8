package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/test/bufconn"

	"github.com/postbench/postbench/internal/ingestpb"
	"github.com/postbench/postbench/refserver/lanes"
	"github.com/postbench/postbench/refserver/lanes/consumer"
	"github.com/postbench/postbench/refserver/stream/delivery"
)

const (
	testToken = "a token"
	// patience ends a test that waits for what never comes.
	patience = 20 * time.Second
)

var errDown = errors.New("the store is down")

// central is a Commit that remembers. It fails while it is told to.
type central struct {
	mu   sync.Mutex
	has  map[string]int // how often a record was committed
	fail error
	hang bool // until its context ends
}

func (c *central) commit(ctx context.Context, records [][]byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hang {
		c.mu.Unlock()
		<-ctx.Done()
		c.mu.Lock()
		return ctx.Err()
	}
	if c.fail != nil {
		return c.fail
	}
	for _, r := range records {
		c.has[string(r)]++
	}
	return nil
}

func (c *central) set(fail error, hang bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail, c.hang = fail, hang
}

func (c *central) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.has)
}

func (c *central) knows(record []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.has[string(record)] > 0
}

// fakeLanes is one lane: records are pushed, handed out once, freed; free fails
// the test for a record that central does not have.
type fakeLanes struct {
	t       *testing.T
	central *central

	mu     sync.Mutex
	pushed [][]byte
	next   int          // the first that was not handed out
	freed  map[int]bool // by position
	closed bool
}

func (f *fakeLanes) push(from, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range n {
		f.pushed = append(f.pushed, fmt.Appendf(nil, "record %d", from+i))
	}
}

func (f *fakeLanes) Visit(max int, visit func(lanes.Entry)) lanes.Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	for ; f.next < len(f.pushed) && max > 0; max-- {
		pos := f.next
		f.next++
		visit(lanes.Entry{Lane: 3, Pos: uint64(pos), Record: f.pushed[pos]})
	}
	return lanes.Stats{Lanes: 1}
}

func (f *fakeLanes) Free(lane int, pos uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	record := f.pushed[pos]
	if lane != 3 || int(pos) >= f.next || f.freed[int(pos)] || !f.central.knows(record) {
		f.t.Errorf("freed lane %d, position %d: %q", lane, pos, record)
	}
	f.freed[int(pos)] = true
	for i := range record { // another record lies there now
		record[i] = '!'
	}
}

func (f *fakeLanes) Backlog() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return int64(len(f.pushed) - len(f.freed))
}

func (f *fakeLanes) Close() error {
	f.closed = true
	return nil
}

// world is a sender and a receiver in memory and, within synctest, in virtual time.
type world struct {
	t        *testing.T
	central  *central
	lanes    *fakeLanes
	receiver *Receiver
	sender   *Sender
	stop     context.CancelFunc
	done     chan error

	mu       sync.Mutex
	listener *bufconn.Listener
	away     bool
	conns    []net.Conn
}

func newWorld(t *testing.T, token string) *world {
	t.Helper()
	w := &world{t: t, central: &central{has: map[string]int{}}, listener: bufconn.Listen(1 << 16), done: make(chan error, 1)}
	w.lanes = &fakeLanes{t: t, central: w.central, freed: map[int]bool{}}
	var err error
	if w.receiver, err = NewReceiver(ReceiverConfig{Commit: w.central.commit, Token: testToken}); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- w.receiver.Serve(w.listener) }()
	config := SenderConfig{Config: consumer.Config{LaneDir: "/"}, Central: "central:1", Token: token, Dial: w.dial}
	if err := config.complete(); err != nil {
		t.Fatal(err)
	}
	w.sender = newSender(config, consumer.New(w.lanes, config.Log))
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	go func() { w.done <- w.sender.Run(ctx) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(w.receiver.Shutdown(ctx), <-served); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) dial(ctx context.Context, addr string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if addr != "central:1" {
		w.t.Errorf("dialled %q", addr)
	}
	if w.away {
		return nil, errors.New("connection refused")
	}
	c, err := w.listener.DialContext(ctx)
	w.conns = append(w.conns, c)
	return c, err
}

// cut ends all connections; away means that there will be no others.
func (w *world) cut(away bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.away = away
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}

// pass lets virtual time go by.
func (w *world) pass(d time.Duration) {
	time.Sleep(d) // virtual time
	synctest.Wait()
}

// end stops the sender and expects that it drained.
func (w *world) end(records int) Counts {
	w.t.Helper()
	w.stop()
	if err := <-w.done; err != nil || !w.lanes.closed {
		w.t.Errorf("%v, lanes closed: %v", err, w.lanes.closed)
	}
	c := w.sender.Counts()
	if w.central.count() != records || c.Backlog != 0 || c.InFlight != 0 || c.Acked != int64(records) {
		w.t.Errorf("central has %d of %d, %+v", w.central.count(), records, c)
	}
	return c
}

func TestRecordsComeToCentral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testToken)
		w.lanes.push(0, 3)
		w.pass(25 * time.Millisecond) // connected with the first tick, sent with the next
		if w.central.count() != 3 || w.lanes.Backlog() != 0 {
			t.Errorf("central has %d, %d left", w.central.count(), w.lanes.Backlog())
		}
		const many = 20_000 // more than two windows
		w.lanes.push(3, many)
		c := w.end(3 + many) // what the lanes hold is sent yet
		if c.Records != 3+many || c.Resent != 0 || c.Connects != 1 || c.Failures != 0 || c.Lanes != 1 {
			t.Errorf("%+v", c)
		}
		if r := w.receiver.Counts(); r.Records != 3+many || r.Messages != c.Batches || r.Refused+r.Malformed+r.Forbidden != 0 {
			t.Errorf("%+v", r)
		}
	})
}

func TestFailedCommitComesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testToken)
		w.central.set(errDown, false)
		w.lanes.push(0, 2_000)
		w.pass(3 * time.Second)
		if w.central.count() != 0 || w.lanes.Backlog() != 2_000 || w.sender.Counts().Refused == 0 {
			t.Errorf("%+v", w.sender.Counts())
		}
		w.central.set(nil, false)
		if c := w.end(2_000); c.Connects != 1 || c.Resent < 4 {
			t.Errorf("%+v", c)
		}
		if r := w.receiver.Counts(); r.Refused < 4 || r.Refused > 40 {
			t.Errorf("%+v: it should pause after a refusal", r)
		}
	})
}

func TestBrokenConnectionsCostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testToken)
		for i := range 20 {
			w.lanes.push(500*i, 500)
			w.pass(time.Duration(i) * time.Millisecond)
			w.cut(false)
			w.pass(1_100 * time.Millisecond)
		}
		if c := w.end(10_000); c.Reconnects != 20 || c.Failures != 20 {
			t.Errorf("%+v", c)
		}
	})
}

func TestCentralAwayForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testToken)
		w.pass(time.Second)
		w.cut(true)
		w.lanes.push(0, 100)
		w.pass(10 * time.Second)
		c := w.sender.Counts()
		if c.Failures < 10 || c.Failures > 20 || c.Backlog != 100 || c.Records != 0 {
			t.Errorf("%+v", c)
		}
		w.cut(false)
		w.end(100)
	})
}

// An answer that does not come is a connection that is dead, and the end is
// bounded all the same.
func TestCentralThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testToken)
		w.central.set(nil, true)
		w.lanes.push(0, 100)
		w.pass(15 * time.Second)
		if c := w.sender.Counts(); c.AckTimeout != 1 || c.Connects != 2 || c.Resent != 1 || c.Backlog != 100 {
			t.Errorf("%+v", c)
		}
		begin := time.Now()
		w.stop()
		if err := <-w.done; !errors.Is(err, ErrNotDrained) || time.Since(begin) != consumer.DrainLimit {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		if c := w.sender.Counts(); c.Backlog != 100 || !w.lanes.closed {
			t.Errorf("%+v", c)
		}
	})
}

func TestWrongToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "another")
		w.lanes.push(0, 100)
		w.pass(5 * time.Second)
		w.stop()
		if err := <-w.done; !errors.Is(err, ErrNotDrained) {
			t.Error(err)
		}
		if r := w.receiver.Counts(); r.Forbidden == 0 || r.Forbidden > 20 || r.Messages != 0 || w.central.count() != 0 {
			t.Errorf("%+v", r)
		}
	})
}

func TestBatchesThatAreNone(t *testing.T) {
	c := &central{has: map[string]int{}}
	r, err := NewReceiver(ReceiverConfig{Commit: c.commit, Token: testToken})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, delivery.MaxBatchRecords + 1} {
		if ack := r.answer(t.Context(), &ingestpb.Batch{Id: 7, Records: make([][]byte, n)}); ack.GetRefused() == "" || ack.GetId() != 7 {
			t.Errorf("%d records: %v", n, ack)
		}
	}
	if got := r.Counts(); got.Malformed != 2 || c.count() != 0 {
		t.Errorf("%+v", got)
	}
}

// No more commits at a time than were asked for, whoever waits.
func TestCommitsAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		entered, pass := make(chan struct{}, 10), make(chan struct{})
		r, err := NewReceiver(ReceiverConfig{Token: testToken, MaxCommits: 2, Commit: func(context.Context, [][]byte) error {
			entered <- struct{}{}
			<-pass
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		batch := &ingestpb.Batch{Id: 1, Records: [][]byte{{1}}}
		ctx, cancel := context.WithCancel(t.Context())
		refused := make(chan string, 3)
		for range 3 {
			go func() { refused <- r.answer(ctx, batch).GetRefused() }()
		}
		synctest.Wait()
		if len(entered) != 2 {
			t.Errorf("%d at a time", len(entered))
		}
		cancel() // the one that waits
		if got := <-refused; got != refusedCommit {
			t.Errorf("%q", got)
		}
		close(pass)
		if a, b := <-refused, <-refused; a+b != "" {
			t.Errorf("%q, %q", a, b)
		}
	})
}

func TestCountsJSON(t *testing.T) {
	for _, test := range []struct {
		counts any
		want   []string
	}{
		{Counts{}, []string{"ack_timeout", "acked", "backlog", "bad_answers", "batches", "connects", "corrupt", "failures", "in_flight", "lanes",
			"reconnects", "records", "refused", "resent", "resent_records", "torn", "unreadable_lanes"}},
		{ReceiverCounts{}, []string{"forbidden", "malformed", "messages", "records", "refused", "streams", "streams_cut", "streams_opened",
			"streams_refused", "unanswered"}},
	} {
		text, err := json.Marshal(test.counts)
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(text, &fields); err != nil {
			t.Fatal(err)
		}
		if got := slices.Sorted(maps.Keys(fields)); !slices.Equal(got, test.want) {
			t.Errorf("got %q", got)
		}
	}
}

func TestConfigRefused(t *testing.T) {
	good := SenderConfig{Config: consumer.Config{LaneDir: t.TempDir()}, Central: "c:1", Token: "t"}
	for name, change := range map[string]func(*SenderConfig){
		"no lanes": func(c *SenderConfig) { c.LaneDir = "" }, "no central": func(c *SenderConfig) { c.Central = "" },
		"no token": func(c *SenderConfig) { c.Token = "" }, "bad tick": func(c *SenderConfig) { c.Every = -1 },
	} {
		config := good
		change(&config)
		if s, err := NewSender(config); !errors.Is(err, ErrConfig) || s != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := &central{}
	for name, config := range map[string]ReceiverConfig{
		"no Commit": {Token: "t"}, "no token": {Commit: c.commit}, "bad limit": {Commit: c.commit, Token: "t", MaxCommits: -1},
	} {
		if r, err := NewReceiver(config); !errors.Is(err, ErrConfig) || r != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
