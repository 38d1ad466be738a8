package conform

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxJSONBytes bounds the answer of a cap status or a clock.
const maxJSONBytes = 64 << 10

// capStatus is the contract's.
type capStatus struct {
	OfferID   *string `json:"offer_id"`
	Cap       *int64  `json:"cap"`
	Billable  *int64  `json:"billable"`
	Closed    *bool   `json:"closed"`
	CapWindow string  `json:"cap_window"`
}

// probeCaps asks for the cap status of the cases that look at it.
func (p *play) probeCaps(ctx context.Context, early bool) {
	for i := range p.cases {
		c := &p.cases[i]
		for _, probe := range c.caps {
			if probe.early == early && c.missing == "" && ctx.Err() == nil {
				p.probe(ctx, c, probe)
			}
		}
	}
}

// probe asks until the status is right, or stands for too long.
func (p *play) probe(ctx context.Context, c *playedCase, probe capProbe) {
	link := strings.TrimSuffix(p.target.Caps, "/") + "/offers/" + url.PathEscape(probe.offerID) + "/cap"
	if strings.Contains(p.target.Caps, "{offer_id}") {
		link = strings.ReplaceAll(p.target.Caps, "{offer_id}", url.PathEscape(probe.offerID))
	}
	want, _ := json.Marshal(map[string]any{"offer_id": probe.offerID, "cap": probe.cap, "billable": probe.billable, "closed": probe.closed})
	for deadline := time.Now().Add(p.target.Settle); ; {
		var status capStatus
		text, err := p.get(ctx, link, &status)
		if err == nil && probe.holds(&status) {
			p.windows[probe.offerID] = status.CapWindow
			return
		}
		if time.Now().After(deadline) || pause(ctx, pollEvery) != nil {
			if err != nil {
				text = err.Error()
			}
			c.fail("GET "+link, text, string(want))
			return
		}
	}
}

func (probe *capProbe) holds(s *capStatus) bool {
	return s.OfferID != nil && *s.OfferID == probe.offerID && s.Cap != nil && *s.Cap == probe.cap &&
		s.Billable != nil && *s.Billable == probe.billable && s.Closed != nil && *s.Closed == probe.closed
}

// askClock looks at the clock for the case that wants it.
func (p *play) askClock(ctx context.Context) {
	for i := range p.cases {
		c := &p.cases[i]
		if !c.clock || c.missing != "" {
			continue
		}
		var clock struct {
			UnixNs int64  `json:"unix_ns"`
			BootID string `json:"boot_id"`
		}
		text, err := p.get(ctx, p.target.Clock, &clock)
		if err != nil {
			text = err.Error()
		}
		off := time.Unix(0, clock.UnixNs).Sub(time.Now()).Abs()
		if err != nil || off > clockSlack || p.target.Strict && clock.BootID == "" {
			c.fail("GET "+p.target.Clock, text, fmt.Sprintf("unix_ns, about %d, and boot_id", time.Now().UnixNano()))
		}
	}
}

// get reads a JSON answer, and returns its text too.
func (p *play) get(ctx context.Context, link string, into any) (text string, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return "", err
	}
	response, err := p.client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxJSONBytes))
	if err != nil {
		return "", err
	}
	text = fmt.Sprintf("%d %s", response.StatusCode, shortened(strings.TrimSpace(string(body))))
	if response.StatusCode != http.StatusOK {
		return text, fmt.Errorf("%s", text)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return text, fmt.Errorf("%s (%w)", text, err)
	}
	return text, nil
}
