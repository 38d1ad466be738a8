package php

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
	"fmt"
	"maps"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/internal/proc"
	"github.com/postbench/postbench/refserver/parts"
	"github.com/postbench/postbench/refserver/store"
)

func testKeysAreInForceAtOnce(t *testing.T, s *stand) {
	now := time.Now().Unix()
	v := s.serve(t, func(c *Config) { c.Keys = []store.Key{{KID: "first", Secret: []byte("f")}} })
	if response, body := ask(t, http.MethodGet, v.url, signed("first", []byte("f"), "c", "first", "sale", "1", now), ""); response.StatusCode != http.StatusOK {
		t.Errorf("a key from the start: %d %s", response.StatusCode, body)
	}
	for i := range 4 { // more than the generations whose files are kept
		secret := []byte{byte(i), 1}
		target := signed("k", secret, "c", fmt.Sprint(i), "sale", "1", now)
		if response, _ := ask(t, http.MethodGet, v.url, target, ""); response.StatusCode != http.StatusForbidden {
			t.Errorf("before the upload: %d", response.StatusCode)
		}
		csv := fmt.Sprintf("kid,secret_hex\nk,%x\n", secret)
		if response, body := ask(t, http.MethodPost, v.url, "/population/keys", csv); response.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", response.StatusCode, body)
		}
		if response, body := ask(t, http.MethodGet, v.url, target, ""); response.StatusCode != http.StatusOK {
			t.Errorf("after the upload: %d %s", response.StatusCode, body)
		}
	}
	if files, _ := filepath.Glob(filepath.Join(v.dir, "keys", "keys-*.php")); len(files) != 2 {
		t.Errorf("files of keys: %v", files)
	}
	if err := v.KeysChanged([]store.Key{{KID: "", Secret: []byte("x")}}); err == nil {
		t.Error("a key without a name was taken")
	}
	many := make([]store.Key, 20_000)
	for i := range many {
		many[i] = store.Key{KID: fmt.Sprintf("p-%d", i), Secret: bytes.Repeat([]byte{7}, 32)}
	}
	if err := v.KeysChanged(many); err != nil {
		t.Fatal(err)
	}
	target := signed("p-19999", many[0].Secret, "c", "many", "sale", "1", now)
	if response, body := ask(t, http.MethodGet, v.url, target, ""); response.StatusCode != http.StatusOK {
		t.Errorf("one of many: %d %s", response.StatusCode, body)
	}
}

// certificate writes one for 127.0.0.1 that signs itself.
func certificate(t *testing.T) (certFile, keyFile string, roots *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	if err := errors.Join(os.WriteFile(certFile, certPEM, 0o600), os.WriteFile(keyFile, keyPEM, 0o600)); err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(certPEM)
	return certFile, keyFile, roots
}

func testTLSResumesSessions(t *testing.T, s *stand) {
	certFile, keyFile, roots := certificate(t)
	v := s.serve(t, func(c *Config) { c.TLSCertFile, c.TLSKeyFile = certFile, keyFile })
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := &tls.Config{RootCAs: roots, MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
		for visit := range 3 {
			transport := &http.Transport{TLSClientConfig: config}
			response, err := (&http.Client{Transport: transport}).Get(v.tlsURL + fmt.Sprintf("/pb?click_id=tls&txid=%d-%d", version, visit))
			if err != nil {
				t.Fatal(err)
			}
			// Session tickets of 1.3 come with the answer.
			var body bytes.Buffer
			_, _ = body.ReadFrom(response.Body)
			_ = response.Body.Close()
			transport.CloseIdleConnections()
			if response.StatusCode != http.StatusOK || response.TLS.Version != version || response.TLS.DidResume != (visit > 0) {
				t.Errorf("visit %d: %d, version %x, resumed %v", visit, response.StatusCode, response.TLS.Version, response.TLS.DidResume)
			}
		}
	}
}

// More than nginx would keep in memory or allow a postback.
func testLargeUploadPassesThrough(t *testing.T, s *stand) {
	v := s.serve(t, func(*Config) {})
	var csv strings.Builder
	csv.WriteString("click_id,offer_id,clicked_unix_s\n")
	const rows = 200_000
	for i := range rows {
		fmt.Fprintf(&csv, "click-%d,offer,1700000000\n", i)
	}
	if response, body := ask(t, http.MethodPost, v.url, "/population/clicks", csv.String()); body != fmt.Sprintf("{\"loaded\":%d}\n", rows) {
		t.Fatalf("%d %s", response.StatusCode, body)
	}
	if _, body := ask(t, http.MethodGet, v.url, "/pb?click_id=click-199999&event=sale&payout=1", ""); body != "OK" || s.rows(t)[0].OfferID != "offer" {
		t.Errorf("%s, %+v", body, s.rows(t))
	}
	if response, _ := ask(t, http.MethodPost, v.url, "/pb", csv.String()); response.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a postback of %d bytes: %d", csv.Len(), response.StatusCode)
	}
	if response, body := ask(t, http.MethodGet, v.url, "/pb?x="+strings.Repeat("x", headerKiB<<10), ""); response.StatusCode != http.StatusRequestURITooLong || body != "too long" {
		t.Errorf("a very long query: %d %q", response.StatusCode, body)
	}
	v.expectRefused(t, map[int]int64{413: 1, 414: 1})
}

// expectRefused waits for nginx's own log, which comes after the answer.
func (v *serving) expectRefused(t *testing.T, want map[int]int64) {
	t.Helper()
	eventually(t, fmt.Sprintf("nginx has refused %v", want), func() bool {
		got, err := v.Refused()
		if err != nil {
			t.Fatal(err)
		}
		return maps.Equal(got, want)
	})
}

// Many at once: an identity once, each billed conversion counted.
func testRace(t *testing.T, s *stand) {
	v := s.serve(t, func(c *Config) { c.Workers = 8 })
	for path, csv := range population(time.Now().Unix()) {
		ask(t, http.MethodPost, v.url, "/population/"+path, csv)
	}
	const identities, times = 12, 8
	answers := make(map[string]int)
	var mu sync.Mutex
	var wait sync.WaitGroup
	for i := range identities * times {
		wait.Go(func() {
			response, body := ask(t, http.MethodGet, v.url, fmt.Sprintf("/pb?click_id=c-%d&txid=%d&event=sale&payout=1", i%4, i%identities), "")
			mu.Lock()
			defer mu.Unlock()
			answers[fmt.Sprint(response.StatusCode, body)]++
		})
	}
	wait.Wait()
	if answers["200OK"] != identities || answers["200DUP"] != identities*(times-1) {
		t.Errorf("answers: %v", answers)
	}
	billable := int64(0)
	for _, row := range s.rows(t) {
		if row.Verdict == "billable" {
			billable++
		}
	}
	status, _, err := s.books.OfferStatus(t.Context(), "capped")
	if err != nil || status.Billable != billable || billable < status.Cap || len(s.rows(t)) != identities {
		t.Errorf("%d rows, %d billable, %+v, %v", len(s.rows(t)), billable, status, err)
	}
}

func testStopLeavesNothing(t *testing.T, s *stand) {
	v := s.serve(t, func(*Config) {})
	kept := &http.Transport{} // an idle connection must not hold it up
	response, err := (&http.Client{Transport: kept}).Get(v.url + "/pb?click_id=c")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if err := v.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	<-v.Done()
	if conn, err := net.Dial("tcp", strings.TrimPrefix(v.url, "http://")); err == nil {
		_ = conn.Close()
		t.Error("somebody still listens")
	}
	for _, pid := range processesOf(t, v.dir) {
		t.Errorf("process %s is still there", pid)
	}
}

func testPHPDead(t *testing.T, s *stand) {
	v := s.serve(t, func(*Config) {})
	if err := v.fpm.Kill(); err != nil {
		t.Fatal(err)
	}
	<-v.Done()
	response, body := ask(t, http.MethodGet, v.url, "/pb?click_id=c", "")
	if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") != "1" || strings.Contains(body, "<") {
		t.Errorf("%d %q", response.StatusCode, body)
	}
	v.expectRefused(t, map[int]int64{503: 1})
	if response, _ := ask(t, http.MethodGet, v.url, "/clock", ""); response.StatusCode != http.StatusOK {
		t.Errorf("the supervisor: %d", response.StatusCode)
	}
}

func testStartErrors(t *testing.T, s *stand) {
	ctx, cancel := context.WithTimeout(t.Context(), stopLimit)
	defer cancel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	for _, test := range []struct {
		name   string
		change func(*Config)
		want   error
	}{
		{"workers", func(c *Config) { c.Workers = maxWorkers + 1 }, errWorkers},
		{"path", func(c *Config) { c.Runtime.Dir += "/a b" }, errPath},
		{"socket", func(c *Config) { c.Runtime.Dir += "/" + strings.Repeat("d", maxSocketBytes) }, errSocket},
		{"dialect", func(c *Config) { c.Dialects = []postback.Dialect{{Partner: "p", Target: "/"}} }, postback.ErrDialect},
		{"port", func(c *Config) { c.Addr = taken.Addr().String() }, proc.ErrExitedEarly},
	} {
		config := Config{Runtime: parts.Runtime{Dir: shortDir(t), Guard: guard()}, Addr: "127.0.0.1:1", Admin: "127.0.0.1:1", MariaDB: s.mariadb, ClickHouseHTTP: s.httpAt}
		test.change(&config)
		_, err := Start(ctx, config)
		if !errors.Is(err, test.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", test.name, err)
		}
		if test.name == "port" && !parts.PortTaken(ctx, err, config.Addr) {
			t.Errorf("%v is not told from other errors", err)
		}
		if left := processesOf(t, config.Runtime.Dir); len(left) > 0 {
			t.Errorf("%s: processes left: %v", test.name, left)
		}
	}
}
