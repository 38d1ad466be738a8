package reports

import (
	"cmp"
	"fmt"
	"slices"
)

// Path is what became of the postbacks between edges and central. Counts are
// of a server's whole life, warm-up included.
type Path struct {
	// RecordsSent are the records that left the edges, repeats included; without
	// a UDP uplink only those that central confirmed. nil when a sender was
	// killed: its counts died with it.
	RecordsSent *int64 `json:"records_sent"`
	// RecordsCommitted are the records that central has committed, repeats
	// included: they survive its death.
	RecordsCommitted int64 `json:"records_committed"`
	// Acked is what the acks of central cost; nil without any.
	Acked *AckedPath `json:"acked"`
	// Datagrams sent, nil as RecordsSent and without a UDP uplink.
	Datagrams *int64 `json:"datagrams"`
	// RecordsExpired were gone from an edge's Redis before central confirmed
	// them; what central took and could not confirm any more is not lost.
	RecordsExpired int64 `json:"records_expired"`
	// DroppedAfterAnswer were answered and then met a full buffer.
	DroppedAfterAnswer int64 `json:"dropped_after_answer"`
	// KernelDrops are datagrams that met a full receive buffer at central, since
	// its last start.
	KernelDrops int64 `json:"kernel_drops"`
	// Refused are datagrams that were not authentic, or old.
	Refused int64 `json:"refused"`
	// Restarts of processes, all together.
	Restarts int64 `json:"restarts"`
	// AtLeast says that a process was started again: what it had counted of
	// RecordsExpired, DroppedAfterAnswer, KernelDrops and Refused died with it.
	AtLeast bool `json:"at_least"`
}

// AckedPath is an uplink that sends again what central has not acked. Counts
// are of the living senders: those of killed ones died with them.
type AckedPath struct {
	Records       int64   `json:"records"`        // acked
	RecordsResent int64   `json:"records_resent"` // further sendings of a record
	Bytes         int64   `json:"bytes"`          // sent, without UDP and IP headers
	BytesResent   int64   `json:"bytes_resent"`   // of records, that were sent again
	Probes        int64   `json:"probes"`         // datagrams without a record
	AckRTTUs      float64 `json:"ack_rtt_us"`     // from sending to its ack, smoothed, at the end; the largest of all senders; 0: not measured
}

// Unaccounted are the records that were sent in datagrams, never to be sent
// again, and not committed; nil when it is not known how many were sent.
func (p *Path) Unaccounted() *int64 {
	if p.RecordsSent == nil || p.Datagrams == nil || p.Acked != nil {
		return nil
	}
	n := *p.RecordsSent - p.RecordsCommitted
	return &n
}

// Netem is the relay's ground truth about the datagrams between edges and
// central.
type Netem struct {
	UDPSent        int64 `json:"udp_sent"` // by the edges, as the relay saw them
	Dropped        int64 `json:"dropped"`
	DroppedRecords int64 `json:"dropped_records"` // records in the dropped datagrams
	Duplicated     int64 `json:"duplicated"`
	Reordered      int64 `json:"reordered"`
	Corrupted      int64 `json:"corrupted"`
	// CorruptedRecords had no intact copy. SendFailed and KernelDrops are
	// datagrams that the relay itself lost: a run with any is not trusted.
	CorruptedRecords int64 `json:"corrupted_records"`
	SendFailed       int64 `json:"send_failed"`
	KernelDrops      int64 `json:"kernel_drops"`
}

// Fault is something that was done to the server on purpose.
type Fault struct {
	Do      string `json:"do"`      // "kill", "stop", "crash" or "slow"
	Process string `json:"process"` // "batcher/0"
	Point   string `json:"point,omitempty"`
	AtNs    int64  `json:"at_ns"` // since the start of the run; 0 for a crash point
	ForNs   int64  `json:"for_ns"`
	AddNs   int64  `json:"add_ns"` // how much later a slow server answered
}

// mergePath adds the rounds' counts; nil if no round has any.
func mergePath(runs []Variant) *Path {
	runs = slices.DeleteFunc(slices.Clone(runs), func(v Variant) bool { return v.Path == nil })
	if len(runs) == 0 {
		return nil
	}
	merged := &Path{
		RecordsSent: sumKnown(runs, func(v Variant) *int64 { return v.Path.RecordsSent }),
		Datagrams:   sumKnown(runs, func(v Variant) *int64 { return v.Path.Datagrams }),
	}
	for _, v := range runs {
		merged.RecordsCommitted += v.Path.RecordsCommitted
		merged.Acked = mergeAcked(merged.Acked, v.Path.Acked)
		merged.RecordsExpired += v.Path.RecordsExpired
		merged.DroppedAfterAnswer += v.Path.DroppedAfterAnswer
		merged.KernelDrops += v.Path.KernelDrops
		merged.Refused += v.Path.Refused
		merged.Restarts += v.Path.Restarts
		merged.AtLeast = merged.AtLeast || v.Path.AtLeast
	}
	return merged
}

func mergeAcked(sum, more *AckedPath) *AckedPath {
	if sum == nil || more == nil {
		return cmp.Or(sum, more)
	}
	return &AckedPath{
		Records: sum.Records + more.Records, RecordsResent: sum.RecordsResent + more.RecordsResent,
		Bytes: sum.Bytes + more.Bytes, BytesResent: sum.BytesResent + more.BytesResent, Probes: sum.Probes + more.Probes,
		AckRTTUs: max(sum.AckRTTUs, more.AckRTTUs),
	}
}

func mergeNetem(runs []Variant) *Netem {
	var merged *Netem
	for _, v := range runs {
		if v.Netem == nil {
			continue
		}
		if merged == nil {
			merged = &Netem{}
		}
		merged.UDPSent += v.Netem.UDPSent
		merged.Dropped += v.Netem.Dropped
		merged.DroppedRecords += v.Netem.DroppedRecords
		merged.Duplicated += v.Netem.Duplicated
		merged.Reordered += v.Netem.Reordered
		merged.Corrupted += v.Netem.Corrupted
		merged.CorruptedRecords += v.Netem.CorruptedRecords
		merged.SendFailed += v.Netem.SendFailed
		merged.KernelDrops += v.Netem.KernelDrops
	}
	return merged
}

// pathSection tells where between edge and central postbacks went.
func pathSection(v *Variant) string {
	text := ""
	line := func(format string, args ...any) { text += wrap(fmt.Sprintf(format, args...), indent, 2*indent) }
	if p := v.Path; p != nil {
		sent := "an unknown number of records sent (a sender was killed)"
		switch {
		case p.RecordsSent != nil && p.Datagrams != nil:
			sent = fmt.Sprintf("%d records sent in %d datagrams", *p.RecordsSent, *p.Datagrams)
		case p.RecordsSent != nil:
			sent = fmt.Sprintf("%d records handed over and confirmed", *p.RecordsSent)
		}
		lost := ""
		if n := p.Unaccounted(); n != nil {
			lost = fmt.Sprintf("; %d sent and not committed", *n)
		}
		line("%s, %d committed by central%s", sent, p.RecordsCommitted, lost)
		if p.Acked != nil {
			line("%s", p.Acked.text())
		}
		for _, count := range []struct {
			n    int64
			what string
		}{
			{p.RecordsExpired, "records that central's outage outlived (their keys in the edge's Redis expired before central confirmed them)"},
			{p.DroppedAfterAnswer, "postbacks answered and then dropped, the buffer being full"},
			{p.KernelDrops, "datagrams dropped by the kernel, central's receive buffer being full"},
			{p.Refused, "datagrams refused, not authentic or too old"},
			{p.Restarts, "processes started again"},
		} {
			if count.n > 0 {
				line("%s: %d", count.what, count.n)
			}
		}
		if p.AtLeast {
			line("a process was started again and took its own counts along: expired, dropped and refused are at least what is printed")
		}
	}
	if n := v.Netem; n != nil {
		line("relay: %d datagrams, %d dropped (%d records), %d duplicated, %d reordered, %d corrupted (%d records)",
			n.UDPSent, n.Dropped, n.DroppedRecords, n.Duplicated, n.Reordered, n.Corrupted, n.CorruptedRecords)
	}
	for _, f := range v.Faults {
		line("%s", f.text())
	}
	if text == "" {
		return ""
	}
	if v.Path == nil && v.Netem == nil {
		return "done on purpose\n" + text
	}
	return "path from the edges to central\n" + text
}

// text is what losing nothing costs in bandwidth and delay.
func (a *AckedPath) text() string {
	text := fmt.Sprintf("acked by central: %d records; %d sent again", a.Records, a.RecordsResent)
	if a.Records > 0 {
		text += fmt.Sprintf(" (%s)", percent(float64(a.RecordsResent)/float64(a.Records)))
	}
	if a.Bytes > 0 && a.Records > 0 {
		text += fmt.Sprintf(", %d bytes sent for a record, %s of all bytes for the second time or later",
			a.Bytes/a.Records, percent(float64(a.BytesResent)/float64(a.Bytes)))
	}
	if a.AckRTTUs > 0 {
		text += ", an ack after " + duration(a.AckRTTUs)
	}
	return text
}

func (f *Fault) text() string {
	switch {
	case f.Do == "crash":
		return fmt.Sprintf("fault: %s killed itself at %s", f.Process, f.Point)
	case f.Do == "kill" && f.ForNs == 0:
		return fmt.Sprintf("fault: %s killed at %s", f.Process, duration(float64(f.AtNs)/1e3))
	case f.Do == "kill":
		return fmt.Sprintf("fault: %s killed at %s and held down for %s", f.Process, duration(float64(f.AtNs)/1e3), duration(float64(f.ForNs)/1e3))
	}
	if f.Do == "slow" {
		return fmt.Sprintf("fault: %s answered %s later from %s on, for %s", f.Process, duration(float64(f.AddNs)/1e3), duration(float64(f.AtNs)/1e3), duration(float64(f.ForNs)/1e3))
	}
	return fmt.Sprintf("fault: %s stopped at %s for %s", f.Process, duration(float64(f.AtNs)/1e3), duration(float64(f.ForNs)/1e3))
}
