package edge

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/store"
)

const (
	// answerLimit ends a test that waits for an answer which never comes.
	answerLimit = 20 * time.Second

	nowUnixS  = 1_700_000_000
	plainPart = "click_id=c+1&txid=t%2F1&offer_id=o&event=sale&payout=12.5&currency=EUR"
)

func fronts() []string { return []string{FrontPlain, FrontZerocopy} }

// memory is a Buffer that keeps what it is given, or fails.
type memory struct {
	mu      sync.Mutex
	records [][]byte
	err     error
}

func (m *memory) Put(_ context.Context, record []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	m.records = append(m.records, slices.Clone(record))
	return nil
}

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// take returns the records since the last call.
func (m *memory) take() [][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer func() { m.records = nil }()
	return m.records
}

func testConfig(front string, buffer Buffer) Config {
	return Config{
		Front: front, Answer: AnswerAfterBuffer, Buffer: buffer, Admin: http.NotFoundHandler(),
		Now: func() time.Time { return time.Unix(nowUnixS, 1) },
	}
}

func testKeys() []store.Key {
	return []store.Key{{KID: "k1", Secret: []byte("secret one")}, {KID: "k2", Secret: []byte("secret two")}}
}

// server is an Edge that serves on a port of its own.
type server struct {
	*Edge
	addr   string
	stop   context.CancelFunc
	served chan error
}

// serve starts an Edge and, unless the test does so, stops it at the test's end.
func serve(t testing.TB, config Config) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, config, l)
}

func serveOn(t testing.TB, config Config, l net.Listener) *server {
	t.Helper()
	e, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.SetKeys(testKeys()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &server{Edge: e, addr: l.Addr().String(), stop: stop, served: make(chan error, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.served <- e.Serve(ctx, l)
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	return s
}

// client is one connection.
type client struct {
	net.Conn
	in *bufio.Reader
}

func dial(t testing.TB, addr string) *client {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return newClient(t, c)
}

func newClient(t testing.TB, c net.Conn) *client {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		t.Fatal(err)
	}
	return &client{c, bufio.NewReader(c)}
}

// reply is an answer, read to its end.
type reply struct {
	status int
	header http.Header
	body   string
}

func (c *client) send(t testing.TB, request string) {
	t.Helper()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
}

// receive reads the answer to a request of this method.
func (c *client) receive(t testing.TB, method string) reply {
	t.Helper()
	response, err := http.ReadResponse(c.in, &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{response.StatusCode, response.Header, string(body)}
}

// get asks for a target on a connection of its own.
func (s *server) get(t testing.TB, target string) reply {
	t.Helper()
	return s.do(t, "GET "+target+" HTTP/1.1\r\nHost: h\r\n\r\n")
}

func (s *server) do(t testing.TB, request string) reply {
	t.Helper()
	c := dial(t, s.addr)
	defer c.Close()
	c.send(t, request)
	method, _, _ := strings.Cut(request, " ")
	return c.receive(t, method)
}

// signed is the target of a postback with this ts, signed with this key.
func signed(kid, secret string, tsUnixS int64) string {
	query := fmt.Sprintf("click_id=c1&txid=&offer_id=o&event=lead&payout=0&currency=EUR&kid=%s&ts=%d", kid, tsUnixS)
	sig := postback.NewSigner(kid, []byte(secret)).AppendSignature(nil, []byte("GET"), []byte("/pb/signed"), []byte(query))
	return "/pb/signed?" + query + postback.SigPrefix + string(sig)
}

// await receives from ch, or ends the test.
func await[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(answerLimit):
		t.Fatal("it never came")
		panic("unreachable")
	}
}

func decode(t testing.TB, raw []byte) postback.Record {
	t.Helper()
	var r postback.Record
	if err := r.Decode(raw); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestValidate(t *testing.T) {
	good := testConfig(FrontPlain, &memory{})
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Config){
		"front":   func(c *Config) { c.Front = "php" },
		"answer":  func(c *Config) { c.Answer = "after-commit" },
		"Buffer":  func(c *Config) { c.Buffer = nil },
		"Admin":   func(c *Config) { c.Admin = nil },
		"in work": func(c *Config) { c.MaxInFlight = -1 },
	} {
		bad := good
		spoil(&bad)
		if _, err := New(bad); err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSetKeys(t *testing.T) {
	for _, front := range fronts() {
		s := serve(t, testConfig(front, &memory{}))
		old, fresh := signed("k1", "secret one", nowUnixS), signed("k9", "secret nine", nowUnixS)
		if s.get(t, old).status != 200 || s.get(t, fresh).status != 403 {
			t.Errorf("%s: k1 is not the key", front)
		}
		if err := s.SetKeys([]store.Key{{KID: "k9", Secret: []byte("secret nine")}}); err != nil {
			t.Fatal(err)
		}
		if s.get(t, old).status != 403 || s.get(t, fresh).status != 200 {
			t.Errorf("%s: k9 is not the key", front)
		}
		if err := s.SetKeys([]store.Key{{KID: "k1"}}); err == nil || s.get(t, fresh).status != 200 {
			t.Errorf("%s: a key without a secret: %v", front, err)
		}
	}
}

func TestListenerFails(t *testing.T) {
	for _, front := range fronts() {
		broken := errors.New("out of sockets")
		s := serveOn(t, testConfig(front, &memory{}), brokenListener{broken})
		if err := await(t, s.served); !errors.Is(err, broken) {
			t.Errorf("%s: %v", front, err)
		}
	}
}

type brokenListener struct{ err error }

func (l brokenListener) Accept() (net.Conn, error) { return nil, l.err }
func (l brokenListener) Close() error              { return nil }
func (l brokenListener) Addr() net.Addr            { return &net.TCPAddr{} }
