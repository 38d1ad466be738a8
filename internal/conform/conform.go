// Package conform plays the target contract at a server, case by case: every
// template, every verdict, every refusal, caps and clock. It brings offers,
// clicks and a key of its own, whose ids no run makes, and judges answers and
// ledger rows against docs/contract.md; our own servers, that say more than the
// contract asks, against what they say.
package conform

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/postbench/postbench/internal/postback"
)

const (
	// MaxDialects is how many partners' dialects are played.
	MaxDialects = 100
	// DefaultSettle is how long a ledger may stand still before what is missing
	// in it counts as missing.
	DefaultSettle = 5 * time.Second
)

// ErrTarget is wrapped by every error that is no server's fault: a Target that
// cannot be played at, or a server that nobody reaches.
var ErrTarget = errors.New("cannot be checked")

// Key is a signing key that the server knows.
type Key struct {
	KID    string
	Secret []byte
}

// Target is a server and what may be asked of it. URLs are "" for what it does
// not have.
type Target struct {
	// Origin is http://host:port, where postbacks go.
	Origin string
	// Path replaces the paths of the templates plain and signed; "" leaves them.
	// With it only one of the two is played: SignedOnly says which.
	Path string
	// Ledger, Caps, Clock and Populate are those of the contract.
	Ledger, Caps, Clock, Populate string
	// SignedOnly: the server refuses the unsigned template.
	SignedOnly bool
	// Strict wants all that our own servers do: exact statuses, all fields of
	// the ledger, and limits that the contract leaves open.
	Strict bool
	// Key is one that the server knows already; an empty one is replaced by a
	// new one, if there is Populate.
	Key Key
	// Dialects are the partners that the server knows, at most MaxDialects.
	Dialects []postback.Dialect
	// Tag makes this play's ids its own: 1 to 16 letters and digits that no
	// other play at the same server has had.
	Tag string
	// NewSecret is the secret of the key that Populate loads, at least 16 bytes
	// that nobody can guess: the server may keep it.
	NewSecret []byte
	// Settle is DefaultSettle if it is 0.
	Settle time.Duration
	// Client asks; it is used with redirects off.
	Client *http.Client
}

// Outcome is what became of a case.
type Outcome uint8

// The outcomes. NotAsked is not green: what the case needs was not given.
const (
	OK Outcome = iota
	Failed
	NotAsked
)

// String is the word of the report.
func (o Outcome) String() string {
	switch o {
	case OK:
		return "ok"
	case Failed:
		return "FAILED"
	}
	return "not asked"
}

// Result is a case that is over. Of a Failed one Sent, Came, Wanted and Advice
// say in a few words each what was sent, what came, what the contract wants and
// what to do; of one that was NotAsked Wanted says what is missing.
type Result struct {
	Case                       string
	Outcome                    Outcome
	Sent, Came, Wanted, Advice string
}

// String is the result in one line.
func (r Result) String() string {
	line := fmt.Sprintf("%-9s  %s", r.Outcome, r.Case)
	switch {
	case r.Outcome == NotAsked:
		line += ": " + r.Wanted
	case r.Outcome == Failed:
		line += fmt.Sprintf(": sent %s; came %s; wanted %s", r.Sent, r.Came, r.Wanted)
		if r.Advice != "" {
			line += "; " + r.Advice
		}
	}
	return strings.ReplaceAll(line, "\n", " ")
}

// Run plays all cases and reports each once, in their order, after the last
// answer. An error wraps ErrTarget or is ctx's; what the server does wrong is
// none.
func Run(ctx context.Context, t Target, report func(Result)) error {
	if err := t.check(); err != nil {
		return err
	}
	if t.Settle == 0 {
		t.Settle = DefaultSettle
	}
	s, err := t.script(time.Now())
	if err != nil {
		return err
	}
	p := newPlay(&t, s)
	if err := p.play(ctx); err != nil {
		return err
	}
	for i := range p.cases {
		report(p.judge(&p.cases[i]))
	}
	return nil
}

// check names what stands against a play.
func (t *Target) check() error {
	switch {
	case t.Origin == "" || t.Client == nil:
		return fmt.Errorf("%w: no origin or no client", ErrTarget)
	case len(t.Tag) == 0 || len(t.Tag) > 16 || strings.Trim(strings.ToLower(t.Tag), "abcdefghijklmnopqrstuvwxyz0123456789") != "":
		return fmt.Errorf("%w: tag %.20q, expected 1 to 16 letters and digits", ErrTarget, t.Tag)
	case t.Populate != "" && len(t.NewSecret) < 16:
		return fmt.Errorf("%w: the secret of the new key has %d bytes, expected at least 16", ErrTarget, len(t.NewSecret))
	case len(t.Dialects) > MaxDialects:
		return fmt.Errorf("%w: %d dialects, at most %d", ErrTarget, len(t.Dialects), MaxDialects)
	case t.Key.KID != "":
		if err := postback.CheckKey(t.Key.KID, t.Key.Secret); err != nil {
			return fmt.Errorf("%w: %w", ErrTarget, err)
		}
	}
	return nil
}
