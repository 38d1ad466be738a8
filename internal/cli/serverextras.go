package cli

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/postbench/postbench/internal/netem"
	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/cost"
)

const (
	// serverHost is the name that a server's certificate carries beside its
	// address.
	serverHost = "postbench.test"
	// certificateLife is longer than any measurement.
	certificateLife = 30 * 24 * time.Hour
	// maxExtraBytes bounds a file that tells a server of partners, costs or its
	// uplink.
	maxExtraBytes = 16 << 20
)

// serverExtras are what a profile and its partners ask of a server. The zero
// value asks for nothing.
type serverExtras struct {
	Dialects []postback.Dialect
	Costs    []cost.Spec
	Uplink   *netem.PathSpec
	TLS      bool
}

// write writes the files that a server reads below dir, and returns the flags
// that name them; roots believe its certificate, nil without TLS.
func (e *serverExtras) write(dir string) (args []string, roots *x509.CertPool, err error) {
	for _, part := range []struct {
		flag  string
		given bool
		value any
	}{
		{"partners", len(e.Dialects) > 0, e.Dialects},
		{"costs", len(e.Costs) > 0, e.Costs},
		{"uplink", e.Uplink != nil, e.Uplink},
	} {
		if !part.given {
			continue
		}
		text, err := json.Marshal(part.value)
		if err != nil {
			return nil, nil, fmt.Errorf("write the server's %s: %w", part.flag, err)
		}
		file := filepath.Join(dir, part.flag+".json")
		if err := os.WriteFile(file, text, 0o600); err != nil { // secrets are among them
			return nil, nil, fmt.Errorf("write the server's %s: %w", part.flag, err)
		}
		args = append(args, "--"+part.flag, file)
	}
	if !e.TLS {
		return args, nil, nil
	}
	certFile, keyFile := filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key")
	if roots, err = throwAwayCertificate(certFile, keyFile, time.Now()); err != nil {
		return nil, nil, fmt.Errorf("make a certificate: %w", err)
	}
	return append(args, "--tls-cert", certFile, "--tls-key", keyFile), roots, nil
}

// throwAwayCertificate makes a certificate for 127.0.0.1 and serverHost, with
// an authority that signs this one and is forgotten. The keys are ECDSA's on
// P-256, as most servers have them.
func throwAwayCertificate(certFile, keyFile string, now time.Time) (roots *x509.CertPool, err error) {
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "postbench throw-away authority"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certificateLife),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, authorityKey.Public(), authorityKey)
	if err != nil {
		return nil, err
	}
	authority, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	leaf := x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: serverHost},
		NotBefore: template.NotBefore, NotAfter: template.NotAfter,
		DNSNames: []string{serverHost}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if der, err = x509.CreateCertificate(rand.Reader, &leaf, authority, key.Public(), authorityKey); err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600); err != nil {
		return nil, err
	}
	own, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	roots = x509.NewCertPool()
	roots.AddCert(authority)
	// Believed by itself as well: else every handshake verifies the authority's
	// signature anew, a seventh of the generator's CPU where all connections are new.
	roots.AddCert(own)
	return roots, nil
}

// readExtra reads the JSON of a file that a flag names into value; no file, no
// value.
func readExtra(flag, path string, value any) error {
	if path == "" {
		return nil
	}
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("--%s: %w", flag, err)
	}
	defer file.Close()
	decoder := json.NewDecoder(io.LimitReader(file, maxExtraBytes))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(value); err != nil {
		return fmt.Errorf("--%s: %s: %w", flag, path, err)
	}
	if decoder.More() {
		return fmt.Errorf("--%s: %s: more than one JSON value", flag, path)
	}
	return nil
}
