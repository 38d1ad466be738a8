package batcher

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/postbench/postbench/refserver/datagram"
	"github.com/postbench/postbench/refserver/lanes"
	"github.com/postbench/postbench/refserver/lanes/consumer"
)

// patience bounds what normally takes milliseconds.
const patience = 20 * time.Second

func listen(t *testing.T, addr string) *net.UDPConn {
	t.Helper()
	udp, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUDP("udp", udp)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// receive waits for n records.
func receive(t *testing.T, conn *net.UDPConn, central *datagram.Receiver, n int) (records []string, boot uint64) {
	t.Helper()
	buffer := make([]byte, datagram.MaxBytes+1)
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for len(records) < n {
		size, err := conn.Read(buffer)
		if err != nil {
			t.Fatalf("after %d records: %v", len(records), err)
		}
		opened, err := central.Step(0, buffer[:size])
		if err != nil {
			t.Fatal(err)
		}
		for frames := datagram.Frames(opened.Body); frames.Next(); {
			records = append(records, string(frames.Record()))
		}
		boot = opened.Boot
	}
	return records, boot
}

func newProducer(t *testing.T, dir string) *lanes.Lane {
	t.Helper()
	lane, err := lanes.OpenProducer(lanes.Options{Dir: dir, Slots: 256})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lane.Close() })
	return lane
}

func push(t *testing.T, lane *lanes.Lane, records ...string) {
	t.Helper()
	for _, r := range records {
		if err := lane.TryPush([]byte(r)); err != nil {
			t.Fatal(err)
		}
	}
}

// From the lane of an edge to the socket of central; then the batcher ends in
// order, another life goes on where it stopped, under a newer boot.
func TestLaneToSocket(t *testing.T) {
	central, receiver := listen(t, "127.0.0.1:0"), newCentral(t)
	config := testConfig(t)
	config.Collector = central.LocalAddr().String()
	lane := newProducer(t, config.LaneDir)
	lastBoot := uint64(0)
	for life := range 3 {
		want := numbered(100*life, 50)
		push(t, lane, want[:20]...) // before the batcher is there
		ctx, cancel := context.WithCancel(t.Context())
		config.Salt[0]++
		b, err := New(config)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- b.Run(ctx) }()
		if _, err := New(config); !errors.Is(err, lanes.ErrConsumed) {
			t.Errorf("a second batcher: %v", err)
		}
		push(t, lane, want[20:]...)
		cancel() // what the lanes hold is sent yet
		got, boot := receive(t, central, receiver, len(want))
		if !slices.Equal(got, want) || boot <= lastBoot {
			t.Errorf("life %d: %d records, boot %d after %d", life, len(got), boot, lastBoot)
		}
		lastBoot = boot
		if err := <-done; err != nil {
			t.Error(err)
		}
		if left, err := lanes.Backlog(config.LaneDir); err != nil || left != 0 {
			t.Errorf("%d left, %v", left, err)
		}
	}
}

// The kernel reports a closed port instead of taking the next datagram. That one
// must be offered again: its slots are freed, so it has to have been sent.
func TestClosedPortCostsOnlyWhatWasSentToIt(t *testing.T) {
	reserved := listen(t, "127.0.0.1:0")
	addr := reserved.LocalAddr().String()
	if err := reserved.Close(); err != nil {
		t.Fatal(err)
	}
	config := testConfig(t)
	config.Collector = addr
	lane := newProducer(t, config.LaneDir)
	b, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	push(t, lane, "to a closed port")
	b.tick()
	// More at once than refusals can hide: each one makes the next fail.
	push(t, lane, numbered(0, 8)...)
	b.tick()

	central := listen(t, addr)
	want := numbered(8, 8)
	push(t, lane, want...)
	b.tick()
	if got, _ := receive(t, central, newCentral(t), len(want)); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	c := b.Counts()
	if c.RecordsSent != 1+8+8 || c.DatagramsSent != 1+4+4 || c.PortClosed == 0 || c.SendErrors != 0 || c.Backlog != 0 {
		t.Errorf("%+v", c)
	}
}

// What the kernel refuses and all that comes after it has not been taken.
func TestSendStopsAtAnError(t *testing.T) {
	central := listen(t, "127.0.0.1:0")
	udp, err := dial(central.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	datagrams := [][]byte{[]byte("first"), make([]byte, 1<<17), []byte("third")}
	if taken, _, err := udp.send(datagrams); taken != 1 || !errors.Is(err, syscall.EMSGSIZE) {
		t.Errorf("%d taken, %v", taken, err)
	}
	if err := udp.Close(); err != nil {
		t.Fatal(err)
	}
	if taken, _, err := udp.send(datagrams); taken != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %d taken, %v", taken, err)
	}
}

func TestNewLetsGoOnFailure(t *testing.T) {
	config := testConfig(t)
	if err := os.WriteFile(config.BootFile, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(config); !errors.Is(err, ErrBootFile) {
		t.Fatal(err)
	}
	if err := os.Remove(config.BootFile); err != nil {
		t.Fatal(err)
	}
	noSalt := config
	noSalt.Salt = [16]byte{}
	if _, err := New(noSalt); !errors.Is(err, datagram.ErrNoBoot) {
		t.Error(err)
	}
	noAddress := config
	noAddress.Collector = "127.0.0.1:http:80"
	if _, err := New(noAddress); err == nil {
		t.Error("no address, no error")
	}
	b, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}

func BenchmarkTick(b *testing.B) {
	central, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	defer central.Close()
	dir := b.TempDir()
	lane, err := lanes.OpenProducer(lanes.Options{Dir: dir, Slots: 1024})
	if err != nil {
		b.Fatal(err)
	}
	defer lane.Close()
	batcher, err := New(Config{
		Config: consumer.Config{LaneDir: dir}, Collector: central.LocalAddr().String(), Edge: testEdge(), Salt: [16]byte{1}, BootFile: dir + "/boot",
	})
	if err != nil {
		b.Fatal(err)
	}
	defer batcher.Close()
	record := fmt.Appendf(nil, "%0112d", 1)
	b.ReportAllocs()
	for b.Loop() {
		for range 640 {
			if err := lane.TryPush(record); err != nil {
				b.Fatal(err)
			}
		}
		batcher.tick()
	}
	b.ReportMetric(float64(batcher.Counts().RecordsSent)/b.Elapsed().Seconds(), "records/s")
}
