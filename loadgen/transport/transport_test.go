package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
)

func TestHostPort(t *testing.T) {
	for origin, want := range map[string]string{
		"http://me":            "me:80 me false",
		"https://me":           "me:443 me true",
		"http://me:8080":       "me:8080 me:8080 false",
		"https://me:8443/pb":   "me:8443 me:8443 true",
		"http://127.0.0.1:1/":  "127.0.0.1:1 127.0.0.1:1 false",
		"http://[::1]":         "[::1]:80 [::1] false",
		"https://[::1]:8443/x": "[::1]:8443 [::1]:8443 true",
		"me:80":                "want http:// or https://",
		"ftp://me":             "want http:// or https://",
		"http://":              "no host",
		"http:///path":         "no host",
		"http://me:":           "no port after the colon",
	} {
		address, host, useTLS, err := HostPort(origin)
		got := fmt.Sprint(address, " ", host, " ", useTLS)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", origin, got, want)
		}
	}
}

func TestClasses(t *testing.T) {
	opError := func(err error) error { return &net.OpError{Op: "read", Err: err} }
	for name, c := range map[string]struct {
		phase Class
		err   error
		want  Class
	}{
		"the phase decides":       {ClassTLS, io.EOF, ClassTLS},
		"a socket's deadline":     {ClassClosed, opError(os.ErrDeadlineExceeded), ClassTimeout},
		"a context's deadline":    {ClassConnect, fmt.Errorf("dial: %w", context.DeadlineExceeded), ClassTimeout},
		"a context's end":         {ClassDNS, fmt.Errorf("dial: %w", context.Canceled), ClassCanceled},
		"a socket closed by us":   {ClassClosed, opError(net.ErrClosed), ClassCanceled},
		"a timeout of the system": {ClassConnect, &net.DNSError{IsTimeout: true}, ClassTimeout},
	} {
		err := error(fail(c.phase, c.err))
		if ClassOf(fmt.Errorf("wrapped: %w", err)) != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	if ClassOf(io.EOF) != ClassResponse {
		t.Error("a foreign error must have a class too")
	}
	seen := map[Class]bool{}
	for _, class := range Classes() {
		seen[class] = true
	}
	if len(seen) != 7 {
		t.Errorf("classes %v", Classes())
	}
}
