package batcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbench/postbench/refserver/datagram"
	"github.com/postbench/postbench/refserver/lanes"
	"github.com/postbench/postbench/refserver/lanes/consumer"
)

// fakeLanes is one lane: records are pushed, handed out once, freed.
type fakeLanes struct {
	pushed [][]byte
	next   int          // the first that was not handed out
	freed  map[int]bool // by position
	stats  lanes.Stats
	closed bool
}

func (f *fakeLanes) push(records ...string) {
	for _, r := range records {
		f.pushed = append(f.pushed, []byte(r))
	}
}

func (f *fakeLanes) Visit(max int, visit func(lanes.Entry)) lanes.Stats {
	f.stats.Lanes = 1
	for ; f.next < len(f.pushed) && max > 0; max-- {
		pos := f.next
		f.next++
		visit(lanes.Entry{Lane: 3, Pos: uint64(pos), Record: f.pushed[pos]})
	}
	return f.stats
}

func (f *fakeLanes) Free(lane int, pos uint64) {
	if lane != 3 || int(pos) >= f.next || f.freed[int(pos)] {
		panic(fmt.Sprintf("freed lane %d, position %d", lane, pos))
	}
	f.freed[int(pos)] = true
	for i := range f.pushed[pos] { // another record lies there now
		f.pushed[pos][i] = '!'
	}
}

func (f *fakeLanes) Backlog() int64 { return int64(len(f.pushed) - len(f.freed)) }

func (f *fakeLanes) Close() error {
	f.closed = true
	return nil
}

// fakeSocket keeps what it takes, at most room datagrams a tick.
type fakeSocket struct {
	room    int
	err     error // what it says when it takes no more
	records []string
	seqs    []uint64
	sentAt  []time.Time
	closed  bool
	t       *testing.T
	central *datagram.Receiver
	opened  func(*datagram.Opened) // nil, or told of each datagram
	acks    chan arrival
}

// arrival is what a socket receives.
type arrival struct {
	ack []byte
	err error
}

func (f *fakeSocket) send(datagrams [][]byte) (taken, portClosed int, err error) {
	for _, d := range datagrams {
		if taken == f.room {
			return taken, 0, f.err
		}
		opened, err := f.central.Step(0, slices.Clone(d))
		if err != nil {
			f.t.Error(err)
		}
		for frames := datagram.Frames(opened.Body); frames.Next(); {
			f.records = append(f.records, string(frames.Record()))
		}
		f.seqs = append(f.seqs, opened.Seq)
		f.sentAt = append(f.sentAt, time.Now())
		if f.opened != nil {
			f.opened(&opened)
		}
		taken++
	}
	return taken, 0, nil
}

func (f *fakeSocket) receive(buffer []byte) (int, error) {
	received, ok := <-f.acks
	if !ok {
		return 0, net.ErrClosed
	}
	if received.err != nil {
		return 0, received.err
	}
	return copy(buffer, received.ack), nil
}

func (f *fakeSocket) Close() error {
	f.closed = true
	close(f.acks)
	return nil
}

func testEdge() datagram.Edge { return datagram.Edge{ID: 4, KeyID: 1, PSK: [32]byte{4}} }

func testConfig(t testing.TB) Config {
	return Config{
		Config: consumer.Config{LaneDir: t.TempDir()}, Collector: "127.0.0.1:9", Edge: testEdge(), Salt: [16]byte{9},
		BootFile: filepath.Join(t.TempDir(), "boot"), MaxDatagramsPerTick: 4,
	}
}

func newCentral(t *testing.T) *datagram.Receiver {
	t.Helper()
	r, err := datagram.NewReceiver([]datagram.Edge{testEdge()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newFake(t *testing.T) (*Batcher, *fakeLanes, *fakeSocket) {
	t.Helper()
	return newFakeOf(t, testConfig(t))
}

func newFakeOf(t *testing.T, config Config) (*Batcher, *fakeLanes, *fakeSocket) {
	t.Helper()
	dir := &fakeLanes{freed: make(map[int]bool)}
	udp := &fakeSocket{
		room: 1 << 20, err: errors.New("no buffer space"), t: t, central: newCentral(t), acks: make(chan arrival, 1024),
	}
	config, err := config.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	b, err := assemble(config, consumer.New(dir, config.Log), udp)
	if err != nil {
		t.Fatal(err)
	}
	return b, dir, udp
}

// numbered are n records of 400 bytes: two fit a datagram.
func numbered(from, n int) (records []string) {
	for i := range n {
		records = append(records, fmt.Sprintf("%0400d", from+i))
	}
	return records
}

func TestTickFreesWhatWasSent(t *testing.T) {
	b, dir, udp := newFake(t)
	want := numbered(0, 5)
	dir.push(want...)
	if left := b.tick(); left != 0 || !slices.Equal(udp.records, want) || !slices.Equal(udp.seqs, []uint64{1, 2, 3}) {
		t.Errorf("%d left, %d sent as %v", left, len(udp.records), udp.seqs)
	}
	c := b.Counts()
	if c.RecordsSent != 5 || c.DatagramsSent != 3 || c.BytesSent != 3*datagram.Overhead+5*402 || c.SendErrors != 0 ||
		c.Backlog != 0 || c.Lanes != 1 || c.Boot == 0 {
		t.Errorf("%+v", c)
	}
}

// What does not fit a tick stays in the lanes, and what the kernel does not take
// as well: nothing is lost, doubled or overtaken.
func TestTickKeepsWhatWasNotSent(t *testing.T) {
	b, dir, udp := newFake(t)
	want := numbered(0, 20)
	dir.push(want...)
	udp.room = 1
	if left := b.tick(); left != 18 || len(dir.freed) != 2 {
		t.Errorf("%d left, %d freed", left, len(dir.freed))
	}
	udp.room = 0
	if left := b.tick(); left != 18 || len(dir.freed) != 2 {
		t.Errorf("%d left, %d freed", left, len(dir.freed))
	}
	if c := b.Counts(); c.SendErrors != 2 || c.RecordsSent != 2 || c.Backlog != 18 {
		t.Errorf("%+v", c)
	}
	udp.room = 1 << 20
	for ticks := 0; b.tick() > 0; ticks++ {
		if ticks > 3 {
			t.Fatal("four datagrams a tick do not get it done")
		}
	}
	if !slices.Equal(udp.records, want) || !slices.IsSorted(udp.seqs) {
		t.Errorf("sent %d as %v", len(udp.records), udp.seqs)
	}
}

// A record that no datagram carries must neither stop its lane nor vanish unseen.
func TestTickCountsWhatCannotBeSent(t *testing.T) {
	b, dir, udp := newFake(t)
	dir.push("before", string(make([]byte, datagram.MaxRecordBytes+1)), "", "after")
	dir.stats.Torn, dir.stats.Corrupt = 5, 7
	if left := b.tick(); left != 0 || !slices.Equal(udp.records, []string{"before", "after"}) {
		t.Errorf("%d left, sent %q", left, udp.records)
	}
	if c := b.Counts(); c.Corrupt != 7+2 || c.Torn != 5 || c.RecordsSent != 2 {
		t.Errorf("%+v", c)
	}
}

func TestRunTicksAndDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, dir, udp := newFake(t)
		ctx, cancel := context.WithCancel(t.Context())
		done, start := make(chan error), time.Now()
		dir.push(numbered(0, 12)...) // four datagrams now, two with the next tick
		go func() { done <- b.Run(ctx) }()
		time.Sleep(12 * time.Millisecond) // virtual time
		synctest.Wait()
		if len(udp.records) != 12 || udp.sentAt[3] != start || udp.sentAt[4] != start.Add(10*time.Millisecond) {
			t.Errorf("%d records, sent at %v", len(udp.records), udp.sentAt)
		}
		b.mu.Lock()
		dir.push(numbered(12, 20)...) // ten datagrams
		b.mu.Unlock()
		cancel()
		if err := <-done; err != nil || len(udp.records) != 32 || !dir.closed || !udp.closed {
			t.Errorf("%v, %d records, closed %v %v", err, len(udp.records), dir.closed, udp.closed)
		}
		// It stopped as soon as all was sent, and kept its pace until then.
		if took := time.Since(start); took != 30*time.Millisecond {
			t.Errorf("drained after %v", took)
		}
		if c := b.Counts(); c.RecordsSent != 32 || c.Backlog != 0 {
			t.Errorf("%+v", c)
		}
	})
}

func TestDrainIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, dir, udp := newFake(t)
		dir.push(numbered(0, 3)...)
		udp.room = 1
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		b.tick()
		udp.room = 0
		start := time.Now()
		if err := b.Run(ctx); !errors.Is(err, ErrNotDrained) {
			t.Errorf("%v", err)
		}
		if took := time.Since(start); took != consumer.DrainLimit {
			t.Errorf("gave up after %v", took)
		}
		if c := b.Counts(); c.Backlog != 1 || c.RecordsSent != 2 || c.SendErrors == 0 || !dir.closed {
			t.Errorf("%+v", c)
		}
	})
}

func TestCountsJSON(t *testing.T) {
	b, _, _ := newFake(t)
	text, err := json.Marshal(b.Counts())
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	want := []string{"backlog", "boot", "bytes_sent", "corrupt", "datagrams_sent", "lanes", "port_closed", "records_sent",
		"send_errors", "torn", "unreadable_lanes"}
	if got := slices.Sorted(maps.Keys(fields)); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestConfigRefused(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no lanes":     func(c *Config) { c.LaneDir = "" },
		"no collector": func(c *Config) { c.Collector = "" },
		"no boot file": func(c *Config) { c.BootFile = "" },
		"bad tick":     func(c *Config) { c.Every = -1 },
	} {
		config := testConfig(t)
		change(&config)
		if b, err := New(config); !errors.Is(err, ErrConfig) || b != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
