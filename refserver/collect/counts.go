package collect

import (
	"sync/atomic"

	"github.com/postbench/postbench/refserver/datagram"
	"github.com/postbench/postbench/refserver/decide"
	"github.com/postbench/postbench/refserver/store"
)

// Counts is what the collector took in since its start. Datagrams is the sum
// of those opened and of Refused's datagram reasons.
type Counts struct {
	Datagrams  int64            `json:"datagrams"`   // read from the socket
	Records    int64            `json:"records"`     // in authentic datagrams, bad ones included
	Refused    map[string]int64 `json:"refused"`     // datagrams, and ingests ("ingest_…"), by reason
	BadRecords int64            `json:"bad_records"` // frames whose bytes are no record, ingested ones included
	// KernelDrops is what the kernel threw away at the socket, in datagrams;
	// udpsocket.UnknownDrops if this system does not tell.
	KernelDrops        int64 `json:"kernel_drops"`
	Committed          int64 `json:"committed"`  // records in synced commits, repetitions included
	Duplicates         int64 `json:"duplicates"` // of those: known already, nothing written
	Conflicts          int64 `json:"conflicts"`  // of those: known with another payload
	Ingested           int64 `json:"ingested"`   // of those: through Ingest
	AcksSent           int64 `json:"acks_sent"`  // that the kernel took
	AckErrors          int64 `json:"ack_errors"` // that it did not take
	ReceiveBufferBytes int64 `json:"receive_buffer_bytes"`
}

type counters struct {
	datagrams, records, bad          atomic.Int64
	committed, duplicates, conflicts atomic.Int64
	ingested, pending                atomic.Int64
	acks, ackErrors                  atomic.Int64
	ingestRefused                    [ingestReasons]atomic.Int64
}

// settle counts what a synced commit did.
func (c *counters) settle(outcomes []store.Outcome) {
	var duplicates, conflicts int64
	for i := range outcomes {
		switch outcomes[i].Verdict {
		case decide.Duplicate:
			duplicates++
		case decide.Conflict:
			conflicts++
		}
	}
	c.duplicates.Add(duplicates)
	c.conflicts.Add(conflicts)
	c.committed.Add(int64(len(outcomes)))
}

// Counts reads the counters; they are not one instant's.
func (c *Collector) Counts() Counts {
	c.mu.Lock()
	received := c.receiver.Counts()
	c.mu.Unlock()
	refused := refusedDatagrams(received)
	for reason := range c.counts.ingestRefused {
		refused[ingestReason(reason).String()] = c.counts.ingestRefused[reason].Load()
	}
	return Counts{
		Datagrams: c.counts.datagrams.Load(), Records: c.counts.records.Load(),
		Refused: refused, BadRecords: c.counts.bad.Load(), KernelDrops: c.drops.Load(),
		Committed: c.counts.committed.Load(), Duplicates: c.counts.duplicates.Load(),
		Conflicts: c.counts.conflicts.Load(), Ingested: c.counts.ingested.Load(),
		AcksSent: c.counts.acks.Load(), AckErrors: c.counts.ackErrors.Load(),
		ReceiveBufferBytes: int64(c.receiveBufferBytes),
	}
}

// Backlog is the number of records that were read and are not yet committed.
func (c *Collector) Backlog() int64 { return c.counts.pending.Load() }

// refusedDatagrams names the reasons as datagram's FORMAT.md does.
func refusedDatagrams(c datagram.Counts) map[string]int64 {
	return map[string]int64{
		"short": c.Short, "long": c.Long, "magic": c.Magic, "version": c.Version, "flags": c.Flags,
		"unknown_edge": c.UnknownEdge, "old_boot": c.OldBoot, "forged": c.Forged,
		"replay": c.Replay, "behind_window": c.BehindWindow, "bad_body": c.BadBody,
	}
}
