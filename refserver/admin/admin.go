// Package admin answers the judge's questions over HTTP, from whatever store
// a server keeps: the ledger, the caps, the clock, what runs there; and it
// takes the population. No postback goes through it.
package admin

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"time"

	"github.com/postbench/postbench/refserver/accept"
	"github.com/postbench/postbench/refserver/store"
)

// maxReports bounds the ledger streams and population loads that run at once:
// they share the store with the postbacks.
const maxReports = 4

// Books is what the judge reads. EachRow visits every row that was committed
// before the call, in the order of the commits, and returns visit's error at
// once. An offer's status is that of its cap window now; found is false for an
// offer that was never loaded.
type Books interface {
	EachRow(ctx context.Context, visit func(store.Row) error) error
	OfferStatus(ctx context.Context, offerID string) (status store.OfferStatus, found bool, err error)
}

// Population takes clicks and offers: all of a sequence or, at its first
// error, none. An id loaded again is replaced, an offer's counters kept.
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

// Config is what an Admin is made of. Books, Population, Keys, Now and Log are
// required. The funcs are called from many goroutines at once.
type Config struct {
	Books      Books
	Population Population
	Keys       Keys
	Components []Component
	// Backlog is the number of acked postbacks that the ledger does not hold
	// yet; nil means that every answer comes after its commit.
	Backlog func() int64
	// Counts is what /healthz shows, as JSON; nil means the Admin's own.
	Counts func() any
	// OnKeys is called after keys were stored; its error answers the upload.
	OnKeys func(ctx context.Context) error
	Now    func() time.Time
	// BootID names this boot of the machine, so that a client can tell whether
	// it shares our clock.
	BootID string
	Log    *slog.Logger
}

// validate names the first part that is missing.
func (c *Config) validate() error {
	for _, part := range []struct {
		name    string
		missing bool
	}{
		{"Books", c.Books == nil}, {"Population", c.Population == nil}, {"Keys", c.Keys == nil},
		{"Now", c.Now == nil}, {"Log", c.Log == nil},
	} {
		if part.missing {
			return fmt.Errorf("admin: %s is missing from the configuration", part.name)
		}
	}
	return nil
}

// Admin is an http.Handler, safe for concurrent use. It answers 404 to every
// path that is not its own.
type Admin struct {
	config  Config
	mux     *http.ServeMux
	reports *accept.Gate
	counts  counters
}

// New makes an Admin, or says which part its configuration lacks.
func New(config Config) (*Admin, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	a := &Admin{config: config, mux: http.NewServeMux(), reports: accept.NewGate(maxReports)}
	a.mux.HandleFunc("/ledger", a.endpoint(http.MethodGet, a.bounded(a.ledger)))
	a.mux.HandleFunc("/offers/{offer_id}/cap", a.endpoint(http.MethodGet, a.offerCap))
	a.mux.HandleFunc("/clock", a.endpoint(http.MethodGet, a.clock))
	a.mux.HandleFunc("/components", a.endpoint(http.MethodGet, a.components))
	a.mux.HandleFunc("/healthz", a.endpoint(http.MethodGet, a.health))
	a.mux.HandleFunc("/population/clicks", a.endpoint(http.MethodPost, a.bounded(a.loadClicks)))
	a.mux.HandleFunc("/population/offers", a.endpoint(http.MethodPost, a.bounded(a.loadOffers)))
	a.mux.HandleFunc("/population/keys", a.endpoint(http.MethodPost, a.bounded(a.loadKeys)))
	return a, nil
}

// ServeHTTP answers one request.
func (a *Admin) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.mux.ServeHTTP(w, r) }

// handler answers one request, or leaves the answer to its error.
type handler func(http.ResponseWriter, *http.Request) error

// endpoint lets one method through and answers the handler's error.
func (a *Admin) endpoint(method string, handle handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := accept.ErrMethod
		if r.Method == method {
			err = handle(w, r)
		} else {
			w.Header().Set("Allow", method)
		}
		if err != nil {
			a.refuse(w, r, err)
		}
	}
}

// bounded is for the handlers that walk through the whole store.
func (a *Admin) bounded(handle handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if !a.reports.TryEnter() {
			return accept.ErrFull
		}
		defer a.reports.Leave()
		return handle(w, r)
	}
}

func (a *Admin) offerCap(w http.ResponseWriter, r *http.Request) error {
	status, found, err := a.config.Books.OfferStatus(r.Context(), r.PathValue("offer_id"))
	if err != nil {
		return err
	}
	if !found {
		return errNotFound
	}
	writeJSON(w, struct {
		OfferID  string `json:"offer_id"`
		Cap      int64  `json:"cap"`
		Billable int64  `json:"billable"`
		Closed   bool   `json:"closed"`
		// CapWindow is the window of now, of which the two above speak.
		CapWindow string `json:"cap_window,omitempty"`
	}{status.OfferID, status.Cap, status.Billable, status.Closed, status.CapWindow})
	return nil
}

func (a *Admin) clock(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, struct {
		UnixNs int64  `json:"unix_ns"`
		BootID string `json:"boot_id"`
	}{a.config.Now().UnixNano(), a.config.BootID})
	return nil
}

func (a *Admin) components(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, a.config.Components)
	return nil
}

// health says that the server answers, and what it has answered so far.
func (a *Admin) health(w http.ResponseWriter, _ *http.Request) error {
	var counts any = a.Counts()
	if a.config.Counts != nil {
		counts = a.config.Counts()
	}
	writeJSON(w, struct {
		Status string `json:"status"`
		Counts any    `json:"counts"`
	}{"ok", counts})
	return nil
}
