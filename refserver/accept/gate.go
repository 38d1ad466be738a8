package accept

import "sync/atomic"

// Gate bounds how many requests are in work at once. It never lets anyone
// wait: who does not fit is refused and counted. Safe for concurrent use.
type Gate struct {
	slots   chan struct{}
	refused atomic.Int64
}

// NewGate makes a gate for up to limit requests.
func NewGate(limit int) *Gate { return &Gate{slots: make(chan struct{}, limit)} }

// TryEnter takes a slot, which Leave gives back. False means ErrFull.
func (g *Gate) TryEnter() bool {
	select {
	case g.slots <- struct{}{}:
		return true
	default:
		g.refused.Add(1)
		return false
	}
}

// Leave gives back a slot that TryEnter took.
func (g *Gate) Leave() { <-g.slots }

// InWork is the number of requests inside now.
func (g *Gate) InWork() int64 { return int64(len(g.slots)) }

// Refused is the number of requests that did not fit.
func (g *Gate) Refused() int64 { return g.refused.Load() }
