package loadgen

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/loadgen/audit"
	"github.com/postbench/postbench/loadgen/schedule"
	"github.com/postbench/postbench/loadgen/transport"
)

// Limits of the loop.
const (
	// MaxConnections bounds a partner without a bound of its own.
	MaxConnections = 8192
	// maxPartners is what a ticket can name.
	maxPartners = 1 << 16
	// maxPending bounds the retries and duplicates that wait for their time.
	maxPending = 1 << 20
	// maxRetries leaves room for the first attempt and a deliberate duplicate.
	maxRetries = min(intent.MaxRetries, audit.MaxAttempts-2)
	// recorderShards is how many sets of histograms share the recording.
	recorderShards = 4
)

// Sender is one connection of a partner to the server. Send sends the request
// at most once, returns not later than deadline, and reports failures as
// *transport.Error; the loop calls it from one goroutine. Close may come at
// any time, more than once, and ends a Send under way: Run waits for it.
type Sender interface {
	Send(ctx context.Context, req *transport.Request, deadline time.Time) (transport.Reply, error)
	Close() error
}

// Partner is one sender of postbacks and its habits.
type Partner struct {
	Name        string
	Template    postback.Template
	Connections int // 0: as many as it needs, up to MaxConnections
	Timeout     time.Duration
	Queue       int // attempts that may wait for a connection
	// DropOldest: a full queue loses what waits longest instead of what comes.
	DropOldest bool
	Retry      intent.RetryPolicy
	Success    intent.SuccessRule
	// Breaker ends the partner's sending: what is queued, pending or due later
	// is lost, what is in flight may end.
	Breaker   intent.Breaker
	NewSender func() Sender
	// LateAcks counts the acks that came when no attempt waited for them any
	// more; nil where the transport has no such thing.
	LateAcks func() int64
	// Origin, TLS and CloseEach (a connection for every request) tell engines
	// that bring a client of their own what NewSender tells the native one.
	Origin    string
	TLS       *tls.Config
	CloseEach bool
	// Path names the network path that NewSender's connections take, "" for
	// none: partners of one path are reported together.
	Path string
}

// unbounded reports whether the partner itself would open any number of
// connections.
func (p *Partner) unbounded() bool { return p.Connections == 0 }

// connectionLimit is how many connections the partner gets at most.
func (p *Partner) connectionLimit() int {
	if p.unbounded() {
		return MaxConnections
	}
	return p.Connections
}

// Config is everything a run needs.
type Config struct {
	Intents  *intent.Generator
	Schedule schedule.Schedule
	Partners []Partner // same order as in the intents' spec
	// Cells receives what happens to each intent; the run ends early when the
	// schedule gives more intents than cells.
	Cells  []audit.Cell
	Warmup time.Duration
	// Grace is how long after the last due time the loop waits for what is
	// queued, in flight or to be retried.
	Grace time.Duration
	// Replay holds recorded requests that are sent instead of rendered
	// intents, from the start again when they end; nil for none.
	Replay []schedule.Replayed
	// SleepUntil waits until close before t; it may return early, never late.
	SleepUntil func(t time.Time)
}

// ErrConfig is wrapped by every error of a bad Config.
var ErrConfig = errors.New("run cannot start")

// Validate checks the configuration and changes nothing.
func (c *Config) Validate() error {
	switch {
	case c.Intents == nil || c.Schedule == nil || c.SleepUntil == nil:
		return fmt.Errorf("%w: intents, schedule and a sleeper are needed", ErrConfig)
	case len(c.Cells) == 0:
		return fmt.Errorf("%w: no room for any intent", ErrConfig)
	case len(c.Partners) != len(c.Intents.Spec().Partners):
		return fmt.Errorf("%w: %d partners configured, the intents know %d", ErrConfig, len(c.Partners), len(c.Intents.Spec().Partners))
	case len(c.Partners) > maxPartners:
		return fmt.Errorf("%w: more than %d partners", ErrConfig, maxPartners)
	case c.Warmup < 0 || c.Grace <= 0:
		return fmt.Errorf("%w: warm-up must not be negative and grace must be positive", ErrConfig)
	}
	for i := range c.Partners {
		p := &c.Partners[i]
		switch {
		case p.Timeout <= 0:
			return fmt.Errorf("%w: partner %s: timeout must be positive", ErrConfig, p.Name)
		case p.Connections < 0 || p.Connections > MaxConnections:
			return fmt.Errorf("%w: partner %s: connections must be 0 to %d", ErrConfig, p.Name, MaxConnections)
		case p.Queue < 0:
			return fmt.Errorf("%w: partner %s: queue must not be negative", ErrConfig, p.Name)
		case p.NewSender == nil:
			return fmt.Errorf("%w: partner %s: no way to send", ErrConfig, p.Name)
		case len(p.Retry.DelaysNs) > maxRetries:
			return fmt.Errorf("%w: partner %s: more than %d retries", ErrConfig, p.Name, maxRetries)
		}
		if err := p.Breaker.Validate(); err != nil {
			return fmt.Errorf("%w: partner %s: %w", ErrConfig, p.Name, err)
		}
	}
	return nil
}
