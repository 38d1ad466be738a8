package refserver

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
)

// The protocols that a front offers over TLS, by ALPN.
const (
	alpnHTTP1 = "http/1.1"
	alpnHTTP2 = "h2"
)

const (
	// maxKeyFileBytes bounds a certificate or key file.
	maxKeyFileBytes = 1 << 20
	// ticketKeyBytes is the length of a session ticket key.
	ticketKeyBytes = 32
)

// errTLSFiles is half of what TLS needs.
var errTLSFiles = errors.New("TLS needs a certificate and its key: name both files or none")

// loadTLS is the configuration of a listener that speaks TLS 1.2 and 1.3, nil
// without a certificate. The key of the session tickets is made from the key
// file, so that every process of a server, and its successor, resumes what
// another one began.
func loadTLS(certFile, keyFile string, protocols ...string) (*tls.Config, error) {
	if certFile == "" && keyFile == "" {
		return nil, nil
	}
	certificate, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("load certificate %s with key %s: %w", certFile, keyFile, err)
	}
	secret, err := readLimited(keyFile, maxKeyFileBytes)
	if err != nil {
		return nil, fmt.Errorf("load the key: %w", err)
	}
	derived, err := hkdf.Key(sha256.New, secret, nil, "postbench session tickets", ticketKeyBytes)
	if err != nil {
		return nil, fmt.Errorf("derive the session ticket key: %w", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}, NextProtos: protocols}
	config.SetSessionTicketKeys([][ticketKeyBytes]byte{[ticketKeyBytes]byte(derived)})
	return config, nil
}

// checkTLS loads the files for their errors alone.
func (c *Config) checkTLS() error {
	if (c.TLSCertFile == "") != (c.TLSKeyFile == "") {
		return errTLSFiles
	}
	_, err := loadTLS(c.TLSCertFile, c.TLSKeyFile)
	return err
}

// joinedListener is several listeners as one.
type joinedListener struct {
	inner    []net.Listener // the first one's address is the address
	accepted chan acceptance
	closed   chan struct{}
	closing  sync.Once
}

type acceptance struct {
	conn net.Conn
	err  error
}

// joinListeners accepts from all of inner, which are the joined one's to close.
func joinListeners(inner ...net.Listener) net.Listener {
	if len(inner) == 1 {
		return inner[0]
	}
	j := &joinedListener{inner: inner, accepted: make(chan acceptance), closed: make(chan struct{})}
	for _, l := range inner {
		go j.accept(l)
	}
	return j
}

func (j *joinedListener) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		select {
		case j.accepted <- acceptance{conn, err}:
		case <-j.closed:
			if conn != nil {
				_ = conn.Close()
			}
			return
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

// Accept returns the next connection of any of them.
func (j *joinedListener) Accept() (net.Conn, error) {
	select {
	case a := <-j.accepted:
		return a.conn, a.err
	case <-j.closed:
		return nil, net.ErrClosed
	}
}

// Close closes all of them.
func (j *joinedListener) Close() error {
	j.closing.Do(func() { close(j.closed) })
	var errs []error
	for _, l := range j.inner {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// Addr is the first one's.
func (j *joinedListener) Addr() net.Addr { return j.inner[0].Addr() }
