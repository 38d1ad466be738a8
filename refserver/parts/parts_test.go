package parts

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/proc"
)

func TestMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Start(t.Context(), runtimeFor(t), Spec{Name: "nothing", Programs: []string{"no-such-server", "nor-this"}, Package: "some-package"})
	if !errors.Is(err, ErrMissing) {
		t.Fatalf("%v, want ErrMissing", err)
	}
	if want := "start nothing: no-such-server is not installed: apt-get install some-package, or make deps-debian for every real part"; err.Error() != want {
		t.Errorf("got  %q\nwant %q", err, want)
	}
}

func TestLookFindsTheFirst(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	path := filepath.Join(dir, "second")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := Look("p", "first", "second"); got != path || err != nil {
		t.Errorf("%q, %v; want %q", got, err, path)
	}
}

func TestSocketPathTooLong(t *testing.T) {
	rt := runtimeFor(t)
	rt.Dir = filepath.Join(rt.Dir, strings.Repeat("d", maxSocketBytes))
	_, redisErr := StartRedis(t.Context(), rt)
	_, mariaErr := StartMariaDB(t.Context(), rt, t.TempDir())
	for _, err := range []error{redisErr, mariaErr} {
		if err == nil || !strings.Contains(err.Error(), "set TMPDIR") {
			t.Errorf("%v, want the way out", err)
		}
	}
}

func TestPorts(t *testing.T) {
	free, err := FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	taken := listener.Addr().String()
	early := fmt.Errorf("start: %w", proc.ErrExitedEarly)
	for name, c := range map[string]struct {
		err       error
		addresses []string
		want      bool
	}{
		"one is taken":  {early, []string{free, taken}, true},
		"all are free":  {early, []string{free}, false},
		"another cause": {proc.ErrNotReady, []string{taken}, false},
	} {
		if got := PortTaken(t.Context(), c.err, c.addresses...); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if "127.0.0.1:"+port(free) != free {
		t.Errorf("port of %s: %s", free, port(free))
	}
}

// Whenever a start is interrupted nothing is left of it, and the next one works.
func TestInterruptedStarts(t *testing.T) {
	rt, data := runtimeFor(t), t.TempDir()
	for _, after := range []time.Duration{0, 20 * time.Millisecond, 150 * time.Millisecond, 500 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), after)
		m, err := StartMariaDB(ctx, rt, data)
		cancel()
		switch {
		case err == nil: // a fast machine
			_ = m.Stop(t.Context())
		case !errors.Is(err, ErrMissing) && !errors.Is(err, context.DeadlineExceeded):
			t.Errorf("after %v: %v", after, err)
		}
		var status syscall.WaitStatus
		if pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil); !errors.Is(err, syscall.ECHILD) {
			t.Errorf("after %v: a child is left: %d, %v", after, pid, err)
		}
	}
	m, err := StartMariaDB(t.Context(), rt, data)
	started(t, m, err)
}

func TestInstalled(t *testing.T) {
	roles := make(map[string]bool)
	for _, f := range Installed() {
		roles[f.Role] = true
		if f.Missing != nil && (!errors.Is(f.Missing, ErrMissing) || f.Version != "") {
			t.Errorf("%+v", f)
		}
		if strings.ContainsAny(f.Version, " \n,") || f.String() == "" {
			t.Errorf("%s: version %q", f.Program, f.Version)
		}
		t.Log(f)
	}
	for _, role := range []string{"sql", "clicks", "cache", "web", "php", "worker", "log"} {
		if !roles[role] {
			t.Errorf("no %s", role)
		}
	}
}

func TestWordAfter(t *testing.T) {
	for _, c := range []struct{ text, marker, want string }{
		{"nginx version: nginx/1.22.1\n", "nginx/", "1.22.1"},
		{"mariadbd  Ver 10.11.19-MariaDB for debian\n", "Ver ", "10.11.19-MariaDB"},
		{"Redis server v=7.0.15 sha=0", "v=", "7.0.15"},
		{"PHP 8.2.36 (fpm-fcgi)\nZend\n", "PHP ", "8.2.36"},
		{"nothing of the kind", "v=", ""},
		{"v=", "v=", ""},
	} {
		if got := wordAfter(c.text, c.marker); got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}

func TestLineFilter(t *testing.T) {
	long := strings.Repeat("x", maxLogLineBytes)
	for name, c := range map[string]struct {
		writes []string
		want   string
	}{
		"only what counts": {[]string{"a [Note]\nb [ERROR]\nc\n"}, "b [ERROR]\n"},
		"in pieces":        {[]string{"b [ERR", "OR] ", "c\nd\n"}, "b [ERROR] c\n"},
		"incomplete":       {[]string{"[ERROR]"}, ""},
		"either word":      {[]string{"<Fatal>\n[ERROR]\n"}, "<Fatal>\n[ERROR]\n"},
		"too long":         {[]string{"[ERROR]" + long, long + "\nnext [ERROR]\n"}, "[ERROR]" + long[:maxLogLineBytes-7] + "\nnext [ERROR]\n"},
		"word is too far":  {[]string{long + "[ERROR]\n"}, ""},
		"empty lines":      {[]string{"\n\n"}, ""},
	} {
		var out strings.Builder
		f := &lineFilter{to: &out, words: []string{"[ERROR]", "<Fatal>"}}
		for _, w := range c.writes {
			if n, err := f.Write([]byte(w)); n != len(w) || err != nil {
				t.Errorf("%s: write %d, %v", name, n, err)
			}
		}
		if out.String() != c.want {
			t.Errorf("%s: %.60q, want %.60q", name, out.String(), c.want)
		}
	}
}
