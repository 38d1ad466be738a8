package worker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accept/accepttest"
	"github.com/postbench/postbench/refserver/edge"
	"github.com/postbench/postbench/refserver/parts"
	"github.com/postbench/postbench/refserver/store"
)

const (
	// testLimit ends a test that waits for something which never comes.
	testLimit = 20 * time.Second

	token = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
)

// clock is what worker and edge take the time for.
func clock() time.Time { return time.Unix(accepttest.NowUnixS, 0) }

// memory is a buffer that keeps what it is given.
type memory struct {
	mu      sync.Mutex
	records [][]byte
}

func (m *memory) Put(_ context.Context, record []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records = append(m.records, slices.Clone(record))
	return nil
}

// rows returns what came since the last call.
func (m *memory) rows(t testing.TB) (rows []accepttest.Row) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, record := range m.records {
		var r postback.Record
		if err := r.Decode(record); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, accepttest.RowOf(&r))
	}
	m.records = nil
	return rows
}

// edgeConfig is an edge's that believes the worker.
func edgeConfig(buffer edge.Buffer) edge.Config {
	return edge.Config{
		Front: edge.FrontPlain, Answer: edge.AnswerAfterBuffer, Buffer: buffer, Admin: http.NotFoundHandler(),
		Now: clock, Verified: token,
	}
}

// serveEdge serves an edge until the test's end.
func serveEdge(t testing.TB, config edge.Config, keys ...store.Key) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveEdgeOn(t, listener, config, keys...)
}

func serveEdgeOn(t testing.TB, listener net.Listener, config edge.Config, keys ...store.Key) (addr string) {
	t.Helper()
	e, err := edge.New(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.SetKeys(keys); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

// started is a worker and what it was started with.
type started struct {
	*Worker
	config Config
	addr   string
}

// startWorker starts a worker on a free port, and stops it at the test's end.
// Where workerd is not installed the test is skipped; CI must have it.
func startWorker(t testing.TB, config Config) started {
	t.Helper()
	dir, err := os.MkdirTemp("", "worker") // shorter than the test's own
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	config.Runtime = parts.Runtime{Dir: dir, Log: os.Stderr}
	config.Addr, config.Token, config.Now = freePort(t), token, clock
	w, err := Start(t.Context(), config)
	if errors.Is(err, parts.ErrMissing) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return started{w, config, config.Addr}
}

func freePort(t testing.TB) string {
	t.Helper()
	addr, err := parts.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// answer is what a client reads.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask sends raw bytes as one request on a connection of its own.
func ask(t testing.TB, addr, request string) answer {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, testLimit)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(testLimit)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

// get is a GET for a target, with further header lines.
func get(target string, lines ...string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: tracker.example\r\n" + strings.Join(append(lines, ""), "\r\n") + "\r\n"
}

func key(kid, secret string) store.Key { return store.Key{KID: kid, Secret: []byte(secret)} }

// keysOf are n keys, the same every time.
func keysOf(n int) (keys []store.Key) {
	for i := range n {
		keys = append(keys, key(fmt.Sprintf("k%d", i), fmt.Sprintf("secret %d", i)))
	}
	return keys
}

const signedPart = "click_id=c%201&txid=t1&offer_id=o7&event=sale&payout=12.5&currency=EUR"

// signed is the target of a signed postback.
func signed(k store.Key, query string) string {
	sig := postback.NewSigner(k.KID, k.Secret).AppendSignature(nil, []byte("GET"), []byte("/pb/signed"), []byte(query))
	return "/pb/signed?" + query + postback.SigPrefix + string(sig)
}
