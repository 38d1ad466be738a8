//go:build unix

package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// shapedConn is a connection that is no socket and judges for itself.
type shapedConn struct {
	net.Conn
	stale atomic.Bool
	asked atomic.Int64
}

func (c *shapedConn) Stale() bool {
	c.asked.Add(1)
	return c.stale.Load()
}

// dialShaped dials and keeps what it dialled.
func dialShaped(dialled *[]*shapedConn) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		shaped := &shapedConn{Conn: conn}
		*dialled = append(*dialled, shaped)
		return shaped, nil
	}
}

func TestDialledConnectionIsAskedWhetherItIsStale(t *testing.T) {
	for name, secured := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			var dialled []*shapedConn
			cfg := HTTP1Config{Address: startRogue(t, answering(okAnswer)).address, Dial: dialShaped(&dialled)}
			if secured {
				cfg.Address, cfg.TLS = startTLS(t)
			}
			c := clientOf(t, cfg)
			for i, stale := range []bool{false, false, true, false} {
				if i > 0 {
					dialled[len(dialled)-1].stale.Store(stale)
				}
				if reply := mustSend(t, c, get()); reply.Phases.Opened != (i == 0 || stale) {
					t.Errorf("request %d: %+v", i, reply)
				}
			}
			if len(dialled) != 2 || dialled[0].asked.Load() != 2 || dialled[1].asked.Load() != 1 {
				t.Errorf("%d dialled", len(dialled))
			}
		})
	}
}

func TestDialFails(t *testing.T) {
	for want, err := range map[Class]error{ClassConnect: syscall.ECONNREFUSED, ClassTimeout: context.DeadlineExceeded} {
		c := clientOf(t, HTTP1Config{Address: "127.0.0.1:1",
			Dial: func(context.Context, string, string) (net.Conn, error) { return nil, err }})
		if reply, got := c.Send(t.Context(), get(), patience()); ClassOf(got) != want || !errors.Is(got, err) || !reply.Phases.Opened {
			t.Errorf("%v, want %s", got, want)
		}
	}
}

// A look-up comes before each connect and not before each request, and its
// time is that of DNS.
func TestResolve(t *testing.T) {
	const took = 5 * time.Millisecond
	server := startRogue(t, answering(okAnswer))
	for name, closeEach := range map[string]bool{"kept": false, "closed": true} {
		lookups := 0
		c := clientOf(t, HTTP1Config{Address: server.address, CloseEach: closeEach, Resolve: func(context.Context) (bool, error) {
			lookups++
			time.Sleep(took) // the time that is measured
			return true, nil
		}})
		for i := range 3 {
			opened := i == 0 || closeEach
			if p := mustSend(t, c, get()).Phases; p.Opened != opened || (p.DNSNs >= int64(took)) != opened {
				t.Errorf("%s: request %d: %+v", name, i, p)
			}
		}
		if want := map[bool]int{false: 1, true: 3}[closeEach]; lookups != want {
			t.Errorf("%s: %d look-ups, want %d", name, lookups, want)
		}
	}
}

// Whoever knows the name already has not looked it up.
func TestKnownNameIsNoLookUp(t *testing.T) {
	server := startRogue(t, answering(okAnswer))
	c := clientOf(t, HTTP1Config{Address: server.address, Resolve: func(context.Context) (bool, error) { return false, nil }})
	if p := mustSend(t, c, get()).Phases; p.DNSNs != 0 || !p.Opened {
		t.Errorf("%+v", p)
	}
}

func TestResolveFails(t *testing.T) {
	server := startRogue(t, answering(okAnswer))
	var failure error
	c := clientOf(t, HTTP1Config{Address: server.address, Resolve: func(ctx context.Context) (bool, error) {
		if failure != nil {
			return true, failure
		}
		<-ctx.Done()
		return true, ctx.Err()
	}})
	if _, err := c.Send(t.Context(), get(), time.Now().Add(20*time.Millisecond)); ClassOf(err) != ClassTimeout {
		t.Errorf("silent name server: %v", err)
	}
	failure = io.ErrUnexpectedEOF
	if _, err := c.Send(t.Context(), get(), patience()); ClassOf(err) != ClassDNS || !errors.Is(err, failure) {
		t.Errorf("%v", err)
	}
	if connections, _ := server.counts(); connections != 0 {
		t.Errorf("%d connections without an address", connections)
	}
}

func TestBody(t *testing.T) {
	answers := []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nsuccess=true;",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nDU\r\n1\r\nP\r\n0\r\n\r\n",
		"HTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno",
	}
	server := startRogue(t, func(p *peer) {
		for i := 0; p.read(); i++ {
			p.say(answers[i])
		}
	})
	c := clientOf(t, HTTP1Config{Address: server.address})
	for _, want := range []string{"success=true;", "DUP", "", "no"} {
		if reply := mustSend(t, c, get()); string(reply.Body) != want {
			t.Errorf("body %q, want %q", reply.Body, want)
		}
	}
}

func TestHandshakesAreToldApart(t *testing.T) {
	address, config := startTLS(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		versioned := config.Clone()
		versioned.MaxVersion, versioned.ClientSessionCache = version, tls.NewLRUClientSessionCache(0)
		first := clientOf(t, HTTP1Config{Address: address, TLS: versioned})
		again := clientOf(t, HTTP1Config{Address: address, TLS: versioned, CloseEach: true})
		for _, c := range []struct {
			name             string
			client           *HTTP1
			secured, resumed bool
		}{{"new", first, true, false}, {"kept", first, false, false}, {"resumed", again, true, true}, {"resumed again", again, true, true}} {
			if p := mustSend(t, c.client, get()).Phases; p.Secured != c.secured || p.Resumed != c.resumed {
				t.Errorf("%s, %s: %+v", tls.VersionName(version), c.name, p)
			}
		}
	}
	config.RootCAs = nil
	unknown := clientOf(t, HTTP1Config{Address: address, TLS: config})
	if reply, err := unknown.Send(t.Context(), get(), patience()); err == nil || reply.Phases.Secured {
		t.Errorf("a handshake that failed: %+v", reply.Phases)
	}
}
