package acked

import "time"

const (
	// MinTimeoutNs is the shortest time after which a datagram that was not
	// acked counts as lost: two ticks of the batcher.
	MinTimeoutNs = int64(20 * time.Millisecond)
	// MaxTimeoutNs is the longest, also between two probes.
	MaxTimeoutNs = int64(time.Second)
	// InitialTimeoutNs holds until the first ack has shown how long one takes.
	InitialTimeoutNs = int64(200 * time.Millisecond)

	// grainNs is how much later than necessary a sender that ticks every 10 ms
	// may look at its acks.
	grainNs = int64(10 * time.Millisecond)
)

// timing estimates how long an ack takes: RFC 6298 with samples that are never
// ambiguous, because no number is sent twice.
type timing struct {
	smoothedNs  int64 // 0 before the first sample
	deviationNs int64
	backoff     uint  // doublings of the timeout
	sinceNs     int64 // of the last progress, or of the sending that waits for it
}

func (t *timing) sample(ns int64) {
	ns = min(max(ns, 1), MaxTimeoutNs)
	if t.smoothedNs == 0 {
		t.smoothedNs, t.deviationNs = ns, ns/2
		return
	}
	off := t.smoothedNs - ns
	t.deviationNs += (max(off, -off) - t.deviationNs) / 4
	t.smoothedNs = max(1, t.smoothedNs-off/8)
}

// timeoutNs is how long to wait for an ack.
func (t *timing) timeoutNs() int64 {
	ns := InitialTimeoutNs
	if t.smoothedNs > 0 {
		ns = max(MinTimeoutNs, t.smoothedNs+max(4*t.deviationNs, grainNs))
	}
	for range t.backoff {
		ns = min(2*ns, MaxTimeoutNs)
	}
	return min(ns, MaxTimeoutNs)
}

// progress says that something new was acked.
func (t *timing) progress(nowNs int64) { t.backoff, t.sinceNs = 0, nowNs }

// begin says that something is under way again, after nothing was.
func (t *timing) begin(nowNs int64) { t.sinceNs = nowNs }

// silence says that something was not acked in time. If nothing else was
// either, the wait gets longer.
func (t *timing) silence(nowNs int64) {
	if timeout := t.timeoutNs(); nowNs-t.sinceNs >= timeout {
		t.sinceNs = nowNs
		if timeout < MaxTimeoutNs {
			t.backoff++
		}
	}
}
