package edge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
)

const bigBytes = 20 << 20

// pattern is a body that no reordering leaves alike.
func pattern() []byte {
	b := make([]byte, bigBytes)
	for i := range b {
		b[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return b
}

// supervisor stands in for what is behind Config.Admin, and a proxy to it.
func supervisor(t *testing.T) http.Handler {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /population/clicks", func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		n, err := io.Copy(h, r.Body)
		fmt.Fprintf(w, "%d %x %v %s", n, h.Sum(nil), err, r.Header.Get("X-Test"))
	})
	mux.HandleFunc("GET /ledger", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		w.Header().Add("Postbench-Backlog", "7")
		for rest := pattern(); len(rest) > 0; rest = rest[min(len(rest), 40_000):] {
			_, _ = w.Write(rest[:min(len(rest), 40_000)])
		}
	})
	mux.HandleFunc("GET /offers/{offer_id}/cap", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.PathValue("offer_id")+"?"+r.URL.RawQuery)
	})
	mux.HandleFunc("POST /nothing", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	upstream := httptest.NewServer(mux)
	t.Cleanup(upstream.Close)
	target, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	return &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Header.Del("Expect") // the edge says itself that it is ready for the body
	}}
}

func serveAdmin(t *testing.T, front string, admin http.Handler) *server {
	t.Helper()
	config := testConfig(front, &memory{})
	config.Admin = admin
	return serve(t, config)
}

func TestBigBodies(t *testing.T) {
	sent := pattern()
	for _, front := range fronts() {
		s := serveAdmin(t, front, supervisor(t))
		for name, body := range map[string]io.Reader{
			"known length": bytes.NewReader(sent),
			"chunked":      io.MultiReader(bytes.NewReader(sent)),
		} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.addr+"/population/clicks", body)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("X-Test", "passed on")
			got := roundTrip(t, request)
			want := fmt.Sprintf("%d %x <nil> passed on", bigBytes, sha256.Sum256(sent))
			if got.status != 200 || got.body != want {
				t.Errorf("%s, POST, %s: %d %.100q", front, name, got.status, got.body)
			}
		}
		got := s.get(t, "/ledger?run=r1")
		if got.status != 200 || got.body != string(sent) || got.header.Get("Postbench-Backlog") != "7" ||
			got.header.Get("Content-Type") != "application/x-ndjson" {
			t.Errorf("%s, GET: %d, %d bytes, %v", front, got.status, len(got.body), got.header)
		}
	}
}

func roundTrip(t *testing.T, request *http.Request) reply {
	t.Helper()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{response.StatusCode, response.Header, string(body)}
}

// A client that does not read stops the handler, and a handler that does not
// read stops the client: the edge holds some buffers, not the body.
func TestBodiesAreNotHeld(t *testing.T) {
	const most = 256 << 10
	for _, front := range fronts() {
		l := newPipes()
		var written atomic.Int64
		readOn := make(chan struct{})
		config := testConfig(front, &memory{})
		config.Admin = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				<-readOn
				n, err := io.Copy(io.Discard, r.Body)
				fmt.Fprint(w, n, err)
				return
			}
			for piece := make([]byte, 8<<10); written.Load() < bigBytes; written.Add(int64(len(piece))) {
				if _, err := w.Write(piece); err != nil {
					return
				}
			}
		})
		serveOn(t, config, l)

		c := l.dial(t)
		c.send(t, httpGet("/ledger"))
		waitUntilSteady(t, &written)
		if n := written.Load(); n > most {
			t.Errorf("%s: the handler has written %d bytes that nobody has read", front, n)
		}
		if got := c.receive(t, "GET"); len(got.body) != bigBytes {
			t.Errorf("%s: %d bytes", front, len(got.body))
		}

		var sent atomic.Int64
		c.send(t, fmt.Sprintf("POST /population/clicks HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", bigBytes))
		go func() {
			for piece := make([]byte, 4_096); sent.Load() < bigBytes; sent.Add(int64(len(piece))) {
				if _, err := c.Write(piece); err != nil {
					return
				}
			}
		}()
		waitUntilSteady(t, &sent)
		if n := sent.Load(); n > most {
			t.Errorf("%s: %d bytes were taken that nobody has read", front, n)
		}
		close(readOn)
		if got := c.receive(t, "POST"); got.body != fmt.Sprint(bigBytes, nil) {
			t.Errorf("%s: %+v", front, got)
		}
	}
}

// waitUntilSteady returns when n has not grown for many rounds of the scheduler.
func waitUntilSteady(t *testing.T, n *atomic.Int64) {
	t.Helper()
	for last, same := int64(-1), 0; same < 2_000; same++ {
		runtime.Gosched()
		if now := n.Load(); now != last {
			last, same = now, 0
		}
	}
}

// Postbacks and other requests share a connection.
func TestMixedConnection(t *testing.T) {
	for _, front := range fronts() {
		s := serveAdmin(t, front, supervisor(t))
		c := dial(t, s.addr)
		for i := range 3 {
			c.send(t, httpGet("/pb?click_id=c"))
			if got := c.receive(t, "GET"); got.status != 200 || got.body != "OK" {
				t.Errorf("%s: %+v", front, got)
			}
			c.send(t, httpGet(fmt.Sprintf("/offers/o%%2F%d/cap?a=%%20", i)))
			if got := c.receive(t, "GET"); got.status != 200 || got.body != fmt.Sprintf("o/%d?a=%%20", i) {
				t.Errorf("%s: %+v", front, got)
			}
			c.send(t, "HEAD /offers/o/cap HTTP/1.1\r\nHost: h\r\n\r\n")
			if got := c.receive(t, "HEAD"); got.status != 200 || got.body != "" || got.header.Get("Content-Length") != "2" {
				t.Errorf("%s: HEAD: %+v", front, got)
			}
			c.send(t, "POST /nothing HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello")
			if got := c.receive(t, "POST"); got.status != 204 {
				t.Errorf("%s: %+v", front, got)
			}
			c.send(t, "POST /pb HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello")
			if got := c.receive(t, "POST"); got.status != 405 {
				t.Errorf("%s: %+v", front, got)
			}
		}
	}
}

func TestExpectContinue(t *testing.T) {
	for _, front := range fronts() {
		s := serveAdmin(t, front, supervisor(t))
		c := dial(t, s.addr)
		c.send(t, "POST /population/clicks HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
		if line, err := c.in.ReadString('\n'); err != nil || !strings.Contains(line, "100") {
			t.Fatalf("%s: %q, %v", front, line, err)
		}
		if _, err := c.in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		c.send(t, "hello")
		if got := c.receive(t, "POST"); got.status != 200 || !strings.HasPrefix(got.body, "5 ") {
			t.Errorf("%s: %+v", front, got)
		}
	}
}

// An answer that stops half-way does not look like a whole one.
func TestAdminGivesUp(t *testing.T) {
	for _, front := range fronts() {
		s := serveAdmin(t, front, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/late" {
				_, _ = io.WriteString(w, strings.Repeat("x", 100_000))
			}
			panic(http.ErrAbortHandler)
		}))
		for _, path := range []string{"/late", "/early"} {
			c := dial(t, s.addr)
			c.send(t, httpGet(path))
			response, err := http.ReadResponse(c.in, nil)
			if err == nil && response.StatusCode == 200 {
				_, err = io.Copy(io.Discard, response.Body)
			}
			if err == nil && response.StatusCode < 500 {
				t.Errorf("%s, %s: a whole answer", front, path)
			}
		}
		if got := s.get(t, "/pb?click_id=c"); got.status != 200 {
			t.Errorf("%s: afterwards: %+v", front, got)
		}
	}
}

// The handler hears that the client has gone.
func TestClientGivesUp(t *testing.T) {
	for _, front := range fronts() {
		gone := make(chan error, 1)
		s := serveAdmin(t, front, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for piece := make([]byte, 64<<10); ; {
				if _, err := w.Write(piece); err != nil {
					<-r.Context().Done()
					gone <- r.Context().Err()
					return
				}
			}
		}))
		c := dial(t, s.addr)
		c.send(t, httpGet("/ledger"))
		if _, err := c.in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		if err := await(t, gone); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", front, err)
		}
	}
}

// The handler answers before it has read: it gets nothing more of the body.
func TestBodyIsTakenBack(t *testing.T) {
	result := make(chan error, 1)
	s := serveAdmin(t, FrontZerocopy, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusConflict)
		_, err := r.Body.Read(make([]byte, 1))
		result <- err
	}))
	c := dial(t, s.addr)
	c.send(t, "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello")
	if got := c.receive(t, "POST"); got.status != 409 {
		t.Errorf("%+v", got)
	}
	if err := await(t, result); !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Error(err)
	}
	c.send(t, httpGet("/pb?click_id=c")) // the rest of the body is no request
	if got := c.receive(t, "GET"); got.status != 200 {
		t.Errorf("%+v", got)
	}
}

func TestAdminFull(t *testing.T) {
	for _, front := range fronts() {
		s := serveAdmin(t, front, http.NotFoundHandler())
		for range maxAdmins {
			s.admins.TryEnter()
		}
		if got := s.get(t, "/ledger"); got.status != 503 || got.header.Get("Retry-After") != "1" || s.Counts().AdminFull != 1 {
			t.Errorf("%s: %+v, %+v", front, got, s.Counts())
		}
		for range maxAdmins {
			s.admins.Leave()
		}
		if got := s.get(t, "/ledger"); got.status != 404 {
			t.Errorf("%s: %+v", front, got)
		}
	}
}

func TestHTTP10(t *testing.T) {
	for front, want := range map[string]int{FrontPlain: 404, FrontZerocopy: 505} {
		if got := serveAdmin(t, front, http.NotFoundHandler()).do(t, "GET /ledger HTTP/1.0\r\n\r\n"); got.status != want {
			t.Errorf("%s: %+v", front, got)
		}
	}
}
