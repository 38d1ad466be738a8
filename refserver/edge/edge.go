// Package edge is the front of the edge process: it takes a postback, checks
// it, puts its record into a buffer and answers. There are two fronts behind
// one Config. "plain" is what a tracker's handler looks like: net/http, a map
// of everything, one allocation after another. "zerocopy" is fasthttp and
// parses in place, without an allocation per request. Both answer alike.
//
// Whatever is no postback goes to Config.Admin, its bodies streamed in both
// directions.
package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accept"
	"github.com/postbench/postbench/refserver/accesslog"
	"github.com/postbench/postbench/refserver/store"
)

// The choices of Config.Front and Config.Answer.
const (
	FrontPlain    = "plain"    // net/http, maps, one allocation after another
	FrontZerocopy = "zerocopy" // fasthttp, no allocation on the accept path

	AnswerBeforeBuffer = "before-buffer" // 200 means: the postback was read
	AnswerAfterBuffer  = "after-buffer"  // 200 means: it is in the buffer
)

// CrashAnsweredNotBuffered is the point between the write of an answer and the
// buffer, in before-buffer: what is lost there was acked.
const CrashAnsweredNotBuffered = "answered-not-buffered"

const (
	// DefaultMaxInFlight is how many postbacks may be in work at once: at
	// 20,000 a second the last one waits 100 ms.
	DefaultMaxInFlight = 2_048

	// maxAdmins bounds the requests that are with Config.Admin, and with it
	// the memory of their copies.
	maxAdmins = 256

	plainPath  = "/pb"
	signedPath = "/pb/signed"
)

// methodGET is the only method of a postback: a HEAD is a probe, and must not
// record anything.
var methodGET = []byte(http.MethodGet)

// ErrFull is what a Buffer without room returns: 503, try again.
var ErrFull = fmt.Errorf("the edge's buffer is full: %w", accept.ErrFull)

var (
	errBuffer = errors.New("the edge's buffer does not answer")
	// errForbidden is the one answer to every 403, so that nobody can tell an
	// unknown key from a wrong signature.
	errForbidden = errors.New("forbidden: only fresh postbacks with a valid signature are taken here, at " + signedPath +
		" or at a partner's own path")
)

// Buffer is where records wait for their way to central. Put returns nil when
// the record is in the buffer, an error that wraps ErrFull (or accept.ErrFull)
// when there is no room, any other error when the buffer failed; in both cases
// the record is not in it. It keeps no reference to record, is safe for
// concurrent use, and returns within a bounded time of its own, at the latest
// when ctx ends.
type Buffer interface {
	Put(ctx context.Context, record []byte) error
}

// Config is what an Edge is made of. Front, Answer, Buffer and Admin are required.
type Config struct {
	Front  string // FrontPlain or FrontZerocopy
	Answer string // AnswerBeforeBuffer or AnswerAfterBuffer
	Buffer Buffer
	// SignedOnly refuses unsigned postbacks with 403.
	SignedOnly bool
	// MaxInFlight bounds the postbacks in work, from the request to the buffer;
	// more are answered 503. 0 means DefaultMaxInFlight.
	MaxInFlight int
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Log takes what an operator should know; nil drops it.
	Log *slog.Logger
	// AccessLog takes the postbacks, whatever became of them; nil means none.
	AccessLog *accesslog.Log
	// Admin answers every path that is no postback's. It reads what it wants
	// of a request's body before it begins to answer: what is left is dropped.
	Admin http.Handler
	// Dialects are the partners that write postbacks in their own way, under /p/.
	Dialects []postback.Dialect
	// Verified is the token by which the edge knows who verifies postbacks in
	// front of it: what comes with it (see VerifiedHeader) is believed. "" means
	// that nobody is.
	Verified string
	// Costs makes stages cost something; nil means that none does. BufferStage
	// is the stage that a Put costs; "" means none.
	Costs       accept.Costs
	BufferStage string
	// Crash is told when a named point is passed; nil means nobody is.
	Crash func(point string)
}

// Validate says in one line what is wrong, and changes nothing.
func (c Config) Validate() error {
	switch {
	case c.Front != FrontPlain && c.Front != FrontZerocopy:
		return fmt.Errorf("edge: front %.40q, expected %s or %s", c.Front, FrontPlain, FrontZerocopy)
	case c.Answer != AnswerBeforeBuffer && c.Answer != AnswerAfterBuffer:
		return fmt.Errorf("edge: answer %.40q, expected %s or %s", c.Answer, AnswerBeforeBuffer, AnswerAfterBuffer)
	case c.Buffer == nil:
		return errors.New("edge: no Buffer: every record needs a place")
	case c.Admin == nil:
		return errors.New("edge: no Admin: other paths need an answer")
	case c.MaxInFlight < 0:
		return fmt.Errorf("edge: limit of postbacks in work: %d, expected at least 1, or 0 for the default", c.MaxInFlight)
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.MaxInFlight == 0 {
		c.MaxInFlight = DefaultMaxInFlight
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Crash == nil {
		c.Crash = func(string) {}
	}
	return c
}

// Edge answers postbacks. It is safe for concurrent use.
type Edge struct {
	config   Config
	inFlight *accept.Gate // postbacks, each until its record was put
	admins   *accept.Gate // requests with Config.Admin
	counts   counters
	keyring  atomic.Pointer[postback.Keyring]
	dialects *postback.Dialects
	verified []byte // Config.Verified
	inPlace  *inPlace

	// working outlives the context of Serve: work that was begun is finished.
	// It ends at the drain's limit.
	working context.Context
	giveUp  context.CancelFunc
}

// New makes an Edge without keys: until SetKeys it refuses every signature.
func New(config Config) (*Edge, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	config = config.withDefaults()
	dialects, err := postback.NewDialects(config.Dialects)
	if err != nil {
		return nil, fmt.Errorf("edge: %w", err)
	}
	e := &Edge{config: config, dialects: dialects, inFlight: accept.NewGate(config.MaxInFlight), admins: accept.NewGate(maxAdmins)}
	e.working, e.giveUp = context.WithCancel(context.Background())
	e.keyring.Store(postback.NewKeyring())
	e.inPlace = newInPlace(e)
	e.verified = []byte(config.Verified)
	return e, nil
}

// SetKeys replaces all keys at once. A key that postback.CheckKey refuses is an
// error, and leaves the keys as they were.
func (e *Edge) SetKeys(keys []store.Key) error {
	keyring := postback.NewKeyring() // a fresh one: one in use must not change
	for _, key := range keys {
		if err := postback.CheckKey(key.KID, key.Secret); err != nil {
			return fmt.Errorf("edge: set keys: %w", err)
		}
		keyring.Add(key.KID, key.Secret)
	}
	e.keyring.Store(keyring)
	return nil
}

// verify believes what ParseSigned has read, or says why not. path and
// rawQuery are the bytes of the request line.
func (e *Edge) verify(path, rawQuery []byte, p *postback.Postback, received time.Time) error {
	if err := e.keyring.Load().Verify(methodGET, path, rawQuery, p); err != nil {
		return err
	}
	return accept.Fresh(p.TSUnixS, received.Unix())
}

// deliver puts the record, or leaves it with the connection until the answer
// is out. It takes over the caller's place in the gate. c is nil for what came
// over no connection of ours; its record is put at once. t may be nil.
func (e *Edge) deliver(ctx context.Context, c *conn, record []byte, t *accept.Timing) error {
	if e.config.Answer == AnswerBeforeBuffer {
		if c != nil && c.keep(record) {
			return nil
		}
		e.counts.putBeforeAnswer.Add(1)
	}
	defer e.inFlight.Leave()
	return e.put(ctx, record, t)
}

// put returns nil, ErrFull, accept.ErrStage or errBuffer, the last two when ctx
// ends as well. t may be nil.
func (e *Edge) put(ctx context.Context, record []byte, t *accept.Timing) error {
	if e.config.Costs != nil && e.config.BufferStage != "" {
		waiting, cancel := context.WithTimeout(ctx, accept.StageLimit)
		defer cancel()
		leave, err := accept.Enter(waiting, e.config.Costs, e.config.BufferStage, t)
		if err != nil {
			return err
		}
		defer leave()
	}
	err := e.config.Buffer.Put(ctx, record)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, accept.ErrFull):
		return ErrFull
	}
	// A buffer that is down fails every put; the doubling keeps the log short.
	if n := e.counts.putFailures.Add(1); n&(n-1) == 0 {
		e.config.Log.Error("put into the buffer failed", "failures", n, "error", err)
	}
	return errBuffer
}
