package schedule

import (
	"fmt"
	"strings"
	"testing"
)

// logLine is an access log line at 13:55:<second> with the given quoted request.
func logLine(second int, request string) string {
	return fmt.Sprintf(`203.0.113.7 - - [10/Oct/2000:13:55:%02d -0700] "%s" 200 12 "-" "curl/8"`, second, request)
}

func parseLog(lines ...string) ([]Replayed, error) {
	entries, _, err := ParseAccessLog("access.log", strings.NewReader(strings.Join(lines, "\n")))
	return entries, err
}

func TestParseAccessLogLines(t *testing.T) {
	const head = `1.2.3.4 - - [10/Oct/2000:13:55:36 -0700] `
	tests := []struct{ name, line, method, target, host string }{
		{"common", `127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326`, "GET", "/apache_pb.gif", ""},
		{"combined", head + `"POST /pb?a=1&b=%20x HTTP/1.1" 204 - "http://h/\"q\"" "Mozilla/5.0 (X11; \x22)"`, "POST", "/pb?a=1&b=%20x", ""},
		{"further fields", head + `"GET / HTTP/2.0" 499 0 "-" "-" "10.0.0.1" rt=0.003`, "GET", "/", ""},
		{"virtual host first", `shop.example:443 ` + head + `"GET /v HTTP/1.1" 200 1`, "GET", "/v", ""},
		{"brackets in the user name", `::1 - a [b [c] "d" [10/Oct/2000:13:55:36 -0700] "GET /u HTTP/1.1" 200 1`, "GET", "/u", ""},
		{"carriage return", head + `"GET /r HTTP/1.1" 200 1` + "\r", "GET", "/r", ""},
		{"without a version", head + `"GET /old" 200 1`, "GET", "/old", ""},
		{"absolute URL", head + `"GET http://h.example:81/p?q#f HTTP/1.1" 200 1`, "GET", "/p?q", "h.example:81"},
		{"absolute URL without a path", head + `"GET HTTPS://h?q HTTP/1.1" 200 1`, "GET", "/?q", "h"},
		{"nginx escapes", head + `"GET /a\x22b\xC3\xA9\x5C HTTP/1.1" 200 1`, "GET", `/a"b%C3%A9\`, ""},
		{"apache escapes", head + `"GET /a\"b\\c\n\q HTTP/1.1" 200 1`, "GET", `/a"b\c%0A\q`, ""},
		{"cut escape", head + `"GET /a\x4 HTTP/1.1" 200 1`, "GET", `/a\x4`, ""},
		{"spaces in the target", head + `"GET /a b HTTP/1.1" 200 1`, "GET", "/a%20b", ""},
		{"a line break hidden in it", head + `"GET /a\x0d\x0aHost:x HTTP/1.1" 200 1`, "GET", "/a%0D%0AHost:x", ""},
		{"other method", head + `"M-SEARCH /m HTTP/1.1" 200 1`, "M-SEARCH", "/m", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseLog(tt.line)
			if err != nil {
				t.Fatal(err)
			}
			e := got[0]
			if len(got) != 1 || e.Method != tt.method || e.Target != tt.target || e.Host != tt.host || e.DueNs != 0 {
				t.Errorf("got %+v, want %s %s host %q at 0", got, tt.method, tt.target, tt.host)
			}
		})
	}
}

func TestParseAccessLogTiming(t *testing.T) {
	const ms = 1_000_000
	at := func(zoned, target string) string {
		return fmt.Sprintf(`::1 - - [%s] "GET %s HTTP/1.1" 200 1`, zoned, target)
	}
	tests := []struct {
		name  string
		lines []string
		want  string
	}{
		{"one second is spread", []string{logLine(1, "GET /a"), logLine(1, "GET /b"), "", logLine(1, "GET /c"), logLine(1, "GET /d")},
			"/a 0, /b 250, /c 500, /d 750"},
		{"gaps stay", []string{logLine(1, "GET /a"), logLine(5, "GET /b"), logLine(5, "GET /c")},
			"/a 0, /b 4000, /c 4500"},
		{"out of order is sorted, stably", []string{logLine(7, "GET /a"), logLine(6, "GET /b"), logLine(7, "GET /c"), logLine(6, "GET /d")},
			"/b 0, /d 500, /a 1000, /c 1500"},
		{"time zones", []string{at("10/Oct/2000:13:55:36 -0700", "/a"), at("10/Oct/2000:20:55:37 +0000", "/b"), at("11/Oct/2000:02:25:38 +0530", "/c")},
			"/a 0, /b 1000, /c 2000"},
		{"midnight and leap day", []string{at("28/Feb/2000:23:59:59 +0000", "/a"), at("29/Feb/2000:00:00:00 +0000", "/b")},
			"/a 0, /b 1000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			entries, err := parseLog(tt.lines...)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range entries {
				got = append(got, fmt.Sprintf("%s %d", e.Target, e.DueNs/ms))
			}
			if s := strings.Join(got, ", "); s != tt.want {
				t.Errorf("got  %s\nwant %s", s, tt.want)
			}
		})
	}
}

// Few enough lines would be sorted stably by any sort.
func TestParseAccessLogKeepsTheOrderWithinASecond(t *testing.T) {
	const perSecond = 500
	var lines []string
	for i := range 2 * perSecond {
		lines = append(lines, logLine(1-i%2, fmt.Sprintf("GET /%d", i)))
	}
	entries, err := parseLog(lines...)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range entries {
		want := fmt.Sprintf("/%d", 2*i+1) // the odd lines come first, in the second before
		if i >= perSecond {
			want = fmt.Sprintf("/%d", 2*(i-perSecond))
		}
		if e.Target != want || e.DueNs != int64(i)*second/perSecond {
			t.Fatalf("entry %d is %s at %d, want %s", i, e.Target, e.DueNs, want)
		}
	}
}

func TestParseAccessLogRefuses(t *testing.T) {
	const want = `not an access log line; want: ADDRESS - USER [10/Oct/2000:13:55:36 -0700] "GET /path HTTP/1.1" 200 123`
	const head = `1.2.3.4 - - [10/Oct/2000:13:55:36 -0700] `
	tests := []struct{ name, line, text string }{
		{"text", "hello", "access.log:2: " + want},
		{"no address", `[10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1" 200 1`, "access.log:2: " + want},
		{"no such day", `1.2.3.4 - - [32/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1" 200 1`, "access.log:2: " + want},
		{"request without quotes", head + `GET / HTTP/1.1 200 1`, "access.log:2: " + want},
		{"other time format", `1.2.3.4 - - [2000-10-10T13:55:36-07:00] "GET / HTTP/1.1" 200 1`, "access.log:2: " + want},
		{"request without an end", head + `"GET / HTTP/1.1 200 1`, "access.log:2: the quoted request does not end"},
		{"request ending in a backslash", head + `"GET /\`, "access.log:2: the quoted request does not end"},
		{"no status", head + `"GET / HTTP/1.1"`, `access.log:2: want status and bytes after the request, not ""`},
		{"odd status", head + `"GET / HTTP/1.1" 20 1`, `access.log:2: want status and bytes after the request, not " 20 1"`},
		{"odd bytes", head + `"GET / HTTP/1.1" 200 x`, `access.log:2: want status and bytes after the request, not " 200 x"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseLog(logLine(1, "GET /"), tt.line, logLine(2, "GET /"))
			requireParseError(t, err, nil, tt.text)
		})
	}
	_, err := parseLog("", " ")
	requireParseError(t, err, ErrEmpty, "access.log: no request in it")
	_, err = parseLog(logLine(1, "GET /"), `::1 - - [11/Oct/2001:13:55:36 -0700] "GET / HTTP/1.1" 200 1`,
		`::1 - - [12/Oct/2001:13:55:36 -0700] "GET / HTTP/1.1" 200 1`)
	requireParseError(t, err, ErrLimit, "access.log: too large to replay: it spans 367 days, at most 366 are possible; check the times")
}

// What was no HTTP request cannot be sent again; a log is not refused for it.
func TestParseAccessLogSkips(t *testing.T) {
	const head = `1.2.3.4 - - [10/Oct/2000:13:55:36 -0700] `
	for name, line := range map[string]string{
		"timeout":             head + `"-" 408 0`,
		"TLS on a plain port": head + `"\x16\x03\x01\x02 \x00" 400 0`,
		"asterisk":            head + `"OPTIONS * HTTP/1.0" 200 0`,
		"no target":           head + `"GET  HTTP/1.0" 400 0`,
	} {
		text := strings.Join([]string{logLine(1, "GET /"), line, line, logLine(2, "GET /")}, "\n")
		entries, skipped, err := ParseAccessLog("access.log", strings.NewReader(text))
		if err != nil || len(entries) != 2 || skipped != 2 {
			t.Errorf("%s: %d entries, %d skipped, %v; want 2 and 2", name, len(entries), skipped, err)
		}
		_, _, err = ParseAccessLog("access.log", strings.NewReader(line))
		requireParseError(t, err, ErrEmpty, "access.log: no request in it")
	}
}

// A line of nothing but brackets must not take quadratic time.
func TestParseAccessLogBrackets(t *testing.T) {
	line := strings.Repeat(" [", MaxLineBytes/2-1)
	if _, err := parseLog("x" + line); err == nil {
		t.Error("brackets were taken for a log line")
	}
}

func FuzzParseAccessLog(f *testing.F) {
	f.Add(logLine(1, "GET /a HTTP/1.1") + "\n" + logLine(0, "POST http://h/b") + "\n" + logLine(0, `GET /\x22\x0a\"`))
	f.Add(`127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326`)
	f.Add("::1 - [ [10/Oct/0000:13:55:36 +2400] \"GET /?\xff HTTP/1.0\" 200 - \r\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		entries, _, err := ParseAccessLog("f", strings.NewReader(text))
		if err != nil {
			return
		}
		requireReplayable(t, entries)
		if len(entries) > strings.Count(text, "\n")+1 {
			t.Errorf("%d entries out of fewer lines", len(entries))
		}
		s, err := Replay(entries, 1)
		if err != nil {
			t.Fatalf("cannot be replayed: %v", err)
		}
		for _, e := range entries {
			if got, ok := s.Next(); !ok || got != e.DueNs {
				t.Fatalf("due at %d, %v; want %d", got, ok, e.DueNs)
			}
		}
	})
}

// requireReplayable checks what every sender relies on.
func requireReplayable(t *testing.T, entries []Replayed) {
	t.Helper()
	if len(entries) == 0 || entries[0].DueNs != 0 {
		t.Fatalf("%d entries; want some, the first at 0", len(entries))
	}
	for i, e := range entries {
		if i > 0 && e.DueNs < entries[i-1].DueNs {
			t.Errorf("entry %d runs backwards", i)
		}
		if !isMethod([]byte(e.Method)) || !strings.HasPrefix(e.Target, "/") {
			t.Errorf("entry %d: %q %q", i, e.Method, e.Target)
		}
		for _, c := range []byte(e.Target + e.Host) {
			if c <= ' ' || c >= 0x7f {
				t.Errorf("entry %d: byte %q in %q or %q", i, c, e.Target, e.Host)
			}
		}
		for _, h := range e.Header {
			if strings.ContainsAny(h[0]+h[1], "\r\n\x00") || strings.ContainsAny(h[0], ": ") || h[0] == "" || h[1] == "" {
				t.Errorf("entry %d: header %q", i, h)
			}
		}
	}
}
