package netem

const (
	// maxSYNs is how often the client asks (Linux: tcp_syn_retries is 6),
	// maxSYNACKTimeouts how often the server repeats its answer unasked
	// (tcp_synack_retries).
	maxSYNs, maxSYNACKTimeouts = 7, 5
	// linearSYNTimeouts is tcp_syn_linear_timeouts: so many timeouts pass
	// before the client's timer begins to double.
	linearSYNTimeouts = 4
)

// handshake is the opening of a connection, a state machine without a clock:
// SYNs until one arrives, then SYN-ACKs by the server's timer and for every
// further SYN, until one of those arrives. The third segment is free: the
// first data says the same.
type handshake struct {
	out, in carrier

	syn, synAck                       segment
	nextSYNNs, synTimeoutNs           int64
	acceptedNs                        int64 // neverNs until a SYN arrived
	nextSYNACKNs                      int64
	synAckTimeouts                    int
	synInFlightNs, doneNs, timedOutNs int64
	lastSYNNs                         int64
	heardSYNNs, heardSYNACKNs         int64 // when those that arrived first were sent
}

func newHandshake(nowNs int64, out, in carrier) *handshake {
	return &handshake{
		out: out, in: in, nextSYNNs: nowNs, synTimeoutNs: initialRTONs,
		acceptedNs: neverNs, nextSYNACKNs: neverNs, synInFlightNs: neverNs, doneNs: neverNs, timedOutNs: neverNs,
	}
}

// step plays everything until nowNs and returns when there is more to do.
// arrived is true once a SYN is at the server, which then has to accept;
// done once the client has its SYN-ACK; failed after the last SYN's timeout.
func (h *handshake) step(nowNs int64) (nextNs int64, arrived, done, failed bool) {
	for {
		nextNs = min(h.nextSYNNs, h.synInFlightNs, h.nextSYNACKNs, h.doneNs, h.timedOutNs)
		arrived, done, failed = h.synInFlightNs <= nowNs && h.acceptedNs == neverNs, h.doneNs <= nowNs, h.timedOutNs <= nowNs
		if nextNs > nowNs || arrived || done || failed {
			return nextNs, arrived, done, failed
		}
		switch nextNs {
		case h.synInFlightNs: // a further one: the server answers again
			h.synInFlightNs = neverNs
			h.answer(nextNs)
			h.arm(nextNs) // which puts its own timer off
		case h.nextSYNNs:
			h.request(nextNs)
		case h.nextSYNACKNs:
			h.synAckTimeouts++
			h.answer(nextNs)
			h.arm(nextNs)
		}
	}
}

// request sends the next SYN.
func (h *handshake) request(nowNs int64) {
	why := causeFirst
	if h.syn.attempts > 0 {
		why = causeTimeout
	}
	h.out.transmit(nowNs, &h.syn, why)
	h.lastSYNNs = nowNs
	if h.syn.arriveNs < h.synInFlightNs {
		h.synInFlightNs = h.syn.arriveNs
		if h.acceptedNs == neverNs {
			h.heardSYNNs = nowNs
		}
	}
	if h.syn.attempts > linearSYNTimeouts+1 {
		h.synTimeoutNs *= 2
	}
	h.nextSYNNs = expiry(nowNs, h.synTimeoutNs)
	if h.syn.attempts == maxSYNs {
		h.nextSYNNs, h.timedOutNs = neverNs, h.nextSYNNs
	}
}

// accept is the server's answer to the first SYN.
func (h *handshake) accept(nowNs int64) {
	h.acceptedNs, h.synInFlightNs = nowNs, neverNs
	h.answer(nowNs)
	h.arm(nowNs)
}

// arm sets the server's timer: a second, doubled each time.
func (h *handshake) arm(nowNs int64) {
	h.nextSYNACKNs = neverNs
	if h.synAckTimeouts < maxSYNACKTimeouts {
		h.nextSYNACKNs = expiry(nowNs, initialRTONs<<h.synAckTimeouts)
	}
}

// answer sends a SYN-ACK.
func (h *handshake) answer(nowNs int64) {
	why := causeFirst
	if h.synAck.attempts > 0 {
		why = causeTimeout
	}
	h.in.transmit(nowNs, &h.synAck, why)
	if h.synAck.arriveNs < h.doneNs {
		h.doneNs, h.heardSYNACKNs = h.synAck.arriveNs, nowNs
	}
}

// rttNs is the round trip as the client measures it.
func (h *handshake) rttNs() int64 { return h.doneNs - h.lastSYNNs }

// window is the first congestion window of the side that sent s: one segment
// if it had to repeat it more than once (tcp_init_transfer).
func (h *handshake) window(s *segment) int {
	if s.attempts > 2 {
		return 1
	}
	return initialWindow
}

// delayedNs is what the lost ones cost.
func (h *handshake) delayedNs() int64 {
	return (h.heardSYNNs - h.syn.firstNs) + (h.heardSYNACKNs - h.synAck.firstNs)
}
