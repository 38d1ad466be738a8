package worker

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/internal/proc"
	"github.com/postbench/postbench/refserver/parts"
	"github.com/postbench/postbench/refserver/store"
)

// keyPair writes a certificate for 127.0.0.1 and its key.
func keyPair(t testing.TB) (certFile, keyFile string, roots *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir, roots := t.TempDir(), x509.NewCertPool()
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	roots.AppendCertsFromPEM(certPEM)
	certFile, keyFile = filepath.Join(dir, "crt"), filepath.Join(dir, "key")
	for name, text := range map[string][]byte{certFile: certPEM, keyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile, roots
}

func TestTLS(t *testing.T) {
	certFile, keyFile, roots := keyPair(t)
	buffer, addr := &memory{}, freePort(t)
	startWorker(t, Config{Edge: serveEdge(t, edgeConfig(buffer)), TLSAddr: addr, TLSCertFile: certFile, TLSKeyFile: keyFile})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		var resumed []bool
		transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
			RootCAs: roots, MinVersion: version, MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1),
		}}
		for range 2 {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+addr+"/pb?click_id=c1", nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := transport.RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
			if response.StatusCode != http.StatusOK || len(buffer.rows(t)) != 1 {
				t.Errorf("%s: %s", tls.VersionName(version), response.Status)
			}
			resumed = append(resumed, response.TLS.DidResume)
		}
		// Of TLS 1.2 workerd keeps sessions, but gives no tickets.
		if version == tls.VersionTLS13 && !slices.Equal(resumed, []bool{false, true}) {
			t.Errorf("%s: resumed %v, want the second", tls.VersionName(version), resumed)
		}
	}
}

// An edge may listen on a unix socket, and may come after the worker.
func TestEdgeComesLater(t *testing.T) {
	dir, err := os.MkdirTemp("", "edge")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket, buffer := filepath.Join(dir, "edge.sock"), &memory{}
	addr := startWorker(t, Config{Edge: socket}).addr
	if got := ask(t, addr, get("/pb?click_id=c1")); got.status != http.StatusBadGateway || !strings.Contains(got.body, "edge") {
		t.Errorf("without an edge: %d %q", got.status, got.body)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	serveEdgeOn(t, listener, edgeConfig(buffer))
	if got := ask(t, addr, get("/pb?click_id=c1")); got.status != http.StatusOK || len(buffer.rows(t)) != 1 {
		t.Errorf("with an edge: %d %q", got.status, got.body)
	}
}

// What has begun is finished before workerd ends, and then nothing listens.
func TestStopFinishesWhatHasBegun(t *testing.T) {
	config, begun, goOn := edgeConfig(&memory{}), make(chan struct{}), make(chan struct{})
	config.Admin = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-goOn
		_, _ = io.WriteString(w, "finished")
	})
	w := startWorker(t, Config{Edge: serveEdge(t, config)})
	idle, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	_ = idle.SetDeadline(time.Now().Add(testLimit))
	if _, err := io.WriteString(idle, get("/pb?click_id=c1")); err != nil {
		t.Fatal(err)
	}
	answered := make(chan answer, 1)
	go func() {
		defer close(answered)
		answered <- ask(t, w.addr, get("/ledger", "Connection: close"))
	}()
	<-begun
	stopped := make(chan error, 1)
	go func() { stopped <- w.Stop(context.Background()) }()
	if _, err := io.Copy(io.Discard, idle); err != nil { // to its end: workerd has heard of it
		t.Error(err)
	}
	close(goOn)
	if got := <-answered; got.body != "finished" {
		t.Errorf("answer %+v", got)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	select {
	case <-w.Done():
	default:
		t.Error("stopped, but not done")
	}
	if w.CPUTime() <= 0 {
		t.Error("it took no CPU time")
	}
	if err := w.SetKeys(keysOf(1)); err == nil {
		t.Error("a worker that has ended took keys")
	}
}

func TestStartsAgain(t *testing.T) {
	buffer := &memory{}
	w := startWorker(t, Config{Edge: serveEdge(t, edgeConfig(buffer))})
	if c := w.Component(); c.Role != "worker" || c.Implementation != "workerd" || !strings.HasPrefix(c.Version, "20") || c.Embedded {
		t.Errorf("component %+v", c)
	}
	if err := w.Kill(); err != nil {
		t.Fatal(err)
	}
	<-w.Done()
	config := w.config
	again, err := Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.Stop(context.Background()) }()
	if got := ask(t, w.addr, get("/pb?click_id=c1")); got.status != http.StatusOK {
		t.Errorf("%d %q", got.status, got.body)
	}
}

func TestPortInUse(t *testing.T) {
	w := startWorker(t, Config{Edge: "127.0.0.1:1"})
	config := w.config
	config.Runtime.Dir = t.TempDir()
	_, err := Start(t.Context(), config)
	if !errors.Is(err, proc.ErrExitedEarly) || !parts.PortTaken(t.Context(), err, config.Addr) || strings.Contains(err.Error(), "\n") {
		t.Errorf("a second worker on one port: %v", err)
	}
}

func TestNotInstalled(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Start(t.Context(), Config{Runtime: parts.Runtime{Dir: t.TempDir()}, Addr: "127.0.0.1:1", Edge: "127.0.0.1:1", Token: token})
	if !errors.Is(err, parts.ErrMissing) || !strings.Contains(err.Error(), "workerd") {
		t.Errorf("error %v, want %v", err, parts.ErrMissing)
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := Config{Addr: "127.0.0.1:1", Edge: "127.0.0.1:2", Token: token, Keys: keysOf(1)}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for what, spoil := range map[string]func(*Config){
		"no address":             func(c *Config) { c.Addr = "" },
		"no edge":                func(c *Config) { c.Edge = "" },
		"no token":               func(c *Config) { c.Token = "" },
		"token with a quote":     func(c *Config) { c.Token = `x" ), ( name = "y` },
		"token with an end":      func(c *Config) { c.Token = "x\r\nHost: y" },
		"TLS without a key":      func(c *Config) { c.TLSAddr, c.TLSCertFile = "127.0.0.1:3", "crt" },
		"key without TLS":        func(c *Config) { c.TLSCertFile, c.TLSKeyFile = "crt", "key" },
		"a key that is none":     func(c *Config) { c.Keys = []store.Key{{KID: "k"}} },
		"a dialect that is none": func(c *Config) { c.Dialects = []postback.Dialect{{Partner: "p", Target: "/x"}} },
	} {
		config := good
		spoil(&config)
		if err := config.Validate(); err == nil || bytes.ContainsAny([]byte(err.Error()), "\r\n") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
