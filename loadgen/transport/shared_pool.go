package transport

import (
	"context"
	"net"
	"slices"
	"sync"
)

// carrier is a connection that carries several requests at once. A carrier
// that is not alive is closed and never asked again.
type carrier interface {
	// reserve takes a place for one request, if there is one.
	reserve() (ok, alive bool)
	close()
}

// pool shares carriers among the senders of a partner: whoever needs a place
// gets one on a carrier that is open, in the order of asking; when none has
// room, one of those who wait opens another. There are never more carriers
// than senders, because each has a request on it or is used before another one
// is opened.
type pool[C carrier] struct {
	// open connects; the opener's place on the carrier is already taken.
	open func(ctx context.Context, phases *Phases) (C, error)

	mu       sync.Mutex
	carriers []C
	waiting  []*turn[C] // first come first; at most one for each sender
	opening  bool       // by one of those who were waiting
	senders  int
}

// turn is what somebody who waits for a place gets: the place, the task to
// open a carrier, or an error.
type turn[C carrier] struct {
	come  chan struct{} // closed when the fields below are set
	place C
	open  bool
	err   error
}

func (p *pool[C]) join() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.senders++
}

// leave counts a sender out and closes the carriers after the last one.
func (p *pool[C]) leave() {
	p.mu.Lock()
	p.senders--
	var left []C
	if p.senders == 0 {
		left, p.carriers = p.carriers, nil
	}
	p.mu.Unlock()
	for _, c := range left {
		c.close()
	}
}

// acquire returns a carrier with a place taken on it, which the carrier frees
// by itself, and tells freed, when the request ends.
func (p *pool[C]) acquire(ctx context.Context, phases *Phases) (C, error) {
	place, t := p.ask()
	if t == nil {
		return place, nil
	}
	select {
	case <-t.come:
	case <-ctx.Done():
		if p.giveUp(t) {
			return place, fail(ClassConnect, context.Cause(ctx))
		}
		// Its turn has just come. Whatever that is ends at once with ctx.
	}
	if t.open {
		return p.add(ctx, phases)
	}
	return t.place, t.err
}

// ask returns a place, or the turn to wait for.
func (p *pool[C]) ask() (place C, t *turn[C]) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) == 0 {
		if c, ok := p.reserve(); ok {
			return c, nil
		}
	}
	t = &turn[C]{come: make(chan struct{})}
	p.waiting = append(p.waiting, t)
	p.serve()
	return place, t
}

// giveUp reports whether t was still waiting.
func (p *pool[C]) giveUp(t *turn[C]) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := slices.Index(p.waiting, t)
	if at < 0 {
		return false
	}
	p.waiting = slices.Delete(p.waiting, at, at+1)
	return true
}

// freed hands out places that have become free.
func (p *pool[C]) freed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.serve()
}

// serve gives places to those who wait, and to the first one without a place
// the task to open a carrier. p.mu is held.
func (p *pool[C]) serve() {
	for len(p.waiting) > 0 {
		t := p.waiting[0]
		place, ok := p.reserve()
		switch {
		case ok:
			t.place = place
		case !p.opening:
			t.open, p.opening = true, true
		default:
			return
		}
		p.waiting = slices.Delete(p.waiting, 0, 1)
		close(t.come)
	}
}

// reserve takes a place on a carrier that is open. p.mu is held.
func (p *pool[C]) reserve() (place C, ok bool) {
	for i := 0; i < len(p.carriers); {
		c := p.carriers[i]
		room, alive := c.reserve()
		switch {
		case room:
			return c, true
		case alive:
			i++
		default:
			p.carriers = slices.Delete(p.carriers, i, i+1)
			go c.close() // takes a moment, which nobody here has to wait for
		}
	}
	return place, false
}

// add opens a carrier for its caller, and for those who wait. Those fail with
// an opening that the server failed, as connections of their own would have;
// when only the opener ran out of time the next one opens.
func (p *pool[C]) add(ctx context.Context, phases *Phases) (C, error) {
	c, err := p.open(ctx, phases)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opening = false
	switch {
	case err == nil && p.senders == 0:
		go c.close()
		return c, fail(ClassCanceled, net.ErrClosed)
	case err == nil:
		p.carriers = append(p.carriers, c)
	case ctx.Err() == nil && ClassOf(err) != ClassTimeout:
		for _, t := range p.waiting {
			t.err = err
			close(t.come)
		}
		p.waiting = nil
	}
	p.serve()
	return c, err
}
