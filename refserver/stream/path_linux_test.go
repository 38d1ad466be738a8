package stream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/postbench/postbench/refserver/lanes"
	"github.com/postbench/postbench/refserver/lanes/consumer"
)

// receive serves a Receiver at addr until it is stopped.
func receive(t testing.TB, addr string, commit func(context.Context, [][]byte) error) (at string, stop func()) {
	t.Helper()
	r, err := NewReceiver(ReceiverConfig{Commit: commit, Token: testToken})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- r.Serve(l) }()
	return l.Addr().String(), func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(r.Shutdown(ctx), <-served); err != nil {
			t.Error(err)
		}
	}
}

func newLane(t testing.TB, dir string, slots int) *lanes.Lane {
	t.Helper()
	lane, err := lanes.OpenProducer(lanes.Options{Dir: dir, Slots: slots})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lane.Close() })
	return lane
}

// run starts a Sender; stop ends it and returns Run's error.
func run(t testing.TB, dir, central string) (s *Sender, stop func() error) {
	t.Helper()
	s, err := NewSender(SenderConfig{Config: consumer.Config{LaneDir: dir, Every: time.Millisecond}, Central: central, Token: testToken})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return s, func() error {
		cancel()
		return <-done
	}
}

// From the lane of an edge over TCP to central, through restarts of both: what
// was pushed arrives, and the lane is empty in the end.
func TestLaneToCentral(t *testing.T) {
	dir, c := t.TempDir(), &central{has: map[string]int{}}
	lane := newLane(t, dir, 256)
	addr, stopCentral := receive(t, "127.0.0.1:0", c.commit)
	_, stopSender := run(t, dir, addr)

	const records = 4_000
	var pushing sync.WaitGroup
	pushing.Go(func() {
		deadline := time.Now().Add(patience)
		for n := 0; n < records && time.Now().Before(deadline); {
			if err := lane.TryPush(fmt.Appendf(nil, "record %d", n)); err == nil {
				n++
				continue
			}
			time.Sleep(time.Millisecond) // the lane is full: an edge would answer 503
		}
	})
	for life := range 3 {
		for deadline := time.Now().Add(patience); c.count() < (life+1)*records/5; {
			time.Sleep(time.Millisecond) // real sockets at work
			if time.Now().After(deadline) {
				t.Fatalf("central has %d", c.count())
			}
		}
		stopCentral()
		if _, err := NewSender(SenderConfig{Config: consumer.Config{LaneDir: dir}, Central: addr, Token: testToken}); !errors.Is(err, lanes.ErrConsumed) {
			t.Errorf("a second sender: %v", err)
		}
		addr, stopCentral = receive(t, addr, c.commit)
		if life != 1 {
			continue
		}
		if err := stopSender(); err != nil && !errors.Is(err, ErrNotDrained) { // the producer goes on
			t.Error(err)
		}
		_, stopSender = run(t, dir, addr)
	}
	pushing.Wait()
	if err := stopSender(); err != nil {
		t.Error(err)
	}
	stopCentral()
	if left, err := lanes.Backlog(dir); err != nil || left != 0 || c.count() != records {
		t.Errorf("%d left, %v, central has %d of %d", left, err, c.count(), records)
	}
}

// BenchmarkPath is a lane that is kept full, and a central that takes everything.
func BenchmarkPath(b *testing.B) {
	taken := make(chan int, 1_024)
	addr, stopCentral := receive(b, "127.0.0.1:0", func(_ context.Context, records [][]byte) error {
		taken <- len(records)
		return nil
	})
	defer stopCentral()
	dir := b.TempDir()
	lane := newLane(b, dir, 16_384)
	s, stop := run(b, dir, addr)
	record := fmt.Appendf(nil, "%0112d", 1)
	counted := make(chan struct{})
	go func() {
		defer close(counted)
		for left := b.N; left > 0; {
			left -= <-taken
		}
	}()
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; {
		if lane.TryPush(record) == nil {
			n++
			continue
		}
		time.Sleep(100 * time.Microsecond) // the lane is full
	}
	<-counted
	b.StopTimer()
	if err := stop(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(s.Counts().Records)/b.Elapsed().Seconds(), "records/s")
}
