package transport_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postbench/postbench/loadgen/transport"
)

// http2Server answers with the request line that it got.
type http2Server struct {
	*httptest.Server
	requests, connections atomic.Int64
	release               chan struct{} // requests for /wait stay until it is closed
}

func newHTTP2Server(t *testing.T, secure bool) *http2Server {
	t.Helper()
	s := &http2Server{release: make(chan struct{})}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		switch {
		case strings.HasPrefix(r.URL.Path, "/wait"):
			select {
			case <-s.release:
			case <-r.Context().Done():
			}
		case strings.HasPrefix(r.URL.Path, "/long"):
			w.Write(make([]byte, 70<<10))
		case strings.HasPrefix(r.URL.Path, "/teapot"):
			w.WriteHeader(http.StatusTeapot)
		}
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %s %s", r.Proto, r.Method, r.RequestURI, r.Header.Get("X-Own"), body)
	}))
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	s.Config.Protocols = protocols
	s.Config.ConnState = nil
	s.EnableHTTP2 = true
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

func (s *http2Server) config() transport.SharedConfig {
	cfg := transport.SharedConfig{Address: s.Listener.Addr().String(), Host: "me.example", UserAgent: "postbench"}
	if s.TLS != nil {
		cfg.TLS = &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(0)}
	}
	return cfg
}

func deadline() time.Time { return time.Now().Add(10 * time.Second) }

func TestHTTP2KeepsTheBytes(t *testing.T) {
	for _, secure := range []bool{false, true} {
		server := newHTTP2Server(t, secure)
		sender := transport.NewHTTP2(server.config()).Sender()
		for i := range 2 {
			reply, err := sender.Send(t.Context(), &transport.Request{Method: "POST", Target: []byte("/pb?a=%7B&b=%zz"),
				Header: []byte("X-Own: yes\r\n"), Body: []byte("body")}, deadline())
			if err != nil {
				t.Fatal(err)
			}
			if want := "HTTP/2.0 POST /pb?a=%7B&b=%zz yes body"; string(reply.Body) != want || reply.Status != 200 {
				t.Errorf("%d %q, want %q", reply.Status, reply.Body, want)
			}
			p := reply.Phases
			if p.Opened != (i == 0) || p.Secured != (secure && i == 0) || (p.TLSNs > 0) != p.Secured || (p.ConnectNs > 0) != p.Opened {
				t.Errorf("request %d, secure %v: phases %+v", i, secure, p)
			}
		}
		sender.Close()
	}
}

func TestHTTP2SharesConnections(t *testing.T) {
	server := newHTTP2Server(t, false)
	cfg := server.config()
	cfg.Streams = 4
	shared := transport.NewHTTP2(cfg)
	var opened atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		sender := shared.Sender()
		wg.Go(func() {
			defer sender.Close()
			reply, err := sender.Send(context.Background(), &transport.Request{Method: "GET", Target: []byte("/wait")}, deadline())
			if err != nil || reply.Status != 200 {
				t.Errorf("%d, %v", reply.Status, err)
			}
			if reply.Phases.Opened {
				opened.Add(1)
			}
		})
	}
	for server.requests.Load() < 8 {
		time.Sleep(time.Millisecond) // real sockets: there is nothing to wait on
	}
	close(server.release)
	wg.Wait()
	if opened.Load() != 2 {
		t.Errorf("%d connections for 8 requests of 4 streams, want 2", opened.Load())
	}
}

func TestHTTP2Failures(t *testing.T) {
	server := newHTTP2Server(t, false)
	shared := transport.NewHTTP2(server.config())
	sender := shared.Sender()
	defer sender.Close()
	send := func(path string, wait time.Duration) (transport.Reply, error) {
		return sender.Send(t.Context(), &transport.Request{Method: "GET", Target: []byte(path)}, time.Now().Add(wait))
	}
	if _, err := send("/wait", 50*time.Millisecond); transport.ClassOf(err) != transport.ClassTimeout {
		t.Errorf("timeout: %v", err)
	}
	if _, err := send("/long", time.Minute); transport.ClassOf(err) != transport.ClassResponse {
		t.Errorf("long answer: %v", err)
	}
	if reply, err := send("/teapot", time.Minute); err != nil || reply.Status != http.StatusTeapot || reply.Phases.Opened {
		t.Errorf("the connection did not outlive a timeout: %+v, %v", reply, err)
	}
	if n := server.requests.Load(); n != 3 {
		t.Errorf("%d requests on the wire, 3 were sent", n)
	}
	sender.Close()
	var failed *transport.Error
	if _, err := send("/", time.Minute); !errors.As(err, &failed) || failed.Class != transport.ClassCanceled {
		t.Errorf("after Close: %v", err)
	}
}

func TestHTTP2NeedsTheProtocol(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler()) // HTTP/1.1 only
	defer server.Close()
	sender := transport.NewHTTP2(transport.SharedConfig{Address: server.Listener.Addr().String(), Host: "x",
		TLS: &tls.Config{InsecureSkipVerify: true}}).Sender()
	defer sender.Close()
	_, err := sender.Send(t.Context(), &transport.Request{Method: "GET", Target: []byte("/")}, deadline())
	if transport.ClassOf(err) != transport.ClassTLS {
		t.Errorf("%v", err)
	}
}
