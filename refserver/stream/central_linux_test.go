package stream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/collect"
	"github.com/postbench/postbench/refserver/datagram"
	"github.com/postbench/postbench/refserver/decide"
	"github.com/postbench/postbench/refserver/lanes/consumer"
	"github.com/postbench/postbench/refserver/store"
	"github.com/postbench/postbench/refserver/store/pebbledb"
)

// openCentral is a collector on a real store.
func openCentral(t *testing.T) (*collect.Collector, *pebbledb.Store) {
	t.Helper()
	books, err := pebbledb.Open(t.Context(), pebbledb.Options{Dir: t.TempDir(), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	c, err := collect.New(t.Context(), collect.Config{
		UDPAddr: "127.0.0.1:0", Edges: []datagram.Edge{{ID: 1, KeyID: 1, PSK: [32]byte{1}}}, Store: books, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(c.Close(), books.Close()); err != nil {
			t.Error(err)
		}
	})
	return c, books
}

// flaky is a network whose connections break; broken counts them.
type flaky struct {
	mu     sync.Mutex
	last   net.Conn
	broken int
}

func (f *flaky) dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = c
	return c, nil
}

// breakIt waits for a connection and breaks it; false means that none came.
func (f *flaky) breakIt() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for deadline := time.Now().Add(patience); f.last == nil && time.Now().Before(deadline); f.mu.Lock() {
		f.mu.Unlock()
		time.Sleep(time.Millisecond) // real sockets
	}
	if f.last == nil {
		return false
	}
	_ = f.last.Close()
	f.last = nil
	f.broken++
	return true
}

// Every record is one row in a real store, however often it travelled.
func TestOneRowForEachRecord(t *testing.T) {
	c, books := openCentral(t)
	addr, stopCentral := receive(t, "127.0.0.1:0", c.CommitRecords)
	defer stopCentral()
	dir, network := t.TempDir(), &flaky{}
	const records = 3_000
	lane := newLane(t, dir, 4_096)
	s, err := NewSender(SenderConfig{
		Config: consumer.Config{LaneDir: dir, Every: time.Millisecond}, Central: addr, Token: testToken, Dial: network.dial,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for n := range records {
		record, err := postback.AppendRecord(nil, &postback.Record{
			ClickID: fmt.Appendf(nil, "click-%d", n), Event: postback.EventSale, Payout: 1, ReceivedUnixNs: time.Now().UnixNano(),
		})
		if err == nil {
			err = lane.TryPush(record)
		}
		if err != nil {
			t.Fatal(err)
		}
		if n%500 == 499 && !network.breakIt() { // some of it is on its way
			t.Fatal("the sender does not connect")
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	rows := map[string]int{}
	if err := books.EachRow(t.Context(), func(r store.Row) error {
		rows[r.ClickID]++
		if rows[r.ClickID] > 1 && r.Verdict != decide.Duplicate {
			t.Errorf("%s has another row: %v", r.ClickID, r.Verdict)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if counts := s.Counts(); len(rows) != records || counts.Acked != records || network.broken != records/500 {
		t.Errorf("%d rows of %d, %+v, %d broken", len(rows), records, counts, network.broken)
	}
	t.Logf("%+v, %d connections broken", s.Counts(), network.broken)
}
