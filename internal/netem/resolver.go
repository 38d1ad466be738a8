package netem

import (
	"context"
	"math"
	"net"
	"sync"
	"time"
)

// Resolver is one partner's DNS cache of one name, on a path. It is safe for
// concurrent use.
type Resolver struct {
	path  *Path
	ttlNs int64

	mu      sync.Mutex
	known   bool
	knownNs int64         // when the last look-up ended
	running chan struct{} // closed at the end of the look-up that is on its way; nil without one
}

// Resolver makes a cache whose entry lives for ttl from the end of its look-up;
// 0 looks up every time.
func (p *Path) Resolver(ttl time.Duration) *Resolver {
	return &Resolver{path: p, ttlNs: ttl.Nanoseconds()}
}

// Resolve returns when the name is known: at once while the cached entry lives,
// else after a look-up, which concurrent callers share; a caller who gives up
// does not end it. looked says that there was one to wait for. The error is
// ctx's, or net.ErrClosed of a closed Network.
func (r *Resolver) Resolve(ctx context.Context) (looked bool, err error) {
	done := r.lookUp()
	if done == nil {
		return false, ctx.Err()
	}
	select {
	case <-done:
		return true, ctx.Err()
	case <-ctx.Done():
		return true, ctx.Err()
	case <-r.path.network.clock.ended:
		return true, net.ErrClosed
	}
}

// lookUp is what to wait for; nil while the cached entry lives.
func (r *Resolver) lookUp() <-chan struct{} {
	clock := r.path.network.clock
	r.mu.Lock()
	defer r.mu.Unlock()
	nowNs := clock.now()
	switch {
	case r.running != nil:
		return r.running
	case r.known && nowNs-r.knownNs < r.ttlNs:
		return nil
	}
	takesNs := r.path.drawLookup()
	done := make(chan struct{})
	r.running = done
	clock.schedule(&appointment{call: func(nowNs int64) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.known, r.knownNs, r.running = true, nowNs, nil
		close(done)
	}}, min(nowNs, math.MaxInt64-takesNs-1)+takesNs)
	return done
}

// drawLookup counts a look-up and draws how long it takes.
func (p *Path) drawLookup() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.truth.Lookups++
	takesNs := p.spec.DNS.At(chance(p.seed, streamLookup, uint64(p.truth.Lookups), 1))
	p.truth.LookupNs += takesNs
	return takesNs
}
