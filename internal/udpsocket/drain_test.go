package udpsocket

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// readAll is the loop that Drain is for; it returns how many datagrams it read
// and how often a read met its deadline before the end.
func readAll(ctx context.Context, conn *net.UDPConn, wait time.Duration) (read, expired int, err error) {
	drain := NewDrain(ctx, conn)
	defer drain.Stop()
	for {
		until := time.Time{}
		if wait > 0 {
			until = time.Now().Add(wait)
		}
		if err := drain.Await(until); err != nil {
			return read, expired, err
		}
		_, err := conn.Read(make([]byte, 16))
		switch {
		case err == nil:
			read++
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return read, expired, err
		case drain.Ending():
			return read, expired, nil
		default:
			expired++
		}
	}
}

func dial(t *testing.T, conn *net.UDPConn) *net.UDPConn {
	t.Helper()
	sender, err := net.DialUDP("udp4", nil, conn.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sender.Close() })
	return sender
}

func TestDrainReadsWhatIsThere(t *testing.T) {
	conn, _ := listen(t, 0)
	sender := dial(t, conn)
	for range 100 {
		if _, err := sender.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if read, _, err := readAll(ctx, conn, 0); read != 100 || err != nil {
		t.Errorf("read %d of 100, %v", read, err)
	}
}

// The end of the context wakes a read that waits for ever.
func TestDrainWakes(t *testing.T) {
	conn, _ := listen(t, 0)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, expired, err := readAll(ctx, conn, 0); expired != 1 || err != nil {
		t.Errorf("%d reads were woken, %v; want one", expired, err)
	}
}

func TestDrainKeepsTheCallersDeadline(t *testing.T) {
	conn, _ := listen(t, 0)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, expired, err := readAll(ctx, conn, time.Millisecond); expired < 2 || err != nil {
		t.Errorf("%d reads met a deadline, %v", expired, err)
	}
}

// A sender that never stops does not keep the reader for ever.
func TestDrainIsBounded(t *testing.T) {
	conn, _ := listen(t, 0)
	sender := dial(t, conn)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	done, sent := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(sent)
		for {
			select {
			case <-done:
				return
			case <-time.After(DrainQuiet / 10):
				_, _ = sender.Write([]byte("x"))
			}
		}
	}()
	start := time.Now()
	read, _, err := readAll(ctx, conn, 0)
	close(done)
	<-sent
	if took := time.Since(start); err != nil || read == 0 || took > 10*DrainMax {
		t.Errorf("read %d in %s, %v", read, took, err)
	}
}

func TestDrainClosed(t *testing.T) {
	conn, _ := listen(t, 0)
	_ = conn.Close()
	if _, _, err := readAll(t.Context(), conn, 0); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want net.ErrClosed", err)
	}
}
