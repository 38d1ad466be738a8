//go:build unix

package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"syscall"
	"testing"
	"time"
)

// hanging makes a client's connects hang; it tells hangs when one does.
func hanging(c *HTTP1, hangs chan<- bool) {
	c.dialer.ControlContext = func(ctx context.Context, _, _ string, _ syscall.RawConn) error {
		hangs <- true
		<-ctx.Done()
		return ctx.Err()
	}
}

// refusing is an address that nobody listens on.
func refusing(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func TestConnectRefused(t *testing.T) {
	c := clientOf(t, HTTP1Config{Address: refusing(t)})
	reply, err := c.Send(t.Context(), get(), patience())
	if ClassOf(err) != ClassConnect || !errors.Is(err, syscall.ECONNREFUSED) || !reply.Phases.Opened {
		t.Errorf("%v, %+v", err, reply)
	}
}

// A host with several addresses is reached when any of them answers: a
// "localhost" that is ::1 first, for one.
func TestEveryAddressIsTried(t *testing.T) {
	server := startRogue(t, answering(okAnswer))
	c := clientOf(t, HTTP1Config{Address: server.address})
	conn, err := c.connect(t.Context(), []string{refusing(t), refusing(t), server.address}, patience())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if _, err := c.connect(t.Context(), []string{refusing(t), refusing(t)}, patience()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody answers: %v", err)
	}
	// Each gets its share of the time that is left, the last all of it.
	var shares []time.Duration
	c.dialer.ControlContext = func(ctx context.Context, _, _ string, _ syscall.RawConn) error {
		deadline, _ := ctx.Deadline()
		shares = append(shares, time.Until(deadline).Round(time.Minute))
		return syscall.ETIMEDOUT
	}
	if _, err := c.connect(t.Context(), slices.Repeat([]string{server.address}, 4), time.Now().Add(12*time.Minute)); !errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("silent addresses: %v", err)
	}
	if want := []time.Duration{3 * time.Minute, 4 * time.Minute, 6 * time.Minute, 12 * time.Minute}; !slices.Equal(shares, want) {
		t.Errorf("shares %v, want %v", shares, want)
	}
}

func TestNameCannotBeResolved(t *testing.T) {
	c := clientOf(t, HTTP1Config{Address: "nobody.invalid:80"})
	c.resolver = net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no name server")
	}}
	if _, err := c.Send(t.Context(), get(), patience()); ClassOf(err) != ClassDNS {
		t.Errorf("%v", err)
	}
	c.resolver.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if _, err := c.Send(t.Context(), get(), time.Now().Add(20*time.Millisecond)); ClassOf(err) != ClassTimeout {
		t.Errorf("silent name server: %v", err)
	}
}

// startTLS is a server with a certificate of its own CA. It answers 200 to
// full handshakes and 201 to resumed ones.
func startTLS(t testing.TB) (address string, config *tls.Config) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS.DidResume {
			w.WriteHeader(http.StatusCreated)
		}
		io.WriteString(w, "ok")
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	config = &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "example.com", ClientSessionCache: tls.NewLRUClientSessionCache(0)}
	config.RootCAs.AddCert(server.Certificate())
	return server.Listener.Addr().String(), config
}

func TestTLS(t *testing.T) {
	address, config := startTLS(t)
	c := clientOf(t, HTTP1Config{Address: address, TLS: config})
	for i := range 3 {
		reply := mustSend(t, c, get())
		if opened := i == 0; reply.Status != 200 || reply.Phases.Opened != opened || (reply.Phases.TLSNs > 0) != opened {
			t.Errorf("request %d: %+v", i, reply)
		}
	}
	// Another client with the same cache resumes the session.
	closing := clientOf(t, HTTP1Config{Address: address, TLS: config, CloseEach: true})
	for i := range 2 {
		if reply := mustSend(t, closing, get()); reply.Status != 201 || reply.Phases.TLSNs <= 0 {
			t.Errorf("resumed request %d: %+v", i, reply)
		}
	}
}

func TestTLSFails(t *testing.T) {
	address, config := startTLS(t)
	plain := startRogue(t, func(p *peer) { p.say("HTTP/1.1 400 Bad Request\r\n\r\n") })
	silent := startRogue(t, (*peer).untilGone)
	unknownCA := config.Clone()
	unknownCA.RootCAs = x509.NewCertPool()
	otherName := config.Clone()
	otherName.ServerName = "other.example"
	for name, c := range map[string]struct {
		address string
		config  *tls.Config
		want    Class
	}{
		"unknown CA":     {address, unknownCA, ClassTLS},
		"other name":     {address, otherName, ClassTLS},
		"not TLS":        {plain.address, config, ClassTLS},
		"no handshake":   {silent.address, config, ClassTimeout},
		"nobody listens": {refusing(t), config, ClassConnect},
	} {
		deadline := patience()
		if c.want == ClassTimeout {
			deadline = time.Now().Add(30 * time.Millisecond)
		}
		client := clientOf(t, HTTP1Config{Address: c.address, TLS: c.config})
		if _, err := client.Send(t.Context(), get(), deadline); ClassOf(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

func TestCloseEndsTLSHandshake(t *testing.T) {
	connected := make(chan bool)
	silent := startRogue(t, func(p *peer) {
		connected <- true
		p.untilGone()
	})
	c := clientOf(t, HTTP1Config{Address: silent.address, TLS: &tls.Config{ServerName: "example.com"}})
	go func() {
		<-connected
		c.Close()
	}()
	began := time.Now()
	if _, err := c.Send(t.Context(), get(), patience()); ClassOf(err) != ClassCanceled || time.Since(began) > 30*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

// An idle TLS connection that the server closed costs nothing either.
func TestIdleTLSConnectionEnds(t *testing.T) {
	address, config := startTLS(t)
	relay := startRogue(t, func(p *peer) {
		upstream, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		defer upstream.Close()
		go func() {
			_, _ = io.Copy(p, upstream)
			p.Close()
		}()
		_, _ = io.Copy(upstream, p)
	})
	c := clientOf(t, HTTP1Config{Address: relay.address, TLS: config})
	mustSend(t, c, get())
	if spent(c.conn) {
		t.Error("an open TLS connection looks stale")
	}
	relay.hangUp()
	awaitStale(t, c)
	if reply := mustSend(t, c, get()); !reply.Phases.Opened {
		t.Errorf("%+v", reply)
	}
}
