package collect

import (
	"context"
)

// CommitRecords commits records that came in some other way than by datagrams:
// they are synced when it returns nil, and may come again. What is none is
// counted and left out. It keeps nothing of them.
func (c *Collector) CommitRecords(ctx context.Context, records [][]byte) error {
	b := new(batch)
	var bad int64
	var reason error
	for _, record := range records {
		if err := b.add(record); err != nil {
			bad, reason = bad+1, err
		}
	}
	c.countBad(bad, reason)
	if len(b.conversions) == 0 {
		return nil
	}
	return c.commitIngested(ctx, b)
}

// commitIngested commits a batch that brings no boots, so writes no states.
func (c *Collector) commitIngested(ctx context.Context, b *batch) error {
	n := int64(len(b.conversions))
	c.counts.pending.Add(n)
	if err := c.commit(ctx, b, newLane(0)); err != nil {
		c.counts.pending.Add(-n) // the sender's again
		return err
	}
	c.counts.ingested.Add(n)
	return nil
}
