package udpsocket

import (
	"context"
	"net"
	"time"
)

const (
	// DrainQuiet is how long a socket must have been quiet before its reader
	// may believe that all is read.
	DrainQuiet = 50 * time.Millisecond
	// DrainMax is how long a reader goes on at most, however busy the socket is.
	DrainMax = 2 * time.Second
)

// Drain ends a loop of reads well: when its context has ended, the loop goes
// on until the socket is quiet. It is one goroutine's, the one that reads.
//
//	drain := udpsocket.NewDrain(ctx, conn)
//	defer drain.Stop()
//	for {
//		if err := drain.Await(time.Time{}); err != nil { … }
//		_, err := conn.Read(buffer)
//		if errors.Is(err, os.ErrDeadlineExceeded) && drain.Ending() { return nil }
//		…
//	}
type Drain struct {
	conn  *net.UDPConn
	ctx   context.Context
	woken chan struct{} // closed when the waiting read was ended
	stop  func() bool
	end   time.Time // zero until the loop knows that ctx has ended
}

// NewDrain watches ctx until Stop, and takes over the read deadline of conn.
func NewDrain(ctx context.Context, conn *net.UDPConn) *Drain {
	d := &Drain{conn: conn, ctx: ctx, woken: make(chan struct{})}
	d.stop = context.AfterFunc(ctx, func() {
		defer close(d.woken)
		_ = conn.SetReadDeadline(time.Unix(1, 0))
	})
	return d
}

// Stop frees what watches the context.
func (d *Drain) Stop() { d.stop() }

// Ending tells whether ctx has ended; then a read that meets its deadline was
// the last one.
func (d *Drain) Ending() bool { return !d.end.IsZero() }

// Await prepares the next read: it will wait until the time given (zero: for
// ever), but no longer than to ctx's end, and then no longer than DrainQuiet.
func (d *Drain) Await(until time.Time) error {
	for {
		if d.Ending() {
			until = time.Now().Add(DrainQuiet)
			if until.After(d.end) {
				until = d.end
			}
		}
		if err := d.conn.SetReadDeadline(until); err != nil {
			return err
		}
		// Asked after the deadline is set: what ends ctx from here on finds it
		// set and moves it.
		if d.Ending() || d.ctx.Err() == nil {
			return nil
		}
		<-d.woken
		d.end = time.Now().Add(DrainMax)
	}
}
