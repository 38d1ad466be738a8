package edge

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/postbench/postbench/refserver/accept/accepttest"
	"github.com/postbench/postbench/refserver/accesslog"
)

// messenger is an Edge that takes messages, beside a front that takes the same
// over HTTP.
type messenger struct {
	*Edge
	buffer *memory
	http   *server
	beside *memory
}

func newMessenger(t testing.TB) *messenger {
	t.Helper()
	m := &messenger{buffer: &memory{}, beside: &memory{}}
	config := testConfig(FrontPlain, m.beside)
	config.Dialects = accepttest.Dialects()
	m.http = serve(t, config)
	config.Buffer = m.buffer
	var err error
	if m.Edge, err = New(config); err != nil {
		t.Fatal(err)
	}
	if err := m.SetKeys(testKeys()); err != nil {
		t.Fatal(err)
	}
	return m
}

// compare fails unless the message is taken or refused as the request is.
func (m *messenger) compare(t testing.TB, method, target, body string) {
	t.Helper()
	status, reply := m.Exchange(t.Context(), []byte(method), []byte(target), []byte(body))
	text := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: h\r\n", method, target)
	if body != "" {
		text += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	request := m.http.do(t, text+"\r\n"+body)
	if status != request.status {
		t.Errorf("%s %q: message %d %q, request %d %q", method, target, status, reply, request.status, request.body)
	}
	// A HEAD has no body over HTTP, and what the library refuses, it refuses in
	// its own words.
	ours := request.header.Get("X-Content-Type-Options") != "" && status != http.StatusNotFound
	if ours && method != http.MethodHead && string(reply) != request.body {
		t.Errorf("%s %q: message %q, request %q", method, target, reply, request.body)
	}
	got, want := m.buffer.take(), m.beside.take()
	if !bytes.Equal(bytes.Join(got, nil), bytes.Join(want, nil)) || len(got) != len(want) {
		t.Errorf("%s %q: message %q, request %q", method, target, got, want)
	}
}

func TestExchangeIsAsOverHTTP(t *testing.T) {
	m := newMessenger(t)
	for _, query := range corpus() {
		if !strings.ContainsAny(query, "\r\n") {
			m.compare(t, "GET", plainPath+"?"+query, "")
			m.compare(t, "GET", signedPath+"?"+query, "")
		}
	}
	for _, d := range accepttest.Dialects() {
		target := accepttest.Target(t, &d, accepttest.Fields())
		m.compare(t, "GET", target, "")
		m.compare(t, "GET", target+"0", "")
	}
	for _, method := range []string{"HEAD", "POST", "PUT", "get"} {
		m.compare(t, method, "/pb?"+plainPart, "")
	}
	m.compare(t, "GET", "/pb?"+plainPart, "a body")
	m.compare(t, "GET", "/elsewhere", "")
	m.compare(t, "GET", "/pb/", "")
	if got, want := m.Counts(), m.http.Counts(); got.Accepted == 0 || got.Accepted != want.Accepted ||
		got.Forbidden != want.Forbidden || got.TooLong != want.TooLong || got.WrongVerb != want.WrongVerb {
		t.Errorf("messages: %+v, requests: %+v", got, want)
	}
}

func TestExchangeOfNoRequest(t *testing.T) {
	m := newMessenger(t)
	for target, want := range map[string]int{
		"": 404, "pb?click_id=c": 404, "http://h/pb?click_id=c": 404, "/ledger": 404,
		"/pb?click_id=c d": 400, "/pb?click_id=c\r\nX: y": 400, "/pb\x00": 400, "/pb?click_id=\x7f": 400,
	} {
		if status, reply := m.Exchange(t.Context(), nil, []byte(target), nil); status != want || len(reply) == 0 {
			t.Errorf("%q: %d %q, want %d", target, status, reply, want)
		}
	}
	if c := m.Counts(); len(m.buffer.take()) != 0 || c.Malformed != 4 || c.InFlight != 0 {
		t.Errorf("%+v", c)
	}
}

// The stages, the log and the buffer are those of a request, in its order.
func TestExchangePassesTheStages(t *testing.T) {
	var lines strings.Builder
	log := accesslog.New(&lines, accesslog.Options{})
	stages := &ledger{}
	config := testConfig(FrontPlain, noting{stages})
	config.AccessLog, config.Costs, config.BufferStage = log, stages, "redis"
	e, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	target := []byte("/pb?" + plainPart)
	status, reply := e.Exchange(t.Context(), nil, target, nil)
	if status != 200 || string(reply) != "OK" {
		t.Errorf("%d %q", status, reply)
	}
	if got, want := stages.take(), "+slow -slow +edge -edge +redis put -redis +log -log"; got != want {
		t.Errorf("stages %q, want %q", got, want)
	}
	for _, busy := range []string{"slow", "edge", "redis", "log"} {
		stages.busy = busy
		if status, reply := e.Exchange(t.Context(), nil, target, nil); status != 503 || !strings.Contains(string(reply), "busy") {
			t.Errorf("%s busy: %d %q", busy, status, reply)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if got := lines.String(); strings.Count(got, "\n") != 5 || !strings.Contains(got, "GET") || !strings.Contains(got, plainPart[:10]) {
		t.Errorf("log %q", got)
	}
	if n := e.Counts().InFlight; n != 0 {
		t.Errorf("%d in flight", n)
	}
}

func TestExchangeEndsWithItsContext(t *testing.T) {
	buffer := newGated()
	e, err := New(testConfig(FrontPlain, buffer))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	status := make(chan int)
	go func() {
		got, _ := e.Exchange(ctx, nil, []byte("/pb?"+plainPart), nil)
		status <- got
	}()
	await(t, buffer.entered)
	cancel()
	if got := await(t, status); got != 503 || e.Counts().BufferErrors != 1 || e.Counts().InFlight != 0 {
		t.Errorf("%d, %+v", got, e.Counts())
	}
}

// The gate is one for requests and messages.
func TestExchangeWithoutRoom(t *testing.T) {
	buffer := newGated()
	config := testConfig(FrontPlain, buffer)
	config.MaxInFlight = 1
	e, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	first := make(chan int)
	exchange := func() int {
		status, _ := e.Exchange(t.Context(), nil, []byte("/pb?"+plainPart), nil)
		return status
	}
	go func() { first <- exchange() }()
	await(t, buffer.entered)
	if status := exchange(); status != 503 {
		t.Errorf("the second: %d", status)
	}
	close(buffer.pass)
	if status := await(t, first); status != 200 || len(buffer.take()) != 1 {
		t.Errorf("the first: %d", status)
	}
}

// Before-buffer is for connections: of a message the answer cannot be out before
// Exchange returns, so it is put before, and counted.
func TestExchangePutsFirst(t *testing.T) {
	buffer := &memory{}
	config := testConfig(FrontPlain, buffer)
	config.Answer = AnswerBeforeBuffer
	e, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	status, _ := e.Exchange(t.Context(), nil, []byte("/pb?"+plainPart), nil)
	if status != 200 || len(buffer.take()) != 1 || e.Counts().PutBeforeAnswer != 1 || e.Counts().InFlight != 0 {
		t.Errorf("%d, %+v", status, e.Counts())
	}
}

// FuzzExchange is the question of FuzzBothReadTheSame for messages: no target
// panics, and one record comes of each 200.
func FuzzExchange(f *testing.F) {
	for _, query := range corpus() {
		f.Add("/pb?" + query)
		f.Add("/pb/signed?" + query)
	}
	for _, d := range accepttest.Dialects() {
		f.Add(accepttest.Target(f, &d, accepttest.Fields()))
	}
	config := testConfig(FrontPlain, nil)
	buffer := &memory{}
	config.Buffer, config.Dialects = buffer, accepttest.Dialects()
	config.AccessLog = accesslog.New(io.Discard, accesslog.Options{})
	e, err := New(config)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, target string) {
		status, reply := e.Exchange(t.Context(), nil, []byte(target), nil)
		if taken := len(buffer.take()); (status == 200) != (taken == 1) || taken > 1 || len(reply) == 0 || e.Counts().InFlight != 0 {
			t.Errorf("%q: %d %q, %d records, %+v", target, status, reply, taken, e.Counts())
		}
	})
}
