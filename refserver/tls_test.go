package refserver_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/postbench/postbench/refserver"
)

// certificate writes the files of a certificate that only roots believe.
func certificate(t *testing.T) (certFile, keyFile string, roots *x509.CertPool) {
	t.Helper()
	borrowed := httptest.NewTLSServer(nil)
	defer borrowed.Close()
	pair := borrowed.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key")
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]},
		keyFile:  {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots = x509.NewCertPool()
	roots.AddCert(borrowed.Certificate())
	return certFile, keyFile, roots
}

// get asks over a connection of its own and returns its TLS state.
func get(t *testing.T, client *tls.Config, addr, target string) *tls.ConnectionState {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: client, DisableKeepAlives: true, ForceAttemptHTTP2: len(client.NextProtos) > 0}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get("https://" + addr + target)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "OK" {
		t.Fatalf("%s: %s %s, %v", target, response.Status, body, err)
	}
	return response.TLS
}

// Two edges are one server: the session that one has begun is resumed by the
// other, and after a restart by a third.
func TestTLSIsResumedByEveryEdge(t *testing.T) {
	t.Parallel()
	for _, front := range []string{refserver.FrontPlain, refserver.FrontZerocopy} {
		t.Run(front, func(t *testing.T) {
			t.Parallel()
			config := variant(t, "udp-batch", 2, "front", front)
			certFile, keyFile, roots := certificate(t)
			config.TLSCertFile, config.TLSKeyFile = certFile, keyFile
			s, at := run(t, config)
			sent := 0
			var client *tls.Config
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				client = &tls.Config{RootCAs: roots, MinVersion: version, MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
				for i := range 12 {
					state := get(t, client, at.TLS, sale(strconv.Itoa(sent)))
					sent++
					if state.Version != version || state.DidResume != (i > 0) {
						t.Errorf("connection %d: %s, resumed %v", i, tls.VersionName(state.Version), state.DidResume)
					}
				}
			}
			for node, accepted := range acceptedByEdges(t, at.Admin) {
				if accepted == 0 {
					t.Errorf("edge %d was never asked: nothing is shown", node)
				}
			}
			want := map[string]string{refserver.FrontPlain: "h2", refserver.FrontZerocopy: "http/1.1"}[front]
			able := &tls.Config{RootCAs: roots, NextProtos: []string{"h2", "http/1.1"}}
			if got := get(t, able, at.TLS, sale("able")).NegotiatedProtocol; got != want {
				t.Errorf("negotiated %q, want %q", got, want)
			}
			tell(t, at.Admin, "/chaos", `{"do":"kill","role":"edge","node":0}`, 204)
			tell(t, at.Admin, "/chaos", `{"do":"kill","role":"edge","node":1}`, 204)
			eventually(t, "an edge is back", func() bool {
				response, err := http.Get(s.url + "/clock")
				return err == nil && response.Body.Close() == nil
			})
			if !get(t, client, at.TLS, sale("restarted")).DidResume {
				t.Error("a restarted edge does not know the session")
			}
			s.want("GET", sale("plain"), "", 200, "OK") // the plain listener goes on beside
			eventually(t, "all rows", func() bool { return len(s.ledger()) >= sent })
		})
	}
}

// acceptedByEdges is how many postbacks each edge took.
func acceptedByEdges(t *testing.T, admin string) (accepted []int64) {
	t.Helper()
	response, err := http.Get("http://" + admin + "/path")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var path struct {
		Edges []struct{ Counts struct{ Accepted int64 } }
	}
	if err := json.NewDecoder(response.Body).Decode(&path); err != nil {
		t.Fatal(err)
	}
	for _, e := range path.Edges {
		accepted = append(accepted, e.Counts.Accepted)
	}
	return accepted
}

// A server in one process speaks HTTP/2 over TLS to who can, and goes on
// without TLS beside.
func TestTLSOfOneProcess(t *testing.T) {
	t.Parallel()
	config := config(t, t.TempDir(), refserver.CapsAtomic)
	certFile, keyFile, roots := certificate(t)
	config.TLSCertFile, config.TLSKeyFile = certFile, keyFile
	s, at := run(t, config)
	for want, protocols := range map[string][]string{"h2": {"h2"}, "http/1.1": nil} {
		client := &tls.Config{RootCAs: roots, NextProtos: protocols}
		if state := get(t, client, at.TLS, sale(want)); want == "h2" && state.NegotiatedProtocol != want {
			t.Errorf("negotiated %q, want %s", state.NegotiatedProtocol, want)
		}
	}
	s.want("GET", sale("plain"), "", 200, "OK")
	if rows := s.ledger(); len(rows) != 3 {
		t.Errorf("%d rows, want 3", len(rows))
	}
}

func TestTLSFilesAreChecked(t *testing.T) {
	certFile, keyFile, _ := certificate(t)
	for _, files := range [][2]string{{certFile, ""}, {"", keyFile}, {keyFile, certFile}, {certFile, certFile + ".missing"}} {
		config := config(t, t.TempDir(), refserver.CapsAtomic)
		config.TLSCertFile, config.TLSKeyFile = files[0], files[1]
		if err := config.Validate(); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: %v", files, err)
		}
	}
}
