package labtarget

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"net"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/postbench/postbench/internal/machine"
	"github.com/postbench/postbench/internal/postback"
)

// closeTimeout bounds how long Close waits for answers under way.
const closeTimeout = 2 * time.Second

// Request is a request for a postback as it came over the wire.
type Request struct {
	// At is the time since the first one.
	At time.Duration
	// Target is path?query; Raw is the whole request, from the method to the
	// end of the body.
	Target, Raw string
}

// Target is a server that runs. Its methods are safe for concurrent use.
type Target struct {
	options  Options
	listener net.Listener
	server   *fasthttp.Server
	bootID   string
	closed   chan struct{}
	once     sync.Once
	served   chan error

	mu       sync.Mutex
	first    time.Time // arrival of the first postback
	requests faults
	books    books
	parsed   postback.Postback
	wire     hash.Hash
	raw      []byte // of one request, used again
	kept     []Request
}

// Start runs a target on a free port of 127.0.0.1.
func Start(options Options) (*Target, error) {
	if err := options.Validate(); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start a target: %w", err)
	}
	t := &Target{options: options, listener: listener, bootID: machine.Read().BootID, closed: make(chan struct{}), served: make(chan error, 1)}
	t.Reset()
	t.server = &fasthttp.Server{
		Handler: t.handle, MaxRequestBodySize: maxRequestBytes, ReadBufferSize: maxRequestBytes,
		NoDefaultServerHeader: true, NoDefaultDate: true, NoDefaultContentType: true,
		Logger: quiet{},
	}
	go func() { t.served <- t.server.Serve(listener) }()
	return t, nil
}

// quiet drops fasthttp's messages about clients that hang up.
type quiet struct{}

// Printf implements fasthttp.Logger.
func (quiet) Printf(string, ...any) {}

// URL is where the target listens: "http://127.0.0.1:4711".
func (t *Target) URL() string { return "http://" + t.listener.Addr().String() }

// Reset forgets everything, as if the target had just started.
func (t *Target) Reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.first, t.kept, t.wire = time.Time{}, nil, sha256.New()
	t.requests, t.books = requestFaults(&t.options), newBooks(&t.options)
}

// Truth returns what the target did so far.
func (t *Target) Truth() Truth {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.books.truth.clone()
}

// Hash is the SHA-256 over the bytes of all requests for postbacks, in order
// of their arrival, in hex.
func (t *Target) Hash() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return hex.EncodeToString(t.wire.Sum(nil))
}

// Requests returns the first Options.KeepRequests requests for postbacks.
func (t *Target) Requests() []Request {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Request(nil), t.kept...)
}

// Close ends the target: hanging requests lose their connections, answers
// under way get a moment. It may be called again.
func (t *Target) Close() error {
	var err error
	t.once.Do(func() {
		close(t.closed)
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		if err = t.server.ShutdownWithContext(ctx); err == nil {
			err = <-t.served
		}
	})
	return err
}

// wait passes time, at most until the target closes.
func (t *Target) wait(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.closed:
	}
}
