package loadgen

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postbench/postbench/internal/hist"
	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/loadgen/audit"
)

// Limits of the router.
const (
	routerPollers     = 4
	minRouterPoll     = time.Millisecond
	capAnswerTimeout  = 2 * time.Second
	maxCapAnswerBytes = 4 << 10
	// maxWatchedWindows bounds the cap windows that one poller remembers; what
	// is said of further ones counts in CapObservation.WindowsDropped.
	maxWatchedWindows = 1 << 14
	// maxWindowNameBytes is what a ledger row may carry, too.
	maxWindowNameBytes = 64
)

// Router plays the traffic router that stops sending clicks to an offer once
// the server says that its cap is full. It only observes when that is; the
// offered load does not depend on it.
type Router struct {
	URL      string        // up to, not including, /offers/{offer_id}/cap
	Poll     time.Duration // at least 1 ms
	Offers   []intent.Offer
	Client   *http.Client
	closedNs []atomic.Int64
	pollers  []*poller
	failures atomic.Int64
}

// CapObservation is what the router saw.
type CapObservation struct {
	// ClosedSeenNs is per offer the first time ever, ns since the run's start,
	// or audit.NeverClosed.
	ClosedSeenNs []int64
	// Closings are the cap windows that the server named, each with the first
	// time that it was seen closed; sorted by offer and window.
	Closings []audit.Closing
	// WindowsDropped counts answers about windows that were too many to remember.
	WindowsDropped int64
	// PollPeriod is the real time between two looks at the same offer.
	PollPeriod *hist.Histogram
	Failures   int64
}

// Watch polls every capped offer until ctx ends or all are closed for good, and
// returns when its pollers have ended. An offer whose cap resets may open again
// and is looked at until the end. Call it once.
func (r *Router) Watch(ctx context.Context, start time.Time) CapObservation {
	r.closedNs = make([]atomic.Int64, len(r.Offers))
	var capped []int
	for i := range r.Offers {
		r.closedNs[i].Store(audit.NeverClosed)
		if r.Offers[i].Cap > 0 {
			capped = append(capped, i)
		}
	}
	var pollers sync.WaitGroup
	for p := range min(routerPollers, len(capped)) {
		var mine []int
		for i := p; i < len(capped); i += routerPollers {
			mine = append(mine, capped[i])
		}
		p := &poller{router: r, start: start, periods: hist.New(), numbers: map[windowKey]int{}}
		r.pollers = append(r.pollers, p)
		pollers.Go(func() { p.poll(ctx, mine) })
	}
	pollers.Wait()
	return r.observation()
}

func (r *Router) observation() CapObservation {
	o := CapObservation{PollPeriod: hist.New(), Failures: r.failures.Load()}
	for _, p := range r.pollers {
		o.PollPeriod.Merge(p.periods)
		o.Closings = append(o.Closings, p.closings...)
		o.WindowsDropped += p.dropped
	}
	slices.SortFunc(o.Closings, func(x, y audit.Closing) int {
		return cmp.Or(cmp.Compare(x.Offer, y.Offer), cmp.Compare(x.Window, y.Window))
	})
	for i := range r.closedNs {
		o.ClosedSeenNs = append(o.ClosedSeenNs, r.closedNs[i].Load())
	}
	return o
}

// windowKey is a cap window of an offer, which the server named.
type windowKey struct {
	offer int
	name  string
}

// poller looks at some of the offers. What it has seen is its own until it ends.
type poller struct {
	router   *Router
	start    time.Time
	periods  *hist.Histogram
	numbers  map[windowKey]int // position in closings
	closings []audit.Closing
	dropped  int64
}

// poll looks at each open offer once a period.
func (p *poller) poll(ctx context.Context, open []int) {
	r := p.router
	ticker := time.NewTicker(max(r.Poll, minRouterPoll))
	defer ticker.Stop()
	last := time.Time{}
	for len(open) > 0 {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Now()
		if !last.IsZero() {
			p.periods.Record(int64(now.Sub(last)))
		}
		last = now
		still := open[:0]
		for _, offer := range open {
			status, err := r.status(ctx, r.Offers[offer].ID)
			if err != nil && ctx.Err() == nil {
				r.failures.Add(1)
			}
			if err == nil {
				p.note(offer, status)
			}
			if err != nil || !*status.Closed || r.Offers[offer].CapWindowS > 0 {
				still = append(still, offer)
			}
		}
		open = still
	}
}

// note remembers the first time that an offer, and each window of its cap, was
// seen closed, and which windows were seen at all.
func (p *poller) note(offer int, status *capStatus) {
	now := int64(time.Since(p.start))
	if *status.Closed {
		p.router.closedNs[offer].CompareAndSwap(audit.NeverClosed, now)
	}
	if status.CapWindow == "" {
		return
	}
	key := windowKey{offer, status.CapWindow}
	number, known := p.numbers[key]
	if !known {
		if len(p.closings) == maxWatchedWindows || len(status.CapWindow) > maxWindowNameBytes {
			p.dropped++
			return
		}
		number = len(p.closings)
		p.numbers[key] = number
		p.closings = append(p.closings, audit.Closing{Offer: offer, Window: status.CapWindow, ClosedNs: audit.NeverClosed})
	}
	if c := &p.closings[number]; *status.Closed && c.ClosedNs == audit.NeverClosed {
		c.ClosedNs = now
	}
}

// capStatus is what a server says of an offer's cap: of the window CapWindow if
// it names one.
type capStatus struct {
	Billable  int64  `json:"billable"`
	Closed    *bool  `json:"closed"`
	CapWindow string `json:"cap_window"`
}

// status asks the server for an offer's cap.
func (r *Router) status(ctx context.Context, offerID string) (*capStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, capAnswerTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, CapURL(r.URL, offerID), nil)
	if err != nil {
		return nil, err
	}
	response, err := r.Client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxCapAnswerBytes))
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: status %d", request.URL, response.StatusCode)
	}
	var answer capStatus
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("%s: %w", request.URL, err)
	}
	if answer.Closed == nil {
		return nil, fmt.Errorf("%s: no \"closed\" in the answer", request.URL)
	}
	return &answer, nil
}

// CapURL is the address of an offer's cap status. base may hold {offer_id}
// itself, otherwise the path of DESIGN §6 is added.
func CapURL(base, offerID string) string {
	escaped := strings.ReplaceAll(url.QueryEscape(offerID), "+", "%20") // right in a path and in a query
	if strings.Contains(base, "{offer_id}") {
		return strings.ReplaceAll(base, "{offer_id}", escaped)
	}
	return strings.TrimSuffix(base, "/") + "/offers/" + escaped + "/cap"
}

// Check asks for every capped offer, so that a wrong address is found before
// the run, and an offer that is not empty: caps are judged from the run's own
// rows.
func (r *Router) Check(ctx context.Context) error {
	for i := range r.Offers {
		if r.Offers[i].Cap == 0 {
			continue
		}
		status, err := r.status(ctx, r.Offers[i].ID)
		if err != nil {
			return fmt.Errorf("cap status cannot be read: %w", err)
		}
		if status.Billable > 0 {
			return fmt.Errorf("offer %s already counts %d conversions towards its cap, the run would be judged by an empty one: use a fresh server or leave out --caps",
				r.Offers[i].ID, status.Billable)
		}
	}
	return nil
}
