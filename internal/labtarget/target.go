package labtarget

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
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
	http2    *http2Front
	grpc     *grpcFront

	mu       sync.Mutex
	first    time.Time // arrival of the first postback
	requests faults
	books    books
	parsed   postback.Postback
	wire     hash.Hash
	raw      []byte // of one request, used again
	kept     []Request
}

// Start runs a target on free ports of 127.0.0.1, one for each protocol.
func Start(options Options) (*Target, error) {
	if err := options.Validate(); err != nil {
		return nil, err
	}
	const fronts = 3
	var listeners [fronts]net.Listener
	for i := range listeners {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			for _, open := range listeners[:i] {
				open.Close()
			}
			return nil, fmt.Errorf("start a target: %w", err)
		}
		listeners[i] = listener
	}
	t := &Target{options: options, listener: listeners[0], bootID: machine.Read().BootID, closed: make(chan struct{}), served: make(chan error, fronts)}
	t.Reset()
	t.server = &fasthttp.Server{
		Handler: t.handle, MaxRequestBodySize: maxRequestBytes, ReadBufferSize: maxRequestBytes,
		NoDefaultServerHeader: true, NoDefaultDate: true, NoDefaultContentType: true,
		Logger: quiet{},
	}
	t.http2, t.grpc = newHTTP2Front(t, listeners[1]), newGRPCFront(t, listeners[2])
	go func() { t.served <- t.server.Serve(t.listener) }()
	go func() { t.served <- t.http2.serve() }()
	go func() { t.served <- t.grpc.serve() }()
	return t, nil
}

// quiet drops fasthttp's messages about clients that hang up.
type quiet struct{}

// Printf implements fasthttp.Logger.
func (quiet) Printf(string, ...any) {}

// URL is where the target listens for HTTP/1.1: "http://127.0.0.1:4711".
// Ledger, clock and caps are there alone.
func (t *Target) URL() string { return "http://" + t.listener.Addr().String() }

// HTTP2URL is where it listens for HTTP/2 without TLS (prior knowledge).
func (t *Target) HTTP2URL() string { return "http://" + t.http2.listener.Addr().String() }

// GRPCURL is where it listens for streams of postbench.v1.Ingest without TLS.
func (t *Target) GRPCURL() string { return "http://" + t.grpc.listener.Addr().String() }

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
// of their arrival, in hex. What came over HTTP/2 or gRPC counts as it would be
// written over HTTP/1.1, with its header sorted.
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
// under way over HTTP/1.1 get a moment. It may be called again.
func (t *Target) Close() error {
	var err error
	t.once.Do(func() {
		close(t.closed)
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		err = errors.Join(t.server.ShutdownWithContext(ctx), t.http2.server.Close(), t.grpc.close())
		for range cap(t.served) {
			err = errors.Join(err, <-t.served)
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
