package refserver

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

const (
	// controlTimeout bounds a question to a child: an answer from the same
	// machine, without any work behind it.
	controlTimeout = 2 * time.Second
	// maxControlBytes bounds a child's answer.
	maxControlBytes = 4 << 20
)

// serveControl answers on the unix socket until ctx ends; done is closed when
// the last request is answered.
func serveControl(ctx context.Context, socket string, handler http.Handler) (done <-chan struct{}, err error) {
	// A predecessor that was killed leaves its socket behind.
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return serveUntil(ctx, listener, handler), nil
}

// serveUntil answers on the listener until ctx ends; done is closed when the
// last request is answered.
func serveUntil(ctx context.Context, listener net.Listener, handler http.Handler) (done <-chan struct{}) {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: readHeaderLimit, IdleTimeout: idleLimit}
	closed := make(chan struct{})
	go func() { _ = server.Serve(listener) }()
	go func() {
		defer close(closed)
		<-ctx.Done()
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainLimit)
		defer cancel()
		_ = cmp.Or(server.Shutdown(drain), server.Close())
	}()
	return closed
}

// control talks to a child on its unix socket.
type control struct {
	client *http.Client
	token  string // sent along; "" is none
}

func newControl(socket string) *control {
	return newControlOver(new(net.Dialer).DialContext, "unix", socket)
}

// dialFunc is net.Dialer.DialContext's.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// newControlOver talks over what dial makes.
func newControlOver(dial dialFunc, network, address string) *control {
	there := func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, network, address) }
	return &control{client: &http.Client{Transport: &http.Transport{DialContext: there, MaxIdleConnsPerHost: 8}}}
}

// host stands for the socket in URLs.
const controlHost = "http://control"

// get reads the JSON at path into answer.
func (c *control) get(ctx context.Context, path string, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	return c.do(ctx, http.MethodGet, path, nil, answer)
}

// post sends body; answer may be nil.
func (c *control) post(ctx context.Context, path string, body io.Reader) error {
	return c.do(ctx, http.MethodPost, path, body, nil)
}

func (c *control) do(ctx context.Context, method, path string, body io.Reader, answer any) error {
	request, err := http.NewRequestWithContext(ctx, method, controlHost+path, body)
	if err != nil {
		return err
	}
	if c.token != "" {
		request.Header.Set(tokenHeader, c.token)
	}
	response, err := c.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxControlBytes))
	if err != nil {
		return err
	}
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %.200s", method, path, response.Status, text)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(text, answer)
}

// answerJSON is the handler of a question that a child answers.
func answerJSON(ask func(context.Context) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer, err := ask(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	}
}

// readLimited reads a file of at most limit bytes.
func readLimited(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s is longer than %d bytes", path, limit)
	}
	return data, err
}
