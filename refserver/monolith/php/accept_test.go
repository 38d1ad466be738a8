package php

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accept/accepttest"
	"github.com/postbench/postbench/refserver/accesslog"
)

// logLine is a line of the access log, whose characters are bytes.
type logLine struct {
	UnixNs     int64  `json:"unix_ns"`
	DurationNs int64  `json:"duration_ns"`
	Status     int    `json:"status"`
	Method     string `json:"method"`
	URI        string `json:"uri"`
	URIBytes   int    `json:"uri_bytes"`
}

func readLog(t *testing.T, file string) (lines []logLine) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for s := bufio.NewScanner(f); s.Scan(); {
		var line logLine
		if err := json.Unmarshal(s.Bytes(), &line); err != nil {
			t.Fatalf("%s: %v", s.Text(), err)
		}
		lines = append(lines, line)
	}
	return lines
}

// relay passes requests on as they are, and then gives the line that PHP has
// logged to log.
func relay(t *testing.T, to, logFile string, log *accesslog.Log) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		response, body := ask(t, r.Method, to, r.RequestURI, "")
		lines := readLog(t, logFile)
		last := lines[len(lines)-1]
		log.Log(&accesslog.Entry{Status: last.Status, Method: []byte(last.Method), URI: []byte(last.URI)})
		w.WriteHeader(response.StatusCode)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// newRows returns a function that returns what was recorded since its last
// call, as the partner said it.
func (s *stand) newRows(t *testing.T) func() []accepttest.Row {
	db := s.database(t)
	read := func(after int64) (rows []accepttest.Row, last int64) {
		last = after
		found, err := db.QueryContext(t.Context(), `SELECT id, click_id, txid, claimed_offer_id, event, payout, currency
			FROM conversions WHERE id > ? ORDER BY id`, after)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = found.Close() }()
		for found.Next() {
			var r accepttest.Row
			var payout postback.Money
			if err := found.Scan(&last, &r.ClickID, &r.TxID, &r.OfferID, &r.Event, &payout, &r.Currency); err != nil {
				t.Fatal(err)
			}
			r.Payout = payout.String()
			rows = append(rows, r)
		}
		if err := found.Err(); err != nil {
			t.Fatal(err)
		}
		return rows, last
	}
	_, last := read(0)
	return func() (rows []accepttest.Row) {
		rows, last = read(last)
		return rows
	}
}

// What every front promises.
func testDialects(t *testing.T, s *stand) {
	accepttest.Run(t, func(t *testing.T, c accepttest.Config) accepttest.Subject {
		s.forget(t)
		v := s.serve(t, func(own *Config) {
			own.Dialects, own.SignedOnly, own.fixedUnixS = c.Dialects, c.SignedOnly, accepttest.NowUnixS
		})
		newRows := s.newRows(t)
		subject := accepttest.Subject{URL: v.url, KnowsRepeats: true, Rows: func() []accepttest.Row {
			rows := newRows()
			if c.SignedOnly { // there the same conversion comes from one partner after the other
				s.forget(t)
			}
			return rows
		}}
		if c.AccessLog != nil {
			subject.URL = relay(t, v.url, v.logFile, c.AccessLog)
		}
		return subject
	})
}

// The log must hold no secret, as refserver/accesslog has it.
func testAccessLog(t *testing.T, s *stand) {
	v := s.serve(t, func(c *Config) { c.Dialects, c.fixedUnixS = accepttest.Dialects(), accepttest.NowUnixS })
	long := "/pb?x=" + strings.Repeat("y", 5_000)
	type request struct{ method, target, logged string }
	requests := []request{
		{"GET", "/pb?click_id=c", "/pb?click_id=c"},
		{"HEAD", "/pb?click_id=c", "/pb?click_id=c"},
		{"PURGE", "/pb?click_id=c", "/pb?click_id=c"},
		{"VERYLONGMETHODNAMES", "/pb", "/pb"},
		{"GET", "/pb/signed?click_id=c&sig=secret", "/pb/signed?click_id=c&sig=redacted"},
		{"GET", "/pb?%73iG=secret&x=1;SIG=a", "/pb?%73iG=redacted&x=1;SIG=redacted"},
		{"GET", "/pb?x=\"\\\xff%00", "/pb?x=\"\\ÿ%00"},
		{"GET", long, long[:4_096]},
	}
	for _, d := range accepttest.Dialects() {
		target := accepttest.Target(t, &d, accepttest.Fields())
		requests = append(requests, request{"GET", target, redacted(t, target)})
		requests = append(requests, request{"POST", target, redacted(t, target)})
	}
	for _, r := range requests {
		response, body := ask(t, r.method, v.url, r.target, "")
		lines := readLog(t, v.logFile)
		last := lines[len(lines)-1]
		if last.Status != response.StatusCode || last.URI != r.logged || !strings.HasPrefix(r.method, last.Method) || last.UnixNs/1e9 != accepttest.NowUnixS || last.DurationNs <= 0 {
			t.Errorf("%s %.80s: %d %q was logged as %.120v", r.method, r.target, response.StatusCode, body, last)
		}
		if (last.URIBytes != 0) != (len(r.target) > 4_096) || last.URIBytes != 0 && last.URIBytes != len(r.target) {
			t.Errorf("%.80s: %d bytes", r.target, last.URIBytes)
		}
	}
}

// redacted replaces the only values in a target that have 32 digits and more.
func redacted(t *testing.T, target string) string {
	t.Helper()
	path, query, _ := strings.Cut(target, "?")
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		if len(segment) >= 32 {
			segments[i] = "redacted"
		}
	}
	pairs := strings.Split(query, "&")
	for i, pair := range pairs {
		if name, value, _ := strings.Cut(pair, "="); len(value) >= 32 {
			pairs[i] = name + "=redacted"
		}
	}
	if _, err := url.ParseQuery(query); err != nil {
		t.Fatal(err)
	}
	return strings.Join(segments, "/") + "?" + strings.Join(pairs, "&")
}
