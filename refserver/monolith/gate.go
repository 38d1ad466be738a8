package monolith

import "sync/atomic"

// gate bounds how many requests are in work at once. It never lets anyone
// wait: who does not fit is refused and counted.
type gate struct {
	slots   chan struct{}
	refused atomic.Int64
}

func newGate(limit int) *gate { return &gate{slots: make(chan struct{}, limit)} }

// tryEnter takes a slot, which leave gives back.
func (g *gate) tryEnter() bool {
	select {
	case g.slots <- struct{}{}:
		return true
	default:
		g.refused.Add(1)
		return false
	}
}

func (g *gate) leave() { <-g.slots }

// Counts is what the server answered since its start, in requests.
type Counts struct {
	Recorded  int64 `json:"recorded"`   // 200 OK: a new row
	Repeated  int64 `json:"repeated"`   // 200 DUP: nothing new to record
	Malformed int64 `json:"malformed"`  // 400
	Forbidden int64 `json:"forbidden"`  // 403
	WrongVerb int64 `json:"wrong_verb"` // 405
	TooLong   int64 `json:"too_long"`   // 414
	Full      int64 `json:"full"`       // 503: a limit of requests in work was reached
	StoreBusy int64 `json:"store_busy"` // 503: the store did not get to it in time
	Failed    int64 `json:"failed"`     // 500
	InFlight  int64 `json:"in_flight"`  // postbacks in work now
}

type counters struct {
	recorded, repeated              atomic.Int64
	malformed, forbidden, wrongVerb atomic.Int64
	tooLong, storeBusy, failed      atomic.Int64
}

// Counts reads the counters; they are not one instant's.
func (s *Server) Counts() Counts {
	return Counts{
		Recorded: s.counts.recorded.Load(), Repeated: s.counts.repeated.Load(),
		Malformed: s.counts.malformed.Load(), Forbidden: s.counts.forbidden.Load(),
		WrongVerb: s.counts.wrongVerb.Load(), TooLong: s.counts.tooLong.Load(),
		Full:      s.inFlight.refused.Load() + s.reports.refused.Load(),
		StoreBusy: s.counts.storeBusy.Load(), Failed: s.counts.failed.Load(),
		InFlight: int64(len(s.inFlight.slots)),
	}
}
