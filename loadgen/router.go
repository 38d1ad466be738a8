package loadgen

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
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
	periods  []*hist.Histogram // of one poller each
	failures atomic.Int64
}

// CapObservation is what the router saw.
type CapObservation struct {
	// ClosedSeenNs is per offer, ns since the run's start, or
	// audit.NeverClosed.
	ClosedSeenNs []int64
	// PollPeriod is the real time between two looks at the same offer.
	PollPeriod *hist.Histogram
	Failures   int64
}

// Watch polls every capped offer until ctx ends or all are closed, and
// returns when its pollers have ended. Call it once.
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
		periods := hist.New()
		r.periods = append(r.periods, periods)
		pollers.Go(func() { r.poll(ctx, start, mine, periods) })
	}
	pollers.Wait()
	return r.observation()
}

func (r *Router) observation() CapObservation {
	o := CapObservation{PollPeriod: hist.New(), Failures: r.failures.Load()}
	for _, h := range r.periods {
		o.PollPeriod.Merge(h)
	}
	for i := range r.closedNs {
		o.ClosedSeenNs = append(o.ClosedSeenNs, r.closedNs[i].Load())
	}
	return o
}

// poll looks at each open offer once a period.
func (r *Router) poll(ctx context.Context, start time.Time, open []int, periods *hist.Histogram) {
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
			periods.Record(int64(now.Sub(last)))
		}
		last = now
		still := open[:0]
		for _, offer := range open {
			closed, err := r.closed(ctx, r.Offers[offer].ID)
			if err != nil && ctx.Err() == nil {
				r.failures.Add(1)
			}
			if !closed {
				still = append(still, offer)
				continue
			}
			r.closedNs[offer].Store(int64(time.Since(start)))
		}
		open = still
	}
}

// capStatus is what a server says of an offer's cap.
type capStatus struct {
	Billable int64 `json:"billable"`
	Closed   *bool `json:"closed"`
}

// closed asks the server whether an offer is closed.
func (r *Router) closed(ctx context.Context, offerID string) (bool, error) {
	status, err := r.status(ctx, offerID)
	if err != nil {
		return false, err
	}
	return *status.Closed, nil
}

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
