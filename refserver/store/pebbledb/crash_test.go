package pebbledb_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/decide"
	"github.com/postbench/postbench/refserver/store"
	"github.com/postbench/postbench/refserver/store/pebbledb"
	"github.com/postbench/postbench/refserver/store/storetest"
)

const (
	// restartsEnv sets how often TestKilledInALoop kills the store: 200 is the
	// full proof, without it 40 keep `make test` fast, 20 with -short.
	restartsEnv = "POSTBENCH_RESTARTS"
	// childEnv tells the test binary to be the process that is killed: "MODE BOOT DIR".
	childEnv = "PEBBLEDB_TEST_CHILD"

	killSeed    = 3
	writers     = 3
	singles     = 4  // callers of Commit beside them
	batchSize   = 40 // conversions
	cappedCount = 8  // offers "cap-0"… with a cap of 1, 51, 101…
	loadClicks  = 30_000
)

func TestMain(m *testing.M) {
	if mode := os.Getenv(childEnv); mode != "" {
		if err := child(mode); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child works until it is killed, or its parent is gone and its standard
// input with it.
func child(mode string) error {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	var work, boot, dir string
	if _, err := fmt.Sscan(mode, &work, &boot, &dir); err != nil {
		return err
	}
	s, err := pebbledb.Open(context.Background(), pebbledb.Options{Dir: dir, Now: time.Now})
	if err != nil {
		return err
	}
	say("open", s.Committed())
	if work == "load" {
		return loadForever(s)
	}
	failed := make(chan error)
	for w := range writers {
		go func() { failed <- write(s, w) }()
	}
	for n := range singles {
		go func() { failed <- writeSingles(s, boot+"-"+strconv.Itoa(n)) }()
	}
	return <-failed
}

// say tells the parent, in one piece: what is in the pipe survives the kill.
func say(words ...any) { _, _ = os.Stdout.WriteString(fmt.Sprintln(words...)) }

func stateKey(writer int) string { return fmt.Sprintf("writer-%d", writer) }

// progress is the number of batches that a writer has committed, as its state says.
func progress(s *pebbledb.Store, writer int) (uint64, error) {
	value, err := s.Value(stateKey(writer))
	if value == nil || err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(value), nil
}

// write goes on where the writer's state says that it was stopped.
func write(s *pebbledb.Store, writer int) error {
	n, err := progress(s, writer)
	if err != nil {
		return err
	}
	for ; ; n++ {
		state := pebbledb.KV{Key: stateKey(writer), Value: binary.BigEndian.AppendUint64(nil, n+1)}
		if err := s.CommitBatch(batchOf(writer, n), []pebbledb.KV{state}, nil); err != nil {
			return err
		}
		say("batch", writer, n)
	}
}

func writeSingles(s *pebbledb.Store, name string) error {
	for n := 0; ; n++ {
		c := storetest.Sale("free-0", fmt.Sprintf("single-%s-%d", name, n))
		if _, err := s.Commit(context.Background(), &c); err != nil {
			return err
		}
		say("single", c.TxID)
	}
}

// batchOf is the nth batch of a writer, always the same: conversions of its
// own, some that all writers send, some twice, some with another payload, some
// on offers with a cap.
func batchOf(writer int, n uint64) []store.Conversion {
	batch := make([]store.Conversion, 0, batchSize)
	for i := range uint64(batchSize) {
		own := storetest.Sale("free-1", fmt.Sprintf("w%d-%d-%d", writer, n, i))
		switch i % 8 {
		case 1:
			own.TxID = fmt.Sprintf("shared-%d-%d", n, i)
		case 2:
			own.TxID = fmt.Sprintf("w%d-%d-%d", writer, n, i-2) // in this batch already
		case 3:
			own.TxID = fmt.Sprintf("w%d-%d-%d", writer, n-n%7, i-3) // in this batch or an earlier one
			own.Payout += postback.Money(n % 3)
		case 4, 5:
			own.ClickID = fmt.Sprintf("cap-%d", (n+i)%cappedCount)
		case 6:
			own.ClickID = "stranger"
		}
		batch = append(batch, own)
	}
	return batch
}

// populate loads what the children work with and remembers the caps.
func populate(t *testing.T, dir string) (caps map[string]int64) {
	s := open(t, dir)
	storetest.Populate(t, s, 2)
	caps = map[string]int64{}
	var offers []store.Offer
	var clicks []store.Click
	for i := range cappedCount {
		id := fmt.Sprintf("cap-%d", i)
		caps[id] = int64(1 + 50*i)
		// Half of the caps reset, far from the only second in which all is received.
		offers = append(offers, store.Offer{OfferID: id, Cap: caps[id], CapWindowS: int64(i % 2 * 86_400)})
		clicks = append(clicks, store.Click{ClickID: id, OfferID: id})
	}
	if _, err := s.LoadOffers(t.Context(), storetest.Rows(offers, nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.LoadClicks(t.Context(), storetest.Rows(clicks, nil)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return caps
}

// runChild starts a child, kills it after the time given, counted from its
// start or from the moment it had opened the store, and calls heard with every
// line that it said.
func runChild(t *testing.T, mode string, opened bool, after time.Duration, heard func(string)) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+mode)
	var complaints strings.Builder
	cmd.Stderr = &complaints
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	kill := func() { once.Do(func() { time.AfterFunc(after, func() { _ = cmd.Process.Kill() }) }) }
	if !opened {
		kill()
	}
	for lines := bufio.NewReader(out); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // half a line was said by nobody
		}
		kill()
		heard(strings.TrimSpace(line))
	}
	if err := cmd.Wait(); complaints.Len() > 0 || err == nil {
		t.Fatalf("the child ended by itself: %v, %s", err, complaints.String())
	}
}

func restarts(t *testing.T) int {
	if text := os.Getenv(restartsEnv); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("%s=%s: want a number of restarts", restartsEnv, text)
		}
		return n
	}
	if testing.Short() {
		return 20
	}
	return 40
}

// acks is what the children said that they had committed.
type acks struct {
	batches   [writers]uint64 // of each writer; they come in order
	singles   map[string]bool // txid
	committed int64           // the most that a child has found at its start
}

func (a *acks) hear(t *testing.T, line string) {
	word := strings.Fields(line)
	number := func(i int) uint64 {
		n, err := strconv.ParseUint(word[i], 10, 64)
		if err != nil {
			t.Fatalf("the child said %q", line)
		}
		return n
	}
	switch word[0] {
	case "open":
		if n := int64(number(1)); n < a.committed || n < a.count() {
			t.Errorf("%d committed after %d, %d acked", n, a.committed, a.count())
		} else {
			a.committed = n
		}
	case "batch":
		a.batches[number(1)] = number(2) + 1
	case "single":
		a.singles[word[1]] = true
	}
}

func (a *acks) count() int64 {
	n := int64(len(a.singles))
	for _, batches := range a.batches {
		n += int64(batches * batchSize)
	}
	return n
}

// The store is killed under load again and again, at any moment: while it
// opens, replays its log, flushes, compacts, commits. In the end the books say
// that nothing acked is missing, no batch is there in half, nothing was
// decided twice, and no cap was passed.
func TestKilledInALoop(t *testing.T) {
	dir := t.TempDir()
	caps := populate(t, dir)
	random := rand.New(rand.NewPCG(killSeed, 0))
	acked := acks{singles: map[string]bool{}}
	for boot := range restarts(t) {
		// One in six is killed before or while it opens the store.
		runChild(t, fmt.Sprintf("commit %d %s", boot, dir), random.IntN(6) > 0, time.Duration(random.IntN(80_000))*time.Microsecond,
			func(line string) { acked.hear(t, line) })
	}
	if acked.batches[0] == 0 || len(acked.singles) == 0 {
		t.Fatalf("no load: %v, %d singles", acked.batches, len(acked.singles))
	}
	s := openAt(t, dir, func() time.Time { return time.Unix(0, storetest.ReceivedUnixNs) })
	defer s.Close()
	v := verification{t: t, s: s, singles: map[string]bool{}, rows: map[string]store.Row{}}
	v.readLedger()
	v.checkBatches(acked.batches)
	for txID := range acked.singles {
		if !v.singles[txID] {
			t.Errorf("acked %s is missing", txID)
		}
	}
	v.checkCommitted()
	v.checkCaps(caps)
	t.Logf("%d acked, %d committed, %d rows, %d conflicts", acked.count(), s.Committed(), len(v.rows), v.conflicts)
}

// verification holds the ledger against what the children must have done.
type verification struct {
	t         *testing.T
	s         *pebbledb.Store
	rows      map[string]store.Row // by identity
	singles   map[string]bool
	conflicts int
	batches   uint64 // committed by all writers
}

func identity(clickID, txID, event string) string { return clickID + " " + txID + " " + event }

func (v *verification) readLedger() {
	kept := map[string]bool{}
	for _, row := range subject(v.s).Ledger(v.t) {
		id := identity(row.ClickID, row.TxID, row.Event)
		if row.Verdict == decide.Conflict {
			v.conflicts++
			if payload := fmt.Sprint(id, row.Payout); kept[payload] {
				v.t.Errorf("the conflict %s was kept twice", payload)
			} else {
				kept[payload] = true
			}
			continue
		}
		if first, twice := v.rows[id]; twice {
			v.t.Errorf("decided twice:\n%+v\n%+v", first, row)
		}
		v.rows[id] = row
		if strings.HasPrefix(row.TxID, "single-") {
			v.singles[row.TxID] = true
		}
	}
}

// checkBatches wants all of every batch that the writers' states count, and
// nothing of any other.
func (v *verification) checkBatches(acked [writers]uint64) {
	expected := map[string]bool{}
	for w := range writers {
		n, err := progress(v.s, w)
		if err != nil || n < acked[w] {
			v.t.Errorf("writer %d: %d batches, %d acked, %v", w, n, acked[w], err)
		}
		v.batches += n
		for batch := range n {
			for _, c := range batchOf(w, batch) {
				expected[identity(c.ClickID, c.TxID, c.Event.String())] = true
			}
		}
	}
	for id := range expected {
		if _, found := v.rows[id]; !found {
			v.t.Errorf("%s is missing", id)
		}
	}
	for id, row := range v.rows {
		if !expected[id] && !v.singles[row.TxID] {
			v.t.Errorf("%s was committed without its batch", id)
		}
	}
}

func (v *verification) checkCommitted() {
	want := int64(v.batches*batchSize) + int64(len(v.singles))
	if got := v.s.Committed(); got != want {
		v.t.Errorf("committed %d, the batches and singles are %d", got, want)
	}
}

// checkCaps wants each offer billed exactly up to its cap, or as often as it was sent.
func (v *verification) checkCaps(caps map[string]int64) {
	billed, sent := map[string]int64{}, map[string]int64{}
	for _, row := range v.rows {
		sent[row.OfferID]++
		if row.Verdict == decide.Billable {
			billed[row.OfferID]++
		}
	}
	for id, limit := range caps {
		status := subject(v.s).Status(v.t, id)
		if want := min(limit, sent[id]); billed[id] != want || status.Billable != want || status.Closed != (want == limit) {
			v.t.Errorf("%s: billed %d of %d, cap %d, %+v", id, billed[id], sent[id], limit, status)
		}
	}
	if status := subject(v.s).Status(v.t, storetest.FreeOffer); status.Billable != billed[storetest.FreeOffer] {
		v.t.Errorf("%+v, but %d rows", status, billed[storetest.FreeOffer])
	}
}

func loadForever(s *pebbledb.Store) error {
	first, err := s.Attribute(context.Background(), "click-0")
	for n := first.ClickedUnixS + 1; err == nil; n++ {
		_, err = s.LoadClicks(context.Background(), generation(loadClicks, n))
		say("loaded", n)
	}
	return err
}

// A store killed in the middle of a load has all its clicks or none.
func TestKilledWhileLoading(t *testing.T) {
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(killSeed, 1))
	var acked int64
	for boot := range 8 {
		runChild(t, fmt.Sprintf("load %d %s", boot, dir), true, time.Duration(random.IntN(150_000))*time.Microsecond, func(line string) {
			if text, found := strings.CutPrefix(line, "loaded "); found {
				acked, _ = strconv.ParseInt(text, 10, 64)
			}
		})
		s := open(t, dir)
		got := readGeneration(t, s, loadClicks)
		if got != acked && got != acked+1 {
			t.Errorf("boot %d: generation %d, acked %d", boot, got, acked)
		}
		acked = got // from here the next one goes on
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
