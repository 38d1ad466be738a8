package netem

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/nettest"
)

// serve accepts connections and hands each to its own goroutine.
func serve(t testing.TB, handle func(*net.TCPConn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				handle(c.(*net.TCPConn))
			}()
		}
	}()
	return listener.Addr().String()
}

// answer sends 200 bytes for every 350.
func answer(c *net.TCPConn) {
	var request [350]byte
	var reply [200]byte
	for {
		if _, err := io.ReadFull(c, request[:]); err != nil {
			return
		}
		if _, err := c.Write(reply[:]); err != nil {
			return
		}
	}
}

func exchange(c net.Conn) error {
	var request [350]byte
	var reply [200]byte
	if _, err := c.Write(request[:]); err != nil {
		return err
	}
	_, err := io.ReadFull(c, reply[:])
	return err
}

func newTestPath(t testing.TB, spec PathSpec) *Path {
	t.Helper()
	n := NewNetwork(1)
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	p, err := n.Path(spec)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func dialTest(t testing.TB, p *Path, address string) net.Conn {
	t.Helper()
	c, err := p.Dial(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// The standard library's own test of what a net.Conn has to do.
func TestConnIsANetConn(t *testing.T) {
	p := newTestPath(t, PathSpec{RTTNs: 200_000})
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		accepted := make(chan net.Conn)
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, nil, err
		}
		go func() {
			c, _ := listener.Accept()
			accepted <- c
		}()
		c1, err = p.Dial(t.Context(), "tcp", listener.Addr().String())
		c2 = <-accepted
		return c1, c2, func() { _, _, _ = c1.Close(), c2.Close(), listener.Close() }, err
	})
}

func TestExchangeTakesARoundTrip(t *testing.T) {
	for _, rttNs := range []int64{85 * msNs, 300_000} {
		p := newTestPath(t, PathSpec{RTTNs: rttNs})
		c := dialTest(t, p, serve(t, answer))
		var took []int64
		for range 25 {
			start := time.Now()
			if err := exchange(c); err != nil {
				t.Fatal(err)
			}
			took = append(took, time.Since(start).Nanoseconds())
		}
		slices.Sort(took)
		t.Logf("%d ns took %d ns, in the median %d", rttNs, took[0], took[len(took)/2])
		// The lower quarter, because others may use these cores too: 2 % and three wake-ups.
		if took[0] < rttNs || took[len(took)/4] > rttNs+rttNs/50+msNs/2 {
			t.Errorf("exchanges over %d ns took %d to %d ns", rttNs, took[0], took[len(took)/4])
		}
	}
}

func TestDialTakesARoundTrip(t *testing.T) {
	p := newTestPath(t, PathSpec{Name: "x", RTTNs: 40 * msNs})
	start := time.Now()
	c := dialTest(t, p, serve(t, answer))
	if took := time.Since(start); took < 40*time.Millisecond || took > 80*time.Millisecond { // less than two
		t.Errorf("dialled in %v", took)
	}
	if err := exchange(c); err != nil {
		t.Fatal(err)
	}
	want := Truth{Name: "x", Connections: 1, Segments: 4, DelayNs: 80 * msNs}
	if got := p.Truth(); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestDialFails(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	p := newTestPath(t, PathSpec{RTTNs: 20 * msNs})
	start := time.Now()
	_, err = p.Dial(t.Context(), "tcp", closed.Addr().String())
	if took := time.Since(start); !errors.Is(err, syscall.ECONNREFUSED) || took < 20*time.Millisecond {
		t.Errorf("refused with %v after %v", err, took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if _, err = p.Dial(ctx, "tcp", closed.Addr().String()); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if truth := p.Truth(); truth.Failed != 2 || truth.Connections != 0 {
		t.Errorf("%+v", truth)
	}
}

// What was written before Close arrives, and then the FIN.
func TestCloseLetsTheLastBytesTravel(t *testing.T) {
	got := make(chan []byte, 1)
	address := serve(t, func(c *net.TCPConn) {
		b, _ := io.ReadAll(c)
		got <- b
	})
	p := newTestPath(t, PathSpec{RTTNs: 20 * msNs, Loss: GilbertElliott{GoodLoss: 0.2}})
	c := dialTest(t, p, address)
	sent := bytes.Repeat([]byte("postbench"), 5000)
	if _, err := c.Write(sent); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case b := <-got:
		if !bytes.Equal(b, sent) {
			t.Errorf("%d bytes arrived of %d", len(b), len(sent))
		}
	case <-time.After(patience):
		t.Fatal("no FIN")
	}
	waitFor(t, func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.busy == 0 && len(p.conns) == 0 })
}

func TestHalfClose(t *testing.T) {
	address := serve(t, func(c *net.TCPConn) {
		b, _ := io.ReadAll(c)
		_, _ = c.Write(b)
	})
	c := dialTest(t, newTestPath(t, PathSpec{RTTNs: 10 * msNs}), address)
	if _, err := c.Write([]byte("to the end")); err != nil {
		t.Fatal(err)
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("a write behind the FIN: %v", err)
	}
	if b, err := io.ReadAll(c); err != nil || string(b) != "to the end" {
		t.Errorf("%q, %v", b, err)
	}
}

// The partner knows of a FIN only when it has travelled.
func TestStale(t *testing.T) {
	type staler interface{ Stale() bool }
	p := newTestPath(t, PathSpec{RTTNs: 500 * msNs}) // far, so that a busy machine looks in time
	ended := make(chan struct{}, 2)
	for what, handle := range map[string]func(c *net.TCPConn){
		"FIN": func(c *net.TCPConn) { _, _ = c.Read(make([]byte, 1)); _ = c.CloseWrite(); ended <- struct{}{} },
		"bytes": func(c *net.TCPConn) {
			_, _ = c.Read(make([]byte, 1))
			_, _ = c.Write([]byte("408"))
			ended <- struct{}{}
		},
	} {
		hold := make(chan struct{})
		defer close(hold)
		c := dialTest(t, p, serve(t, func(c *net.TCPConn) { handle(c); <-hold }))
		if c.(staler).Stale() {
			t.Errorf("%s: stale from the beginning", what)
		}
		_, _ = c.Write([]byte("x"))
		<-ended
		if c.(staler).Stale() {
			t.Errorf("%s: known before it has travelled", what)
		}
		waitFor(t, c.(staler).Stale)
	}
}

func TestResetTravels(t *testing.T) {
	address := serve(t, func(c *net.TCPConn) {
		_, _ = c.Read(make([]byte, 1))
		_ = c.SetLinger(0)
	})
	c := dialTest(t, newTestPath(t, PathSpec{RTTNs: 20 * msNs}), address)
	_, _ = c.Write([]byte("x"))
	start := time.Now()
	_, err := c.Read(make([]byte, 1))
	if took := time.Since(start); !errors.Is(err, syscall.ECONNRESET) || took < 19*time.Millisecond {
		t.Errorf("%v after %v", err, took)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a write after the reset: %v", err)
	}
}

// A peer that reads nothing stops the writer; one that does lets it go on.
func TestBackPressure(t *testing.T) {
	const total = 8 << 20
	begin := make(chan struct{})
	sum := make(chan int64, 1)
	address := serve(t, func(c *net.TCPConn) {
		<-begin
		n, _ := io.Copy(io.Discard, c)
		sum <- n
	})
	c := dialTest(t, newTestPath(t, PathSpec{RTTNs: msNs}), address)
	_ = c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	n, err := c.Write(make([]byte, 64<<20))
	if !errors.Is(err, os.ErrDeadlineExceeded) || n >= 64<<20 {
		t.Fatalf("wrote %d bytes to a peer that does not read: %v", n, err)
	}
	close(begin)
	_ = c.SetWriteDeadline(time.Time{})
	if _, err := c.Write(make([]byte, total)); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if got := <-sum; got != int64(n)+total {
		t.Errorf("%d bytes arrived of %d", got, n+total)
	}
}

func TestRateLimit(t *testing.T) {
	const bits, size = 8e6, 200_000
	address := serve(t, func(c *net.TCPConn) { _, _ = c.Write(make([]byte, size)) })
	c := dialTest(t, newTestPath(t, PathSpec{RTTNs: msNs, RateBitsPerS: bits}), address)
	start := time.Now()
	if n, err := io.Copy(io.Discard, c); n != size || err != nil {
		t.Fatal(n, err)
	}
	if took := time.Since(start).Seconds(); took < 0.9*size*8/bits || took > 3*size*8/bits {
		t.Errorf("%v s", took)
	}
}

func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"postbench.test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// New connections: TLS 1.3 costs 3 round trips with the request, full or
// resumed; TLS 1.2 4 if full, 3 if resumed.
func TestHandshakesOverTLS(t *testing.T) {
	certificate, pool := selfSigned(t)
	server := &tls.Config{Certificates: []tls.Certificate{certificate}}
	address := serve(t, func(c *net.TCPConn) {
		secure := tls.Server(c, server)
		var request [350]byte
		if _, err := io.ReadFull(secure, request[:]); err == nil {
			_, _ = secure.Write(make([]byte, 200))
			_, _ = io.Copy(io.Discard, secure)
		}
	})
	const rtt = 85 * time.Millisecond
	p := newTestPath(t, PathSpec{RTTNs: rtt.Nanoseconds()})
	for _, c := range []struct {
		version    uint16
		roundTrips [2]int // full, resumed
	}{{tls.VersionTLS13, [2]int{3, 3}}, {tls.VersionTLS12, [2]int{4, 3}}} {
		fastest := [2]time.Duration{time.Hour, time.Hour}
		tooSlow := func(i int) bool { return fastest[i] > time.Duration(c.roundTrips[i])*rtt*105/100 }
		// The best of up to ten: a handshake's arithmetic takes a core, which may be busy.
		for tries := 0; tries < 10 && (tooSlow(0) || tooSlow(1)); tries++ {
			client := &tls.Config{RootCAs: pool, ServerName: "postbench.test", MaxVersion: c.version, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
			for i := range fastest {
				start := time.Now()
				secure := tls.Client(dialTest(t, p, address), client)
				if err := exchange(secure); err != nil {
					t.Fatal(err)
				}
				fastest[i] = min(fastest[i], time.Since(start))
				if resumed := secure.ConnectionState().DidResume; resumed != (i == 1) {
					t.Errorf("TLS %x, connection %d: resumed %v", c.version, i, resumed)
				}
				_ = secure.Close()
			}
		}
		for i, trips := range c.roundTrips {
			if want := time.Duration(trips) * rtt; fastest[i] < want || tooSlow(i) {
				t.Errorf("TLS %x, connection %d: %v, want %v and 5 %%", c.version, i, fastest[i], want)
			}
		}
	}
}
