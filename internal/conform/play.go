package conform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postbench/postbench/internal/postback"
)

const (
	// askTimeout bounds one request: longer than any partner waits.
	askTimeout = 20 * time.Second
	// maxShownBytes bounds what the report repeats of a target or a body.
	maxShownBytes = 300
	// maxBodyBytes bounds what is read of an answer to a postback.
	maxBodyBytes = 64 << 10
)

// play is a script under way.
type play struct {
	target   *Target
	script   *script
	client   *http.Client
	dialects *postback.Dialects
	cases    []playedCase
	ledger   ledger
	windows  map[string]string // the cap window of an offer, by its status
}

// playedCase is a case with what has come of it.
type playedCase struct {
	testCase
	missing string // what it cannot be judged without; "" = it is asked
	failure *Result
	acked   bool // some send of it was
	sent    string
	from    time.Time // of its first send
}

// fail keeps the first failure.
func (c *playedCase) fail(sent, came, wanted string) {
	if c.failure == nil {
		c.failure = &Result{Case: c.name, Outcome: Failed, Sent: sent, Came: came, Wanted: wanted, Advice: c.advice}
	}
}

func newPlay(t *Target, s *script) *play {
	client := *t.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	p := &play{target: t, script: s, client: &client, dialects: known(t.Dialects), windows: map[string]string{}}
	p.ledger = ledger{url: t.Ledger, prefix: s.id(""), client: &client}
	for _, c := range s.cases {
		p.cases = append(p.cases, playedCase{testCase: c, missing: p.missing(c.needs)})
	}
	return p
}

// known finds the dialects again for redacting; those that do not go together
// are told apart by nobody.
func known(list []postback.Dialect) *postback.Dialects {
	dialects, err := postback.NewDialects(list)
	if err != nil {
		dialects, _ = postback.NewDialects(nil)
	}
	return dialects
}

// missing names what the target lacks for a case.
func (p *play) missing(wanted needs) string {
	t := p.target
	var list []string
	for _, need := range []struct {
		of   needs
		has  bool
		flag string
	}{
		{needPopulate, t.Populate != "", "--populate"}, {needKey, p.script.key.KID != "", "--populate or --keys"},
		{needLedger, t.Ledger != "", "--ledger"}, {needCaps, t.Caps != "", "--caps"}, {needClock, t.Clock != "", "--clock"},
		{needDialects, len(t.Dialects) > 0, "--partners"},
	} {
		if wanted&need.of != 0 && !need.has {
			list = append(list, need.flag)
		}
	}
	if len(list) == 0 {
		return ""
	}
	return "needs " + strings.Join(list, " and ")
}

// play sends everything: the early sends of all cases, then, once their rows
// are there, the late ones.
func (p *play) play(ctx context.Context) error {
	if r := p.ask(ctx, http.MethodGet, "/"); r.err != nil {
		return fmt.Errorf("%w: %s does not answer: %w; is the server running?", ErrTarget, p.target.Origin, r.err)
	}
	if p.target.Populate != "" {
		if err := p.populate(ctx); err != nil {
			return err
		}
	}
	if err := p.ledger.read(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrTarget, err)
	}
	p.probeCaps(ctx, true)
	p.askClock(ctx)
	for _, late := range []bool{false, true} {
		for i := range p.cases {
			c := &p.cases[i]
			if c.missing != "" {
				continue
			}
			for j := range c.sends {
				if c.sends[j].late == late {
					p.send(ctx, c, &c.sends[j])
				}
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		if err := p.await(ctx, late); err != nil {
			return err
		}
		if !late {
			p.probeCaps(ctx, false)
		}
	}
	return ctx.Err()
}

// reply is what came of one request.
type reply struct {
	status int
	body   string
	err    error
}

func (r reply) String() string {
	if r.err != nil {
		return "no answer (" + shortened(r.err.Error()) + ")"
	}
	return fmt.Sprintf("%d %q", r.status, shortened(r.body))
}

// send plays one send of a case and judges the answer.
func (p *play) send(ctx context.Context, c *playedCase, s *send) {
	method := orElse(s.method, http.MethodGet)
	sent := method + " " + shortened(p.redacted(s.target))
	if c.sent == "" {
		c.sent, c.from = sent, time.Now()
	}
	replies := make([]reply, max(1, s.atOnce))
	var all sync.WaitGroup
	for i := range replies {
		all.Go(func() { replies[i] = p.ask(ctx, method, s.target) })
	}
	all.Wait()
	for _, r := range replies {
		ok := r.err == nil && r.status/100 == 2
		c.acked = c.acked || ok
		if problem := p.wrong(s.want, r); problem != "" {
			c.fail(sent, r.String(), problem)
		}
	}
	if s.atOnce > 1 && !slices.ContainsFunc(replies, func(r reply) bool { return r.err == nil && r.status/100 == 2 }) {
		c.fail(sent, replies[0].String(), "2xx to one of them at least")
	}
}

// wrong says what should have come instead; "" if nothing.
func (p *play) wrong(want answer, r reply) string {
	switch {
	case r.err != nil:
		return want.class.String()
	case p.target.Strict:
		switch {
		case r.status != want.status:
			return fmt.Sprintf("%d", want.status)
		case len(want.bodies) > 0 && !slices.Contains(want.bodies, r.body):
			return fmt.Sprintf("%d %q", want.status, want.bodies)
		}
		return ""
	case !want.class.admits(r.status):
		return want.class.String()
	}
	return ""
}

func (c class) admits(status int) bool {
	switch c {
	case accepted:
		return status/100 == 2
	case refused:
		return status/100 == 4
	case acceptedOrNot:
		return status/100 == 2 || status/100 == 4
	case refusedOrAbsent:
		return status/100 == 4 || status == http.StatusNotImplemented
	}
	return true
}

// String names what is admitted.
func (c class) String() string {
	return [...]string{accepted: "2xx", refused: "4xx", acceptedOrNot: "2xx or 4xx", whatever: "an answer", refusedOrAbsent: "4xx or 501"}[c]
}

func (p *play) ask(ctx context.Context, method, target string) reply {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, p.target.Origin+target, nil)
	if err != nil {
		return reply{err: err}
	}
	response, err := p.client.Do(request)
	if err != nil {
		return reply{err: errors.Unwrap(err)} // the URL is told already, and may hold a secret
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBodyBytes))
	return reply{status: response.StatusCode, body: string(body), err: err}
}

func shortened(text string) string {
	if len(text) <= maxShownBytes {
		return text
	}
	return text[:maxShownBytes] + "…"
}
