package exchange

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"
)

// Kind is a way to connect.
type Kind struct {
	Name           string
	NewConnections bool
	TLSVersion     uint16 // of crypto/tls; 0 speaks plainly
	Resume         bool
}

// Kinds are the ways in which partners connect.
func Kinds() []Kind {
	return []Kind{
		{Name: "kept connection"},
		{Name: "new connection", NewConnections: true},
		{Name: "new, TLS 1.3 full", NewConnections: true, TLSVersion: tls.VersionTLS13},
		{Name: "new, TLS 1.3 resumed", NewConnections: true, TLSVersion: tls.VersionTLS13, Resume: true},
		{Name: "new, TLS 1.2 full", NewConnections: true, TLSVersion: tls.VersionTLS12},
		{Name: "new, TLS 1.2 resumed", NewConnections: true, TLSVersion: tls.VersionTLS12, Resume: true},
	}
}

// serverName is in the certificate.
const serverName = "postbench.test"

// Measure does exchanges of a kind, connections of them at once, with a server
// of its own behind listener, which it closes. It returns the samples.
func (k Kind) Measure(ctx context.Context, listener net.Listener, dial Dial, exchanges, connections int) ([]Sample, error) {
	w := workload{exchanges: exchanges, connections: connections, newConnections: k.NewConnections, resume: k.Resume}
	var server *tls.Config
	if k.TLSVersion != 0 {
		certificate, roots, err := selfSigned()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("exchange: certificate: %w", err), listener.Close())
		}
		server = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: k.TLSVersion, MaxVersion: k.TLSVersion}
		w.tls = &tls.Config{RootCAs: roots, ServerName: serverName, MinVersion: k.TLSVersion, MaxVersion: k.TLSVersion}
	}
	served := make(chan error, 1)
	go func() { served <- serve(listener, server) }()
	samples, err := run(ctx, dial, w)
	return samples, errors.Join(err, listener.Close(), <-served)
}

// selfSigned makes a certificate for serverName that lives an hour.
func selfSigned() (tls.Certificate, *x509.CertPool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: serverName}, DNSNames: []string{serverName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots, nil
}

// Percentiles returns the totals of samples at percentiles of 100, by nearest
// rank. There must be samples.
func Percentiles(samples []Sample, percentiles ...float64) []time.Duration {
	totals := make([]time.Duration, len(samples))
	for i, s := range samples {
		totals[i] = s.Total()
	}
	slices.Sort(totals)
	values := make([]time.Duration, len(percentiles))
	for i, p := range percentiles {
		values[i] = totals[min(len(totals)-1, int(p/100*float64(len(totals))))]
	}
	return values
}

// Mean returns the mean total. There must be samples.
func Mean(samples []Sample) time.Duration {
	var sum time.Duration
	for _, s := range samples {
		sum += s.Total()
	}
	return sum / time.Duration(len(samples))
}
