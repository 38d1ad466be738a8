// Package monolith is the 2022 server in one process: accept, parse, verify,
// attribute the click from SQL, check the cap, insert, answer. Every step is
// on the request path, and the answer comes after the commit. The code is
// ordinary on purpose: net/http, maps, one allocation after another.
package monolith

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accept"
	"github.com/postbench/postbench/refserver/accesslog"
	"github.com/postbench/postbench/refserver/admin"
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

// Config is what a Server is made of. All fields but SignedOnly, AccessLog,
// Components, Dialects, Costs and BootID are required.
type Config struct {
	Conversions Conversions
	Books       admin.Books
	Population  admin.Population
	Keys        admin.Keys
	Components  []admin.Component
	// SignedOnly refuses unsigned postbacks with 403.
	SignedOnly bool
	// MaxInFlight bounds the postbacks in work; more are answered 503.
	MaxInFlight int
	// AccessLog takes one entry for every postback, before its answer is
	// sent; nil means that nothing is logged. Closing it is the caller's.
	AccessLog *accesslog.Log
	Now       func() time.Time
	// Dialects are the partners that write postbacks in their own way, under /p/.
	Dialects []postback.Dialect
	// Costs makes stages cost something; nil means that none does.
	Costs accept.Costs
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
	admin    *admin.Admin
	inFlight *accept.Gate // postbacks
	counts   counters
	dialects *postback.Dialects

	keyring atomic.Pointer[postback.Keyring]
	loading sync.Mutex // one reload of the keyring at a time: the newest set wins
}

// New makes a Server and reads the signing keys that the store holds.
func New(ctx context.Context, config Config) (*Server, error) {
	s := &Server{config: config, mux: http.NewServeMux(), inFlight: accept.NewGate(config.MaxInFlight)}
	var err error
	if s.dialects, err = postback.NewDialects(config.Dialects); err != nil {
		return nil, fmt.Errorf("start monolith: %w", err)
	}
	s.admin, err = admin.New(admin.Config{
		Books: config.Books, Population: config.Population, Keys: config.Keys, Components: config.Components,
		Counts: func() any { return s.Counts() }, OnKeys: s.reloadKeys,
		Now: config.Now, BootID: config.BootID, Log: config.Log,
	})
	if err == nil {
		err = s.reloadKeys(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("start monolith: %w", err)
	}
	s.mux.HandleFunc("/pb", func(w http.ResponseWriter, r *http.Request) { s.postback(w, r, nil, s.readPlain) })
	s.mux.HandleFunc("/pb/signed", func(w http.ResponseWriter, r *http.Request) { s.postback(w, r, nil, s.readSigned) })
	s.mux.HandleFunc("/p/", s.inDialect)
	s.mux.Handle("/", s.admin)
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
