// Package labtarget is a postback server for testing postbench itself. It
// speaks the target contract, keeps its rows in memory, misbehaves exactly as
// it is told to, and keeps account of it: a test holds what postbench reports
// against what the target knows it did.
//
// What it does to the n-th postback depends on n and the options alone, never
// on time or chance. Only stalls go by the clock.
package labtarget

import (
	"errors"
	"fmt"
	"time"

	"github.com/postbench/postbench/internal/postback"
)

// Limits of a target.
const (
	// MaxRows bounds the ledger; beyond it postbacks are answered 503 and
	// counted as Truth.Full.
	MaxRows = 1 << 22
	// MaxKeptRequests bounds Options.KeepRequests.
	MaxKeptRequests = 1 << 16

	maxRequestBytes = 64 << 10
)

// Options say how a target behaves. The zero value is a quick and correct
// server that takes every signature for good.
//
// "Every" counts: 100 means the 100th, the 200th and so on, 0 means never. A
// postback suffers one fault of each of the two groups at most; a fault whose
// turn has come on a postback that another one already took strikes the next
// free one, so that its frequency is kept.
type Options struct {
	// Delay is how long every answer waits.
	Delay time.Duration
	// For StallFor out of every StallEvery no answer leaves. The first period
	// begins with the first postback, and the stall lies in its middle.
	StallEvery, StallFor time.Duration

	// Faults of requests: 503, no answer at all until Close, a connection that
	// is closed instead of an answer. Nothing is stored, unless StoreFirst.
	// Over HTTP/2 it is the request's stream that is reset; over gRPC the stream
	// ends, and with it every message on it that has no ack yet.
	RefuseEvery, HangEvery, CloseEvery int64
	StoreFirst                         bool

	// Faults of the books, counted over the conversions that come for the first
	// time: acked and not stored, stored twice, one more row that nobody sent,
	// a payout that is one unit too high.
	LoseEvery, TwiceEvery, PhantomEvery, ChangePayoutEvery int64

	// Caps holds the caps by offer id; absent means none.
	Caps map[string]int64
	// BillOverCap records as billable what is over the cap.
	BillOverCap bool
	// Keyring verifies what comes to the signed path; nil takes it unverified.
	Keyring *postback.Keyring
	// DiscardRows stores nothing at all: for long measurements without a ledger.
	DiscardRows bool
	// ServerTiming is the header of this name in answers with status 200; ""
	// for none. gRPC has no headers.
	ServerTiming string
	// KeepRequests is how many of the first requests are kept for Requests.
	KeepRequests int
}

// ErrOptions is wrapped by every error about impossible options.
var ErrOptions = errors.New("impossible target")

// Validate checks the options and changes nothing.
func (o *Options) Validate() error {
	for _, every := range []int64{o.RefuseEvery, o.HangEvery, o.CloseEvery, o.LoseEvery, o.TwiceEvery, o.PhantomEvery, o.ChangePayoutEvery} {
		if every < 0 {
			return fmt.Errorf("%w: a fault every %d postbacks, want 0 or more", ErrOptions, every)
		}
	}
	switch {
	case o.Delay < 0 || o.StallFor < 0 || o.StallEvery < 0:
		return fmt.Errorf("%w: delay and stalls must not be negative", ErrOptions)
	case o.StallFor > 0 && o.StallFor >= o.StallEvery:
		return fmt.Errorf("%w: it stalls for %v of every %v and never serves", ErrOptions, o.StallFor, o.StallEvery)
	case o.KeepRequests < 0 || o.KeepRequests > MaxKeptRequests:
		return fmt.Errorf("%w: %d requests to keep, want 0 to %d", ErrOptions, o.KeepRequests, MaxKeptRequests)
	}
	return nil
}

// stallLeft is how long an answer that is ready at a time after the first
// postback must still wait.
func (o *Options) stallLeft(sinceFirst time.Duration) time.Duration {
	if o.StallFor == 0 {
		return 0
	}
	begin := (o.StallEvery - o.StallFor) / 2
	if inPeriod := sinceFirst % o.StallEvery; inPeriod >= begin {
		return max(0, begin+o.StallFor-inPeriod)
	}
	return 0
}
