package exchange_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/kernelnet/exchange"
)

func listen(t *testing.T) (net.Listener, exchange.Dial) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener, func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", listener.Addr().String())
	}
}

func TestEveryKindSamplesWhatItSays(t *testing.T) {
	for _, kind := range exchange.Kinds() {
		t.Run(kind.Name, func(t *testing.T) {
			listener, dial := listen(t)
			samples, err := kind.Measure(t.Context(), listener, dial, 20, 4)
			if err != nil {
				t.Fatal(err)
			}
			if len(samples) != 20 {
				t.Errorf("%d samples, want 20", len(samples))
			}
			for _, s := range samples {
				if s.Wait <= 0 || s.Connect > 0 != kind.NewConnections || s.Handshake > 0 != (kind.TLSVersion != 0) {
					t.Fatalf("%+v", s)
				}
			}
		})
	}
}

func TestAFailureEndsTheRun(t *testing.T) {
	listener, _ := listen(t)
	broken := errors.New("broken")
	dial := func(context.Context) (net.Conn, error) { return nil, broken }
	if _, err := exchange.Kinds()[1].Measure(t.Context(), listener, dial, 20, 4); !errors.Is(err, broken) {
		t.Errorf("%v, want %v", err, broken)
	}
}

func TestTheEndOfTheContextEndsTheRun(t *testing.T) {
	listener, _ := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	silent := func(context.Context) (net.Conn, error) {
		here, there := net.Pipe()
		t.Cleanup(func() { _ = there.Close() })
		go func() {
			_, _ = io.ReadFull(there, make([]byte, exchange.RequestBytes))
			cancel()
		}()
		return here, nil
	}
	if _, err := exchange.Kinds()[0].Measure(ctx, listener, silent, 20, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
}

func TestPercentiles(t *testing.T) {
	samples := make([]exchange.Sample, 100)
	for i := range samples {
		samples[i] = exchange.Sample{Connect: 1, Handshake: 2, Wait: time.Duration(100 - i)}
	}
	for i, got := range exchange.Percentiles(samples, 0, 50, 99, 100) {
		if want := []time.Duration{4, 54, 103, 103}[i]; got != want {
			t.Errorf("percentile %d: %d, want %d", i, got, want)
		}
	}
}

func TestMean(t *testing.T) {
	if got := exchange.Mean([]exchange.Sample{{Wait: 1}, {Connect: 2, Handshake: 2, Wait: 1}}); got != 3 {
		t.Errorf("%d, want 3", got)
	}
}
