package collect

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/datagram"
	"github.com/postbench/postbench/refserver/decide"
	"github.com/postbench/postbench/refserver/store"
	"github.com/postbench/postbench/refserver/store/pebbledb"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

func testEdge(id uint16) datagram.Edge {
	return datagram.Edge{ID: id, KeyID: 1, PSK: [32]byte{1, byte(id)}}
}

func testBoot(id uint64) datagram.Boot { return datagram.Boot{ID: id, Salt: [16]byte{1, byte(id)}} }

// recordOf is the n-th record; its click id is clickID(n).
func recordOf(n int) []byte {
	record, err := postback.AppendRecord(nil, &postback.Record{
		ClickID: []byte(clickID(n)), TxID: fmt.Appendf(nil, "t%d", n), OfferID: []byte("o1"), KID: []byte("k1"),
		Event: postback.EventSale, Payout: 2_500_000, Currency: postback.Currency{'E', 'U', 'R'},
		ReceivedUnixNs: 1_700_000_000_000_000_000 + int64(n),
	})
	if err != nil {
		panic(err)
	}
	return record
}

func clickID(n int) string { return fmt.Sprintf("click-%d", n) }

// sender is a batcher as the collector sees it.
type sender struct {
	t      *testing.T
	conn   *net.UDPConn
	sealer *datagram.Sealer
	seq    uint64
}

func newSender(t *testing.T, addr string, edge datagram.Edge, boot datagram.Boot) *sender {
	t.Helper()
	sealer, err := datagram.NewSealer(edge, boot)
	if err != nil {
		t.Fatal(err)
	}
	at, err := net.ResolveUDPAddr("udp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.DialUDP("udp4", nil, at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &sender{t: t, conn: conn, sealer: sealer}
}

// seal makes the next datagram.
func (s *sender) seal(records ...[]byte) []byte {
	var body []byte
	for _, record := range records {
		body = datagram.AppendFrame(body, record)
	}
	s.seq++
	return s.sealer.Seal(nil, s.seq, len(records), body)
}

func (s *sender) write(datagram []byte) {
	s.t.Helper()
	if _, err := s.conn.Write(datagram); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sender) send(records ...[]byte) { s.t.Helper(); s.write(s.seal(records...)) }

// call is what CommitBatch was given.
type call struct {
	clickIDs []string
	states   map[string][]byte
}

// fakeStore remembers its calls, and waits where a test wants it to.
type fakeStore struct {
	gate  chan struct{} // nil: open; a commit needs a token
	err   error
	begun chan struct{} // nil, or told of each commit that begins

	mu      sync.Mutex
	calls   []call
	seen    map[string]bool
	values  map[string][]byte
	running int
	most    int // commits at a time
}

func newFakeStore() *fakeStore {
	return &fakeStore{seen: make(map[string]bool), values: make(map[string][]byte)}
}

func (f *fakeStore) Value(key string) ([]byte, error) { return f.values[key], nil }

func (f *fakeStore) CommitBatch(batch []store.Conversion, states []pebbledb.KV, outcomes []store.Outcome) error {
	if len(batch) == 0 { // a collector takes its boot id
		f.values[states[0].Key] = slices.Clone(states[0].Value)
		return nil
	}
	f.mu.Lock()
	f.running++
	f.most = max(f.most, f.running)
	f.mu.Unlock()
	if f.begun != nil {
		f.begun <- struct{}{}
	}
	if f.gate != nil {
		<-f.gate
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running--
	if f.err != nil {
		return f.err
	}
	c := call{states: make(map[string][]byte)}
	for i, conversion := range batch {
		c.clickIDs = append(c.clickIDs, conversion.ClickID)
		outcomes[i] = store.Outcome{Verdict: decide.Unattributed}
		if f.seen[conversion.ClickID] {
			outcomes[i] = store.Outcome{Verdict: decide.Duplicate, Repeated: true}
		}
		f.seen[conversion.ClickID] = true
	}
	for _, state := range states {
		c.states[state.Key] = slices.Clone(state.Value)
		f.values[state.Key] = c.states[state.Key]
	}
	f.calls = append(f.calls, c)
	return nil
}

// clickIDs are all that were committed, in the order of the commits.
func (f *fakeStore) clickIDs() (ids []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.calls {
		ids = append(ids, c.clickIDs...)
	}
	return ids
}

// running is a collector in Run.
type running struct {
	*Collector
	t     *testing.T
	stop  context.CancelFunc
	ended chan error
}

func newCollector(t *testing.T, s Store, edges ...datagram.Edge) *running {
	t.Helper()
	return newSized(t, s, 0, edges...)
}

func newSized(t *testing.T, s Store, receiveBufferBytes int, edges ...datagram.Edge) *running {
	t.Helper()
	if len(edges) == 0 {
		edges = []datagram.Edge{testEdge(1)}
	}
	c, err := New(t.Context(), Config{
		UDPAddr: "127.0.0.1:0", Edges: edges, Store: s, ReceiveBufferBytes: receiveBufferBytes, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &running{Collector: c, t: t, ended: make(chan error, 1)}
}

func (r *running) start() *running {
	ctx, cancel := context.WithCancel(r.t.Context())
	r.stop = cancel
	r.t.Cleanup(cancel)
	go func() { r.ended <- r.Run(ctx) }()
	return r
}

// result waits for Run's end.
func (r *running) result() error {
	r.t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(patience):
		r.t.Fatal("Run does not end")
		return nil
	}
}

// end stops the collector and returns its last word.
func (r *running) end() Counts {
	r.t.Helper()
	r.stop()
	if err := r.result(); err != nil {
		r.t.Fatal(err)
	}
	if n := r.Backlog(); n != 0 {
		r.t.Errorf("a backlog of %d is left", n)
	}
	return r.Counts()
}

func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(time.Millisecond) // polls what goroutines with a real socket do
	}
}
