package edge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// Limits of both fronts.
const (
	readLimit  = 2 * time.Second // a whole request, but for the bodies that Config.Admin takes
	writeLimit = 10 * time.Second
	idleLimit  = 60 * time.Second

	// adminLimit bounds a request that is with Config.Admin, adminIOLimit each
	// of its reads and writes.
	adminLimit   = 15 * time.Minute
	adminIOLimit = 10 * time.Second

	// drainLimit is how long the end waits for requests in work, and giveUpLimit
	// how long for the records of those that it cuts off.
	drainLimit  = 5 * time.Second
	giveUpLimit = time.Second
	drainPoll   = time.Millisecond
)

// ErrStillInWork is wrapped by Serve's error when postbacks could not be
// finished: the buffer did not take their records in time.
var ErrStillInWork = errors.New("postbacks still in work")

// front is an HTTP library. Serve blocks until the listener is closed.
// Shutdown, after that, lets the requests in work come to their end and closes
// all connections; its error means that it has left some to be closed.
type front interface {
	Serve(net.Listener) error
	Shutdown(context.Context) error
}

// Serve answers what comes in from inner until ctx ends, and closes inner. At
// the end it finishes the requests in work and puts every pending record
// before it returns. It may be called once.
func (e *Edge) Serve(ctx context.Context, inner net.Listener) error {
	defer e.giveUp()
	l := newListener(inner, e)
	var f front = newPlain(e)
	if e.config.Front == FrontZerocopy {
		f = newZerocopy(e)
	}
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	err := f.Serve(l)
	if ctx.Err() != nil {
		err = nil // told to stop
	}
	_ = l.Close()
	if drainErr := e.drain(ctx, f, l); drainErr != nil {
		return fmt.Errorf("edge: serve: %w", cmp.Or(err, drainErr))
	}
	if err != nil {
		return fmt.Errorf("edge: serve: %w", err)
	}
	return nil
}

// drain ends what is in work: first in peace, then by force.
func (e *Edge) drain(ctx context.Context, f front, l *listener) error {
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainLimit)
	defer cancel()
	err := f.Shutdown(drain)
	if err == nil && e.idle(drain) {
		return nil
	}
	e.giveUp()
	cut := l.closeAll()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveUpLimit)
	defer cancel()
	if !e.idle(last) {
		return fmt.Errorf("%d %w after %s: the buffer does not answer", e.inFlight.InWork(), ErrStillInWork, drainLimit)
	}
	e.config.Log.Warn("requests were cut off at the end", "connections", cut, "after", drainLimit)
	return nil
}

// idle waits until no postback is in work; false means that ctx ended first.
func (e *Edge) idle(ctx context.Context) bool {
	ticker := time.NewTicker(drainPoll)
	defer ticker.Stop()
	for e.inFlight.InWork() > 0 {
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
	return true
}
