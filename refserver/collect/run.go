package collect

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/postbench/postbench/internal/udpsocket"
	"github.com/postbench/postbench/refserver/accept"
	"github.com/postbench/postbench/refserver/cost"
	"github.com/postbench/postbench/refserver/datagram"
)

// bufferBytes is longer than any datagram of ours, so that a longer one is
// seen to be too long.
const bufferBytes = 2048

// Run collects until ctx ends, then reads on until the socket is quiet
// (udpsocket.DrainQuiet, at most DrainMax), commits what it has, and closes
// the socket. A store that refuses a commit ends it at once with an error;
// what was read by then and not committed is lost, and Backlog tells how much.
func (c *Collector) Run(ctx context.Context) error {
	defer func() {
		c.drops.Load() // the last word before the socket is gone
		_ = c.Close()
	}()
	acking := make(chan struct{})
	var acks sync.WaitGroup
	acks.Go(func() { c.acks.run(acking) })
	defer func() { // after the last commit
		close(acking)
		acks.Wait()
	}()
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	p := newPipeline(c, stopReading)
	err := c.read(reading, p)
	if failure := p.finish(); failure != nil {
		return fmt.Errorf("collect from UDP %s: %w; what was read and not committed is lost, mend the store and start again",
			c.UDPAddr(), failure)
	}
	return err
}

// read takes datagrams off the socket and hands them on in batches: what is
// there at once, at most maxDatagrams.
func (c *Collector) read(ctx context.Context, p *pipeline) error {
	drain := udpsocket.NewDrain(ctx, c.conn)
	defer drain.Stop()
	messages := make([]ipv4.Message, maxDatagrams)
	for i := range messages {
		messages[i].Buffers = [][]byte{make([]byte, bufferBytes)}
	}
	for p.broken.Err() == nil {
		b := p.emptyBatch()
		if b == nil {
			return nil
		}
		if err := drain.Await(time.Time{}); err != nil {
			return fmt.Errorf("collect from UDP %s: %w", c.UDPAddr(), err)
		}
		n, err := c.packets.ReadBatch(messages, 0)
		switch {
		case err == nil:
			p.submit(c.open(b, messages[:n]))
			continue
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("collect from UDP %s: %w", c.UDPAddr(), err)
		}
		p.submit(b)
		if drain.Ending() {
			return nil
		}
	}
	return nil
}

// open fills the batch with the records of the datagrams that are authentic
// and new.
func (c *Collector) open(b *batch, messages []ipv4.Message) *batch {
	nowNs := c.config.Now().UnixNano()
	var bad int64
	var reason error
	c.mu.Lock()
	for i := range messages {
		opened, err := c.receiver.Step(nowNs, messages[i].Buffers[0][:messages[i].N])
		if err != nil { // counted by the receiver
			c.acks.replayed(&opened)
			continue
		}
		b.tickets = c.acks.opened(b.tickets, &opened, &messages[i])
		c.counts.records.Add(int64(opened.Count))
		for frames := datagram.Frames(opened.Body); frames.Next(); {
			if err := b.add(frames.Record()); err != nil {
				bad, reason = bad+1, err
			}
		}
	}
	if len(b.conversions) > 0 {
		b.boots = c.receiver.States()
	}
	c.mu.Unlock()
	c.counts.datagrams.Add(int64(len(messages)))
	c.countBad(bad, reason)
	c.counts.pending.Add(int64(len(b.conversions)))
	return b
}

// countBad counts records that are none. They come from the holder of a key:
// an edge of another version, or a bug. The doubling keeps the log short.
func (c *Collector) countBad(bad int64, reason error) {
	if bad == 0 {
		return
	}
	if n := c.counts.bad.Add(bad); n&(n-1) == 0 || n == bad {
		c.config.Log.Error("authentic bytes are no record", "bad_records", n, "error", reason)
	}
}

// commit is synced when it returns nil. ctx bounds the wait for central's stage.
func (c *Collector) commit(ctx context.Context, b *batch, l *lane) error {
	leave, err := accept.Enter(ctx, c.config.Costs, cost.StageCentral, nil)
	defer leave()
	if err != nil {
		return fmt.Errorf("commit %d records: %w", len(b.conversions), err)
	}
	outcomes := b.results()
	if err := c.config.Store.CommitBatch(b.conversions, l.encode(b.boots), outcomes); err != nil {
		return fmt.Errorf("commit %d records: %w", len(b.conversions), err)
	}
	c.counts.settle(outcomes)
	c.counts.pending.Add(-int64(len(b.conversions)))
	return nil
}

// pipeline commits batches while the next ones are read. There are as many
// batches as it has room for, and no more.
type pipeline struct {
	collector *Collector
	free      chan *batch
	full      chan *batch
	lanes     sync.WaitGroup
	broken    context.Context // ends with a failed commit
	fail      context.CancelCauseFunc
}

// newPipeline starts the lanes. stopReading is called when a commit fails.
func newPipeline(c *Collector, stopReading func()) *pipeline {
	p := &pipeline{
		collector: c,
		free:      make(chan *batch, commitLanes+maxQueued+1), // one is the reader's
		full:      make(chan *batch, maxQueued),
	}
	p.broken, p.fail = context.WithCancelCause(context.Background())
	for range cap(p.free) {
		p.free <- newBatch()
	}
	for number := range commitLanes {
		p.lanes.Go(func() {
			if err := p.run(newLane(number)); err != nil {
				p.fail(err)
				stopReading()
			}
		})
	}
	return p
}

func (p *pipeline) run(l *lane) error {
	for b := range p.full {
		if err := p.collector.commit(context.Background(), b, l); err != nil {
			return err
		}
		p.collector.acks.committed(b.tickets)
		b.reset()
		p.free <- b
	}
	return nil
}

// emptyBatch waits for one; nil when there will be none, because the lanes are
// broken.
func (p *pipeline) emptyBatch() *batch {
	select {
	case b := <-p.free:
		return b
	case <-p.broken.Done():
		return nil
	}
}

// submit takes the batch back, to be committed if there is anything in it. It
// waits while the queue is full; a broken pipeline drops the batch, which
// stays in the backlog.
func (p *pipeline) submit(b *batch) {
	if len(b.conversions) == 0 {
		p.collector.acks.committed(b.tickets) // probes: there is nothing to wait for
		b.reset()
		p.free <- b
		return
	}
	select {
	case p.full <- b:
	case <-p.broken.Done():
	}
}

// finish commits what was submitted and returns the first failure.
func (p *pipeline) finish() error {
	close(p.full)
	p.lanes.Wait()
	defer p.fail(nil)
	return context.Cause(p.broken)
}
