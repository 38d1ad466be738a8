// Package monolith is the 2022 server in one process: accept, parse, verify,
// attribute the click from SQL, check the cap, insert, answer. Every step is
// on the request path, and the answer comes after the commit. The code is
// ordinary on purpose: net/http, maps, one allocation after another.
package monolith

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/store"
)

// DefaultMaxInFlight is how many postbacks may be in work at once. At some
// thousand commits a second the last one waits a few hundred milliseconds:
// less than any partner's timeout.
const DefaultMaxInFlight = 512

// Conversions is where postbacks are attributed and recorded. Both methods are
// safe for concurrent use and return store.ErrBusy when ctx ends before they
// get to the work. When Commit returns nil, the conversion is as durable as
// the variant promises; an identity is recorded once whatever runs beside it.
type Conversions interface {
	Attribute(ctx context.Context, clickID string) (store.Attribution, error)
	Commit(ctx context.Context, c *store.Conversion) (store.Outcome, error)
}

// Books is what the judge reads. EachRow visits every row that was committed
// before the call, in the order of the commits, and returns visit's error at
// once. found is false for an offer that was never loaded.
type Books interface {
	EachRow(ctx context.Context, visit func(store.Row) error) error
	OfferStatus(ctx context.Context, offerID string) (status store.OfferStatus, found bool, err error)
}

// Population takes clicks and offers: all of a sequence or, at its first
// error, none. An id loaded again is replaced, an offer's counter kept.
type Population interface {
	LoadClicks(ctx context.Context, clicks iter.Seq2[store.Click, error]) (int64, error)
	LoadOffers(ctx context.Context, offers iter.Seq2[store.Offer, error]) (int64, error)
}

// Keys keeps the partners' signing keys; LoadKeys follows Population's rules.
type Keys interface {
	LoadKeys(ctx context.Context, keys iter.Seq2[store.Key, error]) (int64, error)
	Keys(ctx context.Context) ([]store.Key, error)
}

// Component names a part of the server that really ran.
type Component struct {
	Role           string `json:"role"`
	Implementation string `json:"implementation"`
	Version        string `json:"version"`
	// Embedded marks a stand-in inside the process for a server of its own.
	Embedded bool `json:"embedded"`
}

// Config is what a Server is made of. All fields but SignedOnly, Components
// and BootID are required.
type Config struct {
	Conversions Conversions
	Books       Books
	Population  Population
	Keys        Keys
	Components  []Component
	// SignedOnly refuses unsigned postbacks with 403.
	SignedOnly bool
	// MaxInFlight bounds the postbacks in work; more are answered 503.
	MaxInFlight int
	Now         func() time.Time
	// BootID names this boot of the machine, so that a client can tell whether
	// it shares our clock.
	BootID string
	Log    *slog.Logger
}

// Server answers the postbacks and the judge's questions. It is safe for
// concurrent use.
type Server struct {
	config   Config
	mux      *http.ServeMux
	inFlight *gate // postbacks
	reports  *gate // ledger streams and population loads
	counts   counters

	keyring atomic.Pointer[postback.Keyring]
	loading sync.Mutex // one reload of the keyring at a time: the newest set wins
}

// New makes a Server and reads the signing keys that the store holds.
func New(ctx context.Context, config Config) (*Server, error) {
	s := &Server{
		config:   config,
		mux:      http.NewServeMux(),
		inFlight: newGate(config.MaxInFlight),
		reports:  newGate(maxReports),
	}
	if err := s.reloadKeys(ctx); err != nil {
		return nil, fmt.Errorf("start monolith: %w", err)
	}
	s.mux.HandleFunc("/pb", s.postback(s.readPlain))
	s.mux.HandleFunc("/pb/signed", s.postback(s.readSigned))
	s.mux.HandleFunc("/ledger", s.judge(http.MethodGet, s.reports, s.ledger))
	s.mux.HandleFunc("/offers/{offer_id}/cap", s.judge(http.MethodGet, nil, s.offerCap))
	s.mux.HandleFunc("/clock", s.judge(http.MethodGet, nil, s.clock))
	s.mux.HandleFunc("/components", s.judge(http.MethodGet, nil, s.components))
	s.mux.HandleFunc("/healthz", s.judge(http.MethodGet, nil, s.health))
	s.mux.HandleFunc("/population/clicks", s.judge(http.MethodPost, s.reports, s.loadClicks))
	s.mux.HandleFunc("/population/offers", s.judge(http.MethodPost, s.reports, s.loadOffers))
	s.mux.HandleFunc("/population/keys", s.judge(http.MethodPost, s.reports, s.loadKeys))
	return s, nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// reloadKeys builds a fresh keyring: one in use must not change.
func (s *Server) reloadKeys(ctx context.Context) error {
	s.loading.Lock()
	defer s.loading.Unlock()
	keys, err := s.config.Keys.Keys(ctx)
	if err != nil {
		return err
	}
	keyring := postback.NewKeyring()
	for _, key := range keys {
		if err := postback.CheckKey(key.KID, key.Secret); err != nil {
			return fmt.Errorf("stored key: %w", err)
		}
		keyring.Add(key.KID, key.Secret)
	}
	s.keyring.Store(keyring)
	return nil
}
