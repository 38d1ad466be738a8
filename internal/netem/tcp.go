package netem

// carrier takes a flow's segments over a path.
type carrier interface {
	// transmit sets the segment's sentNs, ackDelayNs and arriveNs, neverNs if it is lost.
	transmit(nowNs int64, s *segment, why cause)
}

// recovery is how far a sender has got with a loss: Linux's states.
type recovery int

const (
	open     recovery = iota // of no loss it knows
	fast                     // retransmits what later segments overtook
	timedOut                 // begins again after a timeout
)

// timer is what a flow's one timer is set for.
type timer int

const (
	noTimer timer = iota
	probeTimer
	timeoutTimer
	reorderTimer
)

// flow is one direction of a connection: its sender, its receiver and what
// lies between them. It is a state machine without a clock, goroutines or
// bytes: it knows only how many.
//
// It decides when every segment reaches the receiver, in order. What is lost
// is sent again when Linux would do it: after the retransmission timeout (RFC
// 6298 with 200 ms at least, doubled each time), by a tail loss probe or as
// soon as the acknowledgements of later segments say so (RACK-TLP, RFC 8985).
// Only losses that delay something are played out: acknowledgements are never
// lost, and no timer expires for what arrived. The congestion window opens as in slow start, and no loss closes it:
// the flights of postbacks are shorter than the first one.
type flow struct {
	carrier  carrier
	segments []segment // not yet both heard of and taken, in order of sending
	next     int64     // serial of the segment to be sent next
	waiting  []int     // payloads of the segments that the window keeps back
	window   int       // segments that may be unheard of
	unheard  int       // segments that are

	inOrder int   // segments[:inOrder] have their reachNs
	taken   int   // segments[:taken] are delivered
	sentNs  int64 // when the newest was sent
	lastNs  int64 // the latest arrival; the path keeps order
	lost    int   // segments whose transmissions so far were all lost

	rtt         estimator
	state       recovery
	probed      bool // a tail loss probe is on its way
	backoff     int
	timer       timer
	timerNs     int64
	rackSentNs  int64 // when the newest segment that is known to have arrived was sent
	rackSerial  int64 // which one
	rackRTTNs   int64
	rackArrived int // segments known to have arrived before one that was sent before them

	receiver receiver
}

// newFlow makes one whose sender took rttNs for the handshake, with its first
// congestion window in segments.
func newFlow(c carrier, rttNs int64, window int) flow {
	f := flow{carrier: c, window: window, receiver: receiver{mss: firstMSSBytes}}
	f.rtt.sample(rttNs, 0, 0)
	return f
}

// send puts bytes on their way at nowNs, as many segments as it takes; 0 bytes
// are a FIN.
func (f *flow) send(nowNs int64, bytes int) {
	f.step(nowNs)
	if f.unheard == 0 && nowNs-f.sentNs > f.rtt.rtoNs(0) { // slow start after idle
		f.window = min(f.window, initialWindow)
	}
	for first := true; bytes > 0 || first; first = false {
		size := min(bytes, mssBytes)
		bytes -= size
		f.waiting = append(f.waiting, size)
	}
	f.fill(nowNs)
}

// fill sends what the window allows.
func (f *flow) fill(nowNs int64) {
	n := min(len(f.waiting), f.window-f.unheard)
	if n <= 0 {
		return
	}
	for _, size := range f.waiting[:n] {
		f.segments = append(f.segments, segment{serial: f.next, bytes: size, reachNs: neverNs, ackNs: neverNs})
		f.next++
		f.unheard++
		f.transmit(nowNs, len(f.segments)-1, causeFirst)
	}
	f.waiting = append(f.waiting[:0], f.waiting[n:]...)
	f.sentNs = nowNs
	if f.state == open && !f.probed {
		f.setProbe(nowNs, false)
	}
}

// transmit sends segments[i] and learns when it arrives.
func (f *flow) transmit(nowNs int64, i int, why cause) {
	s := &f.segments[i]
	wasLost := s.attempts > 0
	f.carrier.transmit(nowNs, s, why)
	switch {
	case s.arriveNs == neverNs && !wasLost:
		f.lost++
	case s.arriveNs != neverNs && wasLost:
		f.lost--
	}
	if s.arriveNs == neverNs {
		return
	}
	s.arriveNs = max(s.arriveNs, f.lastNs)
	f.lastNs = s.arriveNs
	if i > f.inOrder { // one before it is missing: it is acknowledged at once, and kept
		s.early, s.ackNs = true, s.arriveNs+s.ackDelayNs
		return
	}
	for f.inOrder < len(f.segments) && f.segments[f.inOrder].arriveNs != neverNs {
		f.segments[f.inOrder].reachNs = s.arriveNs // the latest of all so far
		f.inOrder++
	}
}

// setProbe arms the timer of a sender that knows of no loss, after it sent
// something or heard of something.
func (f *flow) setProbe(nowNs int64, heard bool) {
	head := f.head()
	if head == nil {
		f.timer = noTimer
		return
	}
	timeout := f.rtt.rtoNs(f.backoff)
	if !heard {
		timeout = max(head.sentNs+timeout-nowNs, 1)
	}
	f.set(nowNs, probeTimer, min(timeout, f.rtt.probeNs(f.unheard)))
}

func (f *flow) set(nowNs int64, t timer, timeoutNs int64) {
	f.timer, f.timerNs = t, expiry(nowNs, timeoutNs)
}

// head is the first segment that the sender has not heard of; nil without one.
func (f *flow) head() *segment {
	for i := range f.segments {
		if !f.segments[i].heard {
			return &f.segments[i]
		}
	}
	return nil
}

// step plays everything until nowNs.
func (f *flow) step(nowNs int64) {
	f.receiver.settle(f, nowNs)
	for {
		i, ns := f.nextHeard()
		switch {
		case f.lost > 0 && f.timer != noTimer && f.timerNs < ns && f.timerNs <= nowNs:
			f.expire()
		case i >= 0 && ns <= nowNs:
			f.hear(i)
		default:
			f.forget()
			return
		}
		f.receiver.settle(f, nowNs)
	}
}

// nextHeard is the segment that the sender hears of next; -1 if none is known.
func (f *flow) nextHeard() (index int, ns int64) {
	index, ns = -1, neverNs
	for i := range f.segments {
		s := &f.segments[i]
		if !s.heard && s.ackNs < ns {
			index, ns = i, s.ackNs
		}
		if f.lost == 0 && !s.heard {
			break // without a loss they are heard of in order
		}
	}
	return index, ns
}

// hear takes in that segments[i] has arrived.
func (f *flow) hear(i int) {
	s := &f.segments[i]
	nowNs := s.ackNs
	advances := f.head() == s
	if f.window < 2*f.unheard { // not by a sender who does not use it
		f.window++
	}
	s.heard = true
	f.unheard--
	f.rtt.sample(nowNs-s.sentNs, s.serial, f.next)
	if !f.sentBefore(s) {
		f.rackSentNs, f.rackSerial, f.rackRTTNs = s.sentNs, s.serial, nowNs-s.sentNs
	}
	if s.attempts > 1 {
		f.probed = false
	}
	if advances {
		f.backoff, f.rackArrived = 0, 0
	} else {
		f.rackArrived++
	}
	f.recover(nowNs, advances)
	f.fill(nowNs)
}

// recover goes on after news of an arrival.
func (f *flow) recover(nowNs int64, advances bool) {
	if f.lost == 0 {
		f.state, f.timer, f.probed = open, noTimer, false
		return
	}
	if advances {
		f.rearm(nowNs)
	}
	if f.state == timedOut {
		f.resend(nowNs, causeFollowing, func(*segment) bool { return true })
		return
	}
	f.detect(nowNs)
}

// rearm restarts the timer after an acknowledgement of what was missed most.
func (f *flow) rearm(nowNs int64) {
	if f.state == open && !f.probed {
		f.setProbe(nowNs, true)
		return
	}
	f.set(nowNs, timeoutTimer, f.rtt.rtoNs(f.backoff))
}

// detect is RACK: what was sent before a segment that has arrived is lost once
// a round trip and the time allowed for reordering have passed.
func (f *flow) detect(nowNs int64) {
	window := min(f.rtt.minNs/4, f.rtt.smoothedNs())
	if f.state != open || f.rackArrived >= duplicateThreshold {
		window = 0
	}
	wait := int64(0)
	late := func(s *segment) bool {
		if !f.sentBefore(s) {
			return false
		}
		remaining := s.sentNs + f.rackRTTNs + window - nowNs
		wait = max(wait, remaining)
		return remaining <= 0
	}
	f.resend(nowNs, causeFast, late)
	if wait > 0 {
		f.set(nowNs, reorderTimer, wait+minTimeoutNs)
	}
}

// sentBefore is whether a segment left before the newest that has arrived.
func (f *flow) sentBefore(s *segment) bool {
	return s.sentNs < f.rackSentNs || s.sentNs == f.rackSentNs && s.serial < f.rackSerial
}

// resend sends the lost segments again that are to be.
func (f *flow) resend(nowNs int64, why cause, wanted func(*segment) bool) {
	again := false
	for i := range f.segments {
		s := &f.segments[i]
		if s.arriveNs == neverNs && s.sentNs < nowNs && wanted(s) {
			f.transmit(nowNs, i, why)
			again = true
		}
	}
	if !again {
		return
	}
	if f.state == open {
		f.state = fast
	}
	f.set(nowNs, timeoutTimer, f.rtt.rtoNs(f.backoff))
}

// expire is what a sender does when its timer does.
func (f *flow) expire() {
	nowNs := f.timerNs
	switch f.timer {
	case probeTimer:
		f.probed = true
		f.transmit(nowNs, f.lastLost(), causeProbe)
		f.set(nowNs, timeoutTimer, f.rtt.rtoNs(f.backoff))
	case reorderTimer:
		f.set(nowNs, timeoutTimer, f.rtt.rtoNs(f.backoff))
		f.detect(nowNs)
	case timeoutTimer:
		f.state, f.probed = timedOut, false
		f.backoff++
		f.transmit(nowNs, f.firstLost(), causeTimeout)
		f.set(nowNs, timeoutTimer, f.rtt.rtoNs(f.backoff))
	case noTimer:
		panic("BUG: netem: a timer expired that was not set")
	}
}

func (f *flow) firstLost() int {
	for i := range f.segments {
		if f.segments[i].arriveNs == neverNs {
			return i
		}
	}
	panic("BUG: netem: a loss was counted that no segment has")
}

func (f *flow) lastLost() int {
	for i := len(f.segments) - 1; i >= 0; i-- {
		if f.segments[i].arriveNs == neverNs {
			return i
		}
	}
	panic("BUG: netem: a loss was counted that no segment has")
}

// take returns the bytes that the receiver got until nowNs since the last
// call, and whether a FIN was behind them.
func (f *flow) take(nowNs int64) (bytes int, fin bool) {
	f.step(nowNs)
	for f.taken < f.inOrder && f.segments[f.taken].reachNs <= nowNs {
		bytes += f.segments[f.taken].bytes
		fin = f.segments[f.taken].bytes == 0
		f.taken++
	}
	f.forget()
	return bytes, fin
}

// undelivered is how many segments are to be sent, on their way, or arrived and
// not taken.
func (f *flow) undelivered() int { return len(f.waiting) + len(f.segments) - f.taken }

// forget drops what is both heard of and taken.
func (f *flow) forget() {
	n := 0
	for n < f.taken && n < f.receiver.settled && f.segments[n].heard {
		n++
	}
	if n == 0 {
		return
	}
	f.segments = append(f.segments[:0], f.segments[n:]...)
	f.inOrder -= n
	f.taken -= n
	f.receiver.forget(n)
}

// deadline is when take or step has something to do; neverNs if nothing is on
// its way.
func (f *flow) deadline() int64 {
	ns := int64(neverNs)
	if f.taken < f.inOrder {
		ns = f.segments[f.taken].reachNs
	}
	if f.lost > 0 || len(f.waiting) > 0 { // else what the sender hears changes nothing
		_, heard := f.nextHeard()
		ns = min(ns, heard, f.receiver.deadline(f))
		if f.lost > 0 && f.timer != noTimer {
			ns = min(ns, f.timerNs)
		}
	}
	return ns
}
