package netem

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/dist"
)

func TestResolver(t *testing.T) {
	const takes = 20 * time.Millisecond
	p := newTestPath(t, PathSpec{DNS: dist.Constant(takes.Nanoseconds())})
	resolve := func(r *Resolver) {
		if _, err := r.Resolve(t.Context()); err != nil {
			t.Error(err)
		}
	}
	lookups := func(want int64) {
		t.Helper()
		if truth := p.Truth(); truth.Lookups != want || truth.LookupNs != want*takes.Nanoseconds() {
			t.Errorf("%+v, want %d look-ups", truth, want)
		}
	}
	cached := p.Resolver(time.Hour)
	start := time.Now()
	var callers sync.WaitGroup
	for range 5 {
		callers.Go(func() { resolve(cached) })
	}
	callers.Wait()
	if took := time.Since(start); took < takes {
		t.Errorf("a look-up took %v", took)
	}
	resolve(cached)
	lookups(1)
	fresh := p.Resolver(0)
	start = time.Now()
	resolve(fresh)
	resolve(fresh)
	if took := time.Since(start); took < 2*takes {
		t.Errorf("two look-ups took %v", took)
	}
	lookups(3)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := fresh.Resolve(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Close of a network ends whoever waits, and leaves nothing.
func TestNetworkClose(t *testing.T) {
	before := runtime.NumGoroutine()
	n := NewNetwork(1)
	p, err := n.Path(PathSpec{RTTNs: 2000 * msNs, DNS: dist.Constant(2000 * msNs)})
	if err != nil {
		t.Fatal(err)
	}
	near, err := n.Path(PathSpec{})
	if err != nil {
		t.Fatal(err)
	}
	address := serve(t, answer)
	c, err := near.Dial(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 3)
	go func() { _, err := p.Dial(t.Context(), "tcp", address); ended <- err }()
	go func() {
		_, err := p.Resolver(0).Resolve(t.Context())
		ended <- err
	}()
	go func() { _, err := c.Read(make([]byte, 1)); ended <- err }()
	waitFor(t, func() bool { return p.Truth().Lookups == 1 })
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}
	if _, err := near.Dial(t.Context(), "tcp", address); !errors.Is(err, net.ErrClosed) {
		t.Errorf("dialled on a closed network: %v", err)
	}
	waitFor(t, func() bool { return runtime.NumGoroutine() <= before+1 }) // the listener's
}

// Many connections at once over a bad path: what is sent comes back as it was,
// and the books balance.
func TestManyOverABadPath(t *testing.T) {
	jitter, err := dist.New([]dist.Point{{Percentile: 50, Ns: 100_000}, {Percentile: 99, Ns: 8 * msNs}})
	if err != nil {
		t.Fatal(err)
	}
	p := newTestPath(t, PathSpec{RTTNs: 2 * msNs, Jitter: jitter, Loss: GilbertElliott{GoodLoss: 0.005, BadLoss: 0.5, GoodToBad: 0.005, BadToGood: 0.3}})
	address := serve(t, func(c *net.TCPConn) { _, _ = io.Copy(c, c) })
	var clients sync.WaitGroup
	for i := range 60 {
		clients.Go(func() {
			c, err := p.Dial(t.Context(), "tcp", address)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = c.Close() }()
			sent := bytes.Repeat([]byte{byte(i)}, 100+400*i)
			got := make([]byte, len(sent))
			for n := range 10 {
				sent[0] = byte(n)
				_ = c.SetDeadline(time.Now().Add(patience))
				if _, err := c.Write(sent); err != nil {
					t.Error(err)
				}
				if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent) {
					t.Errorf("connection %d, exchange %d: %v", i, n, err)
					return
				}
			}
		})
	}
	clients.Wait()
	waitFor(t, func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.busy == 0 })
	truth := p.Truth()
	t.Logf("%+v", truth)
	if truth.Connections != 60 || truth.Lost == 0 || truth.Lost < truth.Retransmissions || truth.Lost > truth.Retransmissions+60 {
		t.Errorf("%+v", truth) // up to one unanswered FIN each way may be left out
	}
}

// Equal seeds and equal writes: equal fates.
func TestSeedDecidesOverAPath(t *testing.T) {
	address := serve(t, answer)
	truths := make(chan Truth, 2)
	for range 2 {
		p := newTestPath(t, PathSpec{RTTNs: msNs, Loss: GilbertElliott{GoodLoss: 0.2}})
		go func() {
			defer func() { truths <- p.Truth() }()
			c, err := p.Dial(t.Context(), "tcp", address)
			if err != nil {
				t.Error(err)
				return
			}
			for range 10 {
				if err := exchange(c); err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	a, b := <-truths, <-truths
	if a.Segments != b.Segments || a.Lost != b.Lost || a.DelayNs != b.DelayNs || a.Lost == 0 {
		t.Errorf("%+v\n%+v", a, b)
	}
}

func TestPathRefuses(t *testing.T) {
	n := NewNetwork(1)
	defer func() { _ = n.Close() }()
	for want, spec := range map[string]PathSpec{
		"round trip": {RTTNs: -1},
		"bits":       {RateBitsPerS: 5},
		"good loss":  {Loss: GilbertElliott{GoodLoss: 1.5}},
		"every":      {Loss: GilbertElliott{GoodLoss: 1}},
	} {
		if _, err := n.Path(spec); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
