package netem

import "time"

// What Linux does, by the names of its source (net/ipv4, kernel/time).
const (
	// mssBytes is the payload of a full segment over Ethernet with timestamps.
	mssBytes = 1448
	// minRTONs is TCP_RTO_MIN: no timer expires earlier than this after the
	// round trip. maxRTONs is TCP_RTO_MAX.
	minRTONs = int64(200 * time.Millisecond)
	maxRTONs = int64(120 * time.Second)
	// initialRTONs is TCP_TIMEOUT_INIT, before there is any sample (RFC 6298, 2.1).
	initialRTONs = int64(time.Second)
	// minTimeoutNs is TCP_TIMEOUT_MIN: two milliseconds on every short timer.
	minTimeoutNs = int64(2 * time.Millisecond)
	// delayedAckNs is TCP_DELACK_MIN and TCP_ATO_MIN.
	delayedAckNs = int64(40 * time.Millisecond)
	// quickAcks is TCP_MAX_QUICKACKS: so many segments of a new connection, or
	// after a long pause, are acknowledged at once.
	quickAcks = 16
	// firstMSSBytes is TCP_MSS_DEFAULT, a receiver's first guess of how large
	// a full segment is.
	firstMSSBytes = 536
	// initialWindow is TCP_INIT_CWND, in segments.
	initialWindow = 10
	// duplicateThreshold is TCP_FASTRETRANS_THRESH.
	duplicateThreshold = 3

	// jiffyNs is the tick of a kernel with CONFIG_HZ=250, as most servers run.
	jiffyNs = int64(4 * time.Millisecond)
	// The timer wheel has levels of 64 slots, each 8 times as coarse as the one before.
	wheelSlots, wheelShift, wheelLevels = 64, 3, 9
)

// expiry is when a kernel timer that is set at nowNs really expires: the
// timeout in ticks, rounded up, and then to the next slot of the timer wheel,
// which is 4 ms wide up to 252 ms, 32 ms up to 2 s, 256 ms up to 16 s.
func expiry(nowNs, timeoutNs int64) int64 {
	ticks := (timeoutNs + jiffyNs - 1) / jiffyNs
	at := nowNs/jiffyNs + ticks
	level := 0
	for level < wheelLevels-1 && ticks >= (wheelSlots-1)<<(wheelShift*level) {
		level++
	}
	shift := wheelShift * level
	return (at>>shift + 1) << shift * jiffyNs
}

// estimator is tcp_rtt_estimator: Jacobson's filter with Linux's changes. Its
// figures are scaled like there: smoothed by 8, deviations by 4.
type estimator struct {
	smoothed8, deviation4, largest4, variance4 int64
	minNs                                      int64
	untilSerial                                int64 // the deviation's round ends with this segment
}

// sample takes in one round trip, of the segment with a serial; next is the
// serial of the segment to be sent next.
func (e *estimator) sample(rttNs, serial, next int64) {
	rttNs = max(rttNs, 1)
	if e.smoothed8 == 0 {
		e.smoothed8, e.deviation4, e.minNs = rttNs<<3, rttNs<<1, rttNs
		e.variance4 = max(e.deviation4, minRTONs)
		e.largest4, e.untilSerial = e.variance4, next
		return
	}
	e.minNs = min(e.minNs, rttNs)
	delta := rttNs - e.smoothed8>>3
	e.smoothed8 += delta
	if delta < 0 {
		delta = -delta - e.deviation4>>2
		if delta > 0 {
			delta >>= 3 // a shorter round trip is no reason for a longer timer
		}
	} else {
		delta -= e.deviation4 >> 2
	}
	e.deviation4 += delta
	if e.deviation4 > e.largest4 {
		e.largest4 = e.deviation4
		e.variance4 = max(e.variance4, e.largest4)
	}
	if serial >= e.untilSerial {
		if e.largest4 < e.variance4 {
			e.variance4 -= (e.variance4 - e.largest4) >> 2
		}
		e.untilSerial, e.largest4 = next, minRTONs
	}
}

func (e *estimator) smoothedNs() int64 { return e.smoothed8 >> 3 }

// rtoNs is the retransmission timeout after some timeouts in a row.
func (e *estimator) rtoNs(backoff int) int64 {
	rto := initialRTONs
	if e.smoothed8 != 0 {
		rto = e.smoothed8>>3 + e.variance4
	}
	for ; backoff > 0 && rto < maxRTONs; backoff-- {
		rto <<= 1
	}
	return min(rto, maxRTONs)
}

// probeNs is the timeout of a tail loss probe with some segments on their way.
func (e *estimator) probeNs(outstanding int) int64 {
	if e.smoothed8 == 0 {
		return initialRTONs
	}
	if outstanding == 1 { // its acknowledgement may be a delayed one
		return 2*e.smoothedNs() + minRTONs
	}
	return 2*e.smoothedNs() + minTimeoutNs
}
