package netem

// receiver is when a flow's receiver acknowledges: Linux's quick and delayed
// acknowledgements. They never delay data, but they are what the sender
// measures the round trip by.
type receiver struct {
	settled int   // segments[:settled] are acknowledged, or wait for it
	waiting int   // of those, so many wait
	sinceNs int64 // the first of the waiting came
	bytes   int   // in the waiting

	started     bool
	quick       int  // so many more are acknowledged at once
	interactive bool // the application answers what it reads ("pingpong")
	lastNs      int64
	mss         int // the largest segment so far
}

// settle decides on the acknowledgements of everything that came until nowNs,
// provided that the receiver's application sent nothing since the last call.
func (r *receiver) settle(f *flow, nowNs int64) {
	for r.settled < f.inOrder && f.segments[r.settled].reachNs <= nowNs {
		s := &f.segments[r.settled]
		r.expire(f, s.reachNs)
		r.settled++
		if s.early { // acknowledged when it arrived
			continue
		}
		fills := r.settled < f.inOrder && f.segments[r.settled].early
		r.take(f, s, fills)
	}
	r.expire(f, nowNs)
}

func (r *receiver) take(f *flow, s *segment, fillsHole bool) {
	if !r.started || s.reachNs-r.lastNs > f.rtt.rtoNs(0) {
		r.started, r.quick = true, quickAcks
	}
	r.lastNs = s.reachNs
	r.mss = max(r.mss, s.bytes)
	if r.waiting == 0 {
		r.sinceNs, r.bytes = s.reachNs, 0
	}
	r.waiting++
	r.bytes += s.bytes
	if fillsHole || s.bytes == 0 || r.bytes > r.mss || r.quick > 0 && !r.interactive {
		r.acknowledge(f, s.reachNs)
	}
}

// expire sends the delayed acknowledgement that is due until nowNs. Whoever
// needs it is not interactive after all.
func (r *receiver) expire(f *flow, nowNs int64) {
	if r.waiting == 0 {
		return
	}
	if at := expiry(r.sinceNs, delayedAckNs); at <= nowNs {
		r.acknowledge(f, at)
		r.interactive = false
	}
}

// reply is what the receiver's application does when it sends something.
func (r *receiver) reply(f *flow, nowNs int64) {
	f.step(nowNs)
	if r.waiting > 0 {
		r.acknowledge(f, nowNs)
	}
	if r.started && nowNs-r.lastNs < delayedAckNs {
		r.interactive = true
	}
}

func (r *receiver) acknowledge(f *flow, nowNs int64) {
	for i := r.settled - 1; r.waiting > 0 && i >= 0; i-- {
		if s := &f.segments[i]; s.ackNs == neverNs {
			s.ackNs = nowNs + s.ackDelayNs
			r.waiting--
		}
	}
	if r.waiting > 0 {
		panic("BUG: netem: an acknowledgement is owed to a segment that is gone")
	}
	r.quick = max(0, r.quick-1)
}

func (r *receiver) forget(n int) { r.settled -= n }

// deadline is when settle has something to do.
func (r *receiver) deadline(f *flow) int64 {
	ns := int64(neverNs)
	if r.waiting > 0 {
		ns = expiry(r.sinceNs, delayedAckNs)
	}
	if r.settled < f.inOrder {
		ns = min(ns, f.segments[r.settled].reachNs)
	}
	return ns
}
