// Package transport holds the clients that carry a postback to a server, one
// file per protocol. A client owns one connection, sends one request at a time
// and never sends a request twice: what a library would retry in silence is an
// error here, so that attempts and requests on the wire are the same number.
package transport

import (
	"context"
	"errors"
	"net"
	"strings"
)

// Request is one HTTP request, ready to be sent. The buffers belong to the
// caller and must stay unchanged until Send returns.
type Request struct {
	Method string
	Target []byte // path?query as on the request line
	Header []byte // further header lines, each ended by CRLF
	Body   []byte
}

// Reply is the answer to a request.
type Reply struct {
	Status int
	// Body belongs to the client and is valid until its next Send.
	Body   []byte
	Phases Phases
	// FirstByteNs is the time from the start of Send to the first byte of the
	// answer, in ns.
	FirstByteNs int64
	// ServerTiming is what the server says of its stages, for ReadTiming; empty
	// where it says nothing, or the protocol has no headers. It belongs to the
	// client like Body.
	ServerTiming []byte
	// TimingCut says that more was said than a client keeps.
	TimingCut bool
}

// Phases splits a request's time, in ns. DNS, Connect and TLS are 0 on a
// connection that was already open.
type Phases struct {
	DNSNs, ConnectNs, TLSNs, WaitNs, BodyNs int64
	// Opened says that the request opened a connection.
	Opened bool
	// Secured says that the request completed a TLS handshake, Resumed that
	// this handshake resumed an earlier session.
	Secured, Resumed bool
}

// Class groups the errors of Send for counting.
type Class string

// The classes of errors.
const (
	ClassTimeout  Class = "timeout"
	ClassDNS      Class = "dns"
	ClassConnect  Class = "connect"
	ClassTLS      Class = "tls"
	ClassClosed   Class = "closed"   // the peer closed or reset the connection
	ClassResponse Class = "response" // the answer is not HTTP or exceeds a limit
	ClassCanceled Class = "canceled" // the run gave up waiting
)

// Classes lists every class.
func Classes() []Class {
	return []Class{ClassTimeout, ClassDNS, ClassConnect, ClassTLS, ClassClosed, ClassResponse, ClassCanceled}
}

// Error is the error of every Send.
type Error struct {
	Class Class
	Err   error
}

// Error implements error.
func (e *Error) Error() string { return string(e.Class) + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ClassOf returns the class of an error of Send.
func ClassOf(err error) Class {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return ClassResponse
}

// fail wraps err; a deadline or a cancellation outranks the phase it struck in.
func fail(class Class, err error) *Error {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, context.Canceled) || errors.Is(err, net.ErrClosed):
		class = ClassCanceled
	case errors.As(err, &timeout) && timeout.Timeout():
		class = ClassTimeout
	}
	return &Error{Class: class, Err: err}
}

// HostPort returns the address to dial for an origin such as
// "https://me.example" or "http://127.0.0.1:8080", and whether it wants TLS.
func HostPort(origin string) (address, host string, useTLS bool, err error) {
	rest, useTLS := strings.CutPrefix(origin, "https://")
	if !useTLS {
		var ok bool
		if rest, ok = strings.CutPrefix(origin, "http://"); !ok {
			return "", "", false, errors.New("want http:// or https://")
		}
	}
	host, _, _ = strings.Cut(rest, "/")
	if host == "" {
		return "", "", false, errors.New("no host")
	}
	if _, port, err := net.SplitHostPort(host); err == nil {
		if port == "" {
			return "", "", false, errors.New("no port after the colon")
		}
		return host, host, useTLS, nil
	}
	port := "80"
	if useTLS {
		port = "443"
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), port), host, useTLS, nil
}
