package collect

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/netem"
	"github.com/postbench/postbench/refserver/datagram"
	"github.com/postbench/postbench/refserver/store"
	"github.com/postbench/postbench/refserver/store/pebbledb"
)

func openPebble(t testing.TB, dir string) *pebbledb.Store {
	t.Helper()
	s, err := pebbledb.Open(context.Background(), pebbledb.Options{Dir: dir, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closePebble(t testing.TB, s *pebbledb.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// ledger counts the rows by click id.
func ledger(t *testing.T, s *pebbledb.Store) map[string]int {
	t.Helper()
	rows := make(map[string]int)
	if err := s.EachRow(t.Context(), func(row store.Row) error { rows[row.ClickID]++; return nil }); err != nil {
		t.Fatal(err)
	}
	return rows
}

// Sealed datagrams through a bad network into the real store: exactly what was
// not dropped is in the ledger, once.
func TestLedgerIsWhatArrived(t *testing.T) {
	const datagrams, perDatagram = 400, 3
	drop := []uint64{1, 17, 18, 200, 400}
	s := openPebble(t, t.TempDir())
	defer closePebble(t, s)
	c := newCollector(t, s).start()
	relay, err := netem.NewRelay(netem.Config{
		Forward: c.UDPAddr(), Seed: 4, Drop: drop, Records: datagram.RecordCount,
		Impairment: netem.Impairment{Loss: 0.1, Duplicate: 0.2, Reorder: 0.2, Corrupt: 0.1},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	relayed := make(chan error, 1)
	go func() { relayed <- relay.Run(ctx) }()
	from := newSender(t, relay.Addr(), testEdge(1), testBoot(1))
	for n := range datagrams {
		var records [][]byte
		for i := range perDatagram {
			records = append(records, recordOf(n*perDatagram+i))
		}
		from.send(records...)
	}
	stop()
	if err := <-relayed; err != nil {
		t.Fatal(err)
	}
	truth, counts, rows := relay.Counts(), c.end(), ledger(t, s)
	for _, ordinal := range drop {
		if rows[clickID(int(ordinal-1)*perDatagram)] != 0 {
			t.Errorf("datagram %d was listed and yet arrived", ordinal)
		}
	}
	sent := int64(datagrams * perDatagram)
	if arrived := sent - truth.DroppedRecords - truth.CorruptedRecords; counts.Committed != arrived || int64(len(rows)) != arrived {
		t.Errorf("%d records committed, %d rows, want %d\n%+v\n%+v", counts.Committed, len(rows), arrived, truth, counts)
	}
	if counts.Datagrams != truth.Forwarded || counts.Refused["forged"]+counts.Refused["magic"]+counts.Refused["version"]+
		counts.Refused["flags"]+counts.Refused["unknown_edge"]+counts.Refused["old_boot"] != truth.Corrupted {
		t.Errorf("%+v\n%+v", truth, counts)
	}
	if truth.Reordered == 0 || truth.Duplicated == 0 || truth.Corrupted == 0 || counts.Refused["replay"] == 0 || counts.Duplicates != 0 {
		t.Errorf("the network was too good: %+v\n%+v", truth, counts)
	}
}

// The same datagrams after a restart are refused, the same records under new
// sequence numbers are duplicates, and another payload is a conflict.
func TestRestartWithRealStore(t *testing.T) {
	dir := t.TempDir()
	s := openPebble(t, dir)
	c := newCollector(t, s).start()
	from := newSender(t, c.UDPAddr(), testEdge(1), testBoot(1))
	var sent [][]byte
	for n := range 40 {
		sent = append(sent, from.seal(recordOf(2*n), recordOf(2*n+1)))
		from.write(slices.Clone(sent[n]))
	}
	waitFor(t, "the commits", func() bool { return c.Counts().Committed == 80 })
	c.end()
	closePebble(t, s)

	s = openPebble(t, dir)
	defer closePebble(t, s)
	c = newCollector(t, s).start()
	from.conn = newSender(t, c.UDPAddr(), testEdge(1), testBoot(1)).conn
	for _, datagram := range sent {
		from.write(datagram)
	}
	from.send(recordOf(3), recordOf(80))
	other := bytes.Replace(recordOf(4), []byte("o1"), []byte("o2"), 1)
	from.send(other)
	if w := post(c, "POST", bytes.NewReader(frames(recordOf(5), recordOf(81)))); w.Code != 204 {
		t.Fatal(w.Code, w.Body)
	}
	counts := c.end()
	if nonzero(counts.Refused) != "replay=40" || counts.Committed != 5 || counts.Duplicates != 2 || counts.Conflicts != 1 {
		t.Errorf("%+v", counts)
	}
	rows := ledger(t, s)
	if len(rows) != 82 || rows[clickID(4)] != 2 || rows[clickID(3)] != 1 || s.Committed() != 85 {
		t.Errorf("%d identities, %d committed ever", len(rows), s.Committed())
	}
}

// Run's context ends while datagrams arrive: what was read is committed, and
// nothing that was committed is uncounted.
func TestEndInTheMiddle(t *testing.T) {
	s := openPebble(t, t.TempDir())
	defer closePebble(t, s)
	c := newCollector(t, s).start()
	from := newSender(t, c.UDPAddr(), testEdge(1), testBoot(1))
	done, sent := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-done:
				sent <- n
				return
			default:
				// Beyond the end the port is closed: no reason to stop.
				_, _ = from.conn.Write(from.seal(recordOf(n)))
				n++
			}
		}
	}()
	waitFor(t, "some commits", func() bool { return c.Counts().Committed > 1000 })
	counts := c.end()
	close(done)
	n := <-sent
	if rows := ledger(t, s); int64(len(rows)) != counts.Committed || s.Committed() != counts.Committed ||
		counts.Records != counts.Committed || counts.Records > int64(n) {
		t.Errorf("%d rows of %d sent, store says %d, %+v", len(rows), n, s.Committed(), counts)
	}
}
