package edge

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accept"
	"github.com/postbench/postbench/refserver/accesslog"
)

func httpGet(target string) string { return "GET " + target + " HTTP/1.1\r\nHost: h\r\n\r\n" }

// Each case goes to both fronts over a connection of its own; the counts are
// what the case adds.
func TestAnswers(t *testing.T) {
	forbidden := errForbidden.Error()
	overlong := "/pb?click_id=c&x=" + strings.Repeat("x", postback.MaxQueryBytes)
	for _, test := range []struct {
		name    string
		request string
		status  int
		text    string // a part of it
		counts  Counts
	}{
		{"plain", httpGet("/pb?" + plainPart), 200, "OK", Counts{Accepted: 1}},
		{"plain, unknown parameters", httpGet("/pb?click_id=c&utm=1&utm=2"), 200, "OK", Counts{Accepted: 1}},
		{"HTTP/1.0", "GET /pb?click_id=c HTTP/1.0\r\n\r\n", 200, "OK", Counts{Accepted: 1}},
		{"Content-Length 0", "GET /pb?click_id=c HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", 200, "OK", Counts{Accepted: 1}},
		{"signed", httpGet(signed("k1", "secret one", nowUnixS)), 200, "OK", Counts{Accepted: 1}},
		{"signed, 48 h ago", httpGet(signed("k2", "secret two", nowUnixS-accept.MaxPastS)), 200, "OK", Counts{Accepted: 1}},
		{"reversal", httpGet("/pb?click_id=c&event=refund&payout=-1"), 200, "OK", Counts{Accepted: 1}},

		{"no click", httpGet("/pb"), 400, "click_id", Counts{Malformed: 1}},
		{"a key twice", httpGet("/pb?click_id=c&payout=1&payout=2"), 400, "payout", Counts{Malformed: 1}},
		{"a key twice, once escaped", httpGet("/pb?click_id=c&click%5Fid=d"), 400, "click_id", Counts{Malformed: 1}},
		{"not text", httpGet("/pb?click_id=c%0a"), 400, "printable", Counts{Malformed: 1}},
		{"not UTF-8", httpGet("/pb?click_id=c&txid=%ff"), 400, "printable", Counts{Malformed: 1}},
		{"bad escape in an unknown key", httpGet("/pb?click_id=c&x=%zz"), 400, "escape", Counts{Malformed: 1}},
		{"semicolon", httpGet("/pb?click_id=c;txid=t"), 400, "escape", Counts{Malformed: 1}},
		{"unknown event", httpGet("/pb?click_id=c&event=party"), 400, "unknown event", Counts{Malformed: 1}},
		{"negative payout", httpGet("/pb?click_id=c&event=sale&payout=-1"), 400, "negative", Counts{Malformed: 1}},
		{"two mistakes, one reason", httpGet("/pb?payout=x&txid=%00&click_id=c"), 400, "txid", Counts{Malformed: 1}},
		{"signed, unknown key", httpGet("/pb/signed?click_id=c&x=1"), 400, "", Counts{Malformed: 1}},
		{"body", "GET /pb?click_id=c HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi", 400, "body", Counts{Malformed: 1}},
		{"chunked body", "GET /pb?click_id=c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", 400, "body", Counts{Malformed: 1}},

		{"wrong signature", httpGet(signed("k1", "secret two", nowUnixS)), 403, forbidden, Counts{Forbidden: 1}},
		{"unknown kid", httpGet(signed("k3", "secret one", nowUnixS)), 403, forbidden, Counts{Forbidden: 1}},
		{"stale", httpGet(signed("k1", "secret one", nowUnixS-accept.MaxPastS-1)), 403, forbidden, Counts{Forbidden: 1}},
		{"from the future", httpGet(signed("k1", "secret one", nowUnixS+accept.MaxFutureS+1)), 403, forbidden, Counts{Forbidden: 1}},

		{"HEAD", "HEAD /pb?click_id=c HTTP/1.1\r\nHost: h\r\n\r\n", 405, "", Counts{WrongVerb: 1}},
		{"POST", "POST /pb?click_id=c HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi", 405, "method", Counts{WrongVerb: 1}},
		{"PUT signed", "PUT /pb/signed HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", 405, "method", Counts{WrongVerb: 1}},

		{"query too long", httpGet(overlong), 414, "too long", Counts{TooLong: 1}},
		{"click too long", httpGet("/pb?payout=x&click_id=" + strings.Repeat("c", 129)), 414, "too long", Counts{TooLong: 1}},
		{"click too long, signed", httpGet("/pb/signed?click_id=" + strings.Repeat("c", 129)), 414, "too long", Counts{TooLong: 1}},

		{"other path", httpGet("/pb/other"), 404, "", Counts{}},
		{"the path escaped", httpGet("/p%62?click_id=c"), 404, "", Counts{}},
		{"the path doubled", httpGet("//pb?click_id=c"), 404, "", Counts{}},
	} {
		var texts []string
		for _, front := range fronts() {
			buffer := &memory{}
			s := serve(t, testConfig(front, buffer))
			got := s.do(t, test.request)
			texts = append(texts, fmt.Sprint(got.status, got.body, got.header.Get("Content-Type"), got.header.Get("X-Content-Type-Options"),
				got.header.Get("Allow"), got.header.Get("Retry-After"), got.header["Server"]))
			s.stop()
			if err := await(t, s.served); err != nil {
				t.Errorf("%s, %s: %v", test.name, front, err)
			}
			if got.status != test.status || !strings.Contains(got.body, test.text) || strings.Contains(got.body, "\n") != (got.status == 404) {
				t.Errorf("%s, %s: %d %q", test.name, front, got.status, got.body)
			}
			if s.Counts() != test.counts || int64(len(buffer.take())) != test.counts.Accepted {
				t.Errorf("%s, %s: %+v", test.name, front, s.Counts())
			}
		}
		if texts[0] != texts[1] {
			t.Errorf("%s:\nplain    %s\nzerocopy %s", test.name, texts[0], texts[1])
		}
	}
}

func TestRecord(t *testing.T) {
	want := map[string]postback.Record{
		"/pb?" + plainPart: {ClickID: []byte("c 1"), TxID: []byte("t/1"), OfferID: []byte("o"), Event: postback.EventSale,
			Payout: 12_500_000, Currency: postback.Currency{'E', 'U', 'R'}, KID: []byte{}, ReceivedUnixNs: nowUnixS*1e9 + 1},
		signed("k1", "secret one", nowUnixS-7): {ClickID: []byte("c1"), TxID: []byte{}, OfferID: []byte("o"), Event: postback.EventLead,
			Currency: postback.Currency{'E', 'U', 'R'}, KID: []byte("k1"), ReceivedUnixNs: nowUnixS*1e9 + 1},
	}
	for _, front := range fronts() {
		for _, how := range []string{AnswerBeforeBuffer, AnswerAfterBuffer} {
			buffer := &memory{}
			config := testConfig(front, buffer)
			config.Answer = how
			s := serve(t, config)
			for target, record := range want {
				if got := s.get(t, target); got.status != 200 {
					t.Fatalf("%s, %s: %+v", front, target, got)
				}
				// In before-buffer the answer may be faster than the record.
				waitFor(t, func() bool { return s.Counts().InFlight == 0 })
				got := buffer.take()
				if len(got) != 1 || !reflect.DeepEqual(decode(t, got[0]), record) {
					t.Errorf("%s, %s, %s: %q, want %+v", front, how, target, got, record)
				}
			}
		}
	}
}

// waitFor polls a state that has no event.
func waitFor(t testing.TB, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(answerLimit); !ok(); {
		if time.Now().After(end) {
			t.Fatal("it never came")
		}
		time.Sleep(time.Millisecond) // between two looks
	}
}

func TestSignedOnly(t *testing.T) {
	for _, front := range fronts() {
		config := testConfig(front, &memory{})
		config.SignedOnly = true
		s := serve(t, config)
		if got := s.get(t, "/pb?click_id=c"); got.status != 403 || got.body != errForbidden.Error() {
			t.Errorf("%s: unsigned: %+v", front, got)
		}
		if got := s.get(t, signed("k1", "secret one", nowUnixS)); got.status != 200 {
			t.Errorf("%s: signed: %+v", front, got)
		}
	}
}

func TestBufferRefuses(t *testing.T) {
	for _, front := range fronts() {
		buffer := &memory{}
		s := serve(t, testConfig(front, buffer))
		c := dial(t, s.addr)
		for _, test := range []struct {
			err    error
			status int
			text   string
		}{
			{ErrFull, 503, ErrFull.Error()},
			{fmt.Errorf("lane: %w", accept.ErrFull), 503, ErrFull.Error()},
			{errors.New("connection to /secret/path refused"), 503, errBuffer.Error()},
			{nil, 200, "OK"},
		} {
			buffer.fail(test.err)
			c.send(t, httpGet("/pb?click_id=c"))
			got := c.receive(t, "GET")
			if got.status != test.status || got.body != test.text || (got.header.Get("Retry-After") == "1") != (test.status == 503) {
				t.Errorf("%s, %v: %+v", front, test.err, got)
			}
		}
		if got, want := s.Counts(), (Counts{Accepted: 1, Full: 2, BufferErrors: 1}); got != want {
			t.Errorf("%s: %+v", front, got)
		}
	}
}

func TestServerTiming(t *testing.T) {
	for target, want := range map[string]string{
		"/pb?click_id=c":                      "parse;dur=0.000, buffer;dur=0.000",
		signed("k1", "secret one", nowUnixS):  "parse;dur=0.000, verify;dur=0.000, buffer;dur=0.000",
		signed("k1", "secret two", nowUnixS):  "parse;dur=0.000, verify;dur=0.000",
		"/pb?click_id=" + string(rune('\\')):  "parse;dur=0.000, buffer;dur=0.000",
		"/pb?click_id=c&event=party&payout=1": "parse;dur=0.000",
	} {
		if got := serve(t, testConfig(FrontPlain, &memory{})).get(t, target); got.header.Get("Server-Timing") != want {
			t.Errorf("plain, %s: %q", target, got.header.Get("Server-Timing"))
		}
		if got := serve(t, testConfig(FrontZerocopy, &memory{})).get(t, target); got.header["Server-Timing"] != nil {
			t.Errorf("zerocopy, %s: %q", target, got.header["Server-Timing"])
		}
	}
}

func TestAccessLog(t *testing.T) {
	var logs []string
	for _, front := range fronts() {
		var text strings.Builder
		config := testConfig(front, &memory{})
		config.AccessLog = accesslog.New(&text, accesslog.Options{})
		s := serve(t, config)
		c := dial(t, s.addr)
		c.send(t, httpGet(signed("k1", "secret one", nowUnixS)))
		c.receive(t, "GET")
		c.send(t, "HEAD /pb?click_id=c HTTP/1.1\r\nHost: h\r\n\r\n")
		c.receive(t, "HEAD")
		s.stop()
		await(t, s.served)
		if err := config.AccessLog.Close(); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(text.String(), "\n"); n != 2 || !strings.Contains(text.String(), "405") {
			t.Errorf("%s: %d lines:\n%s", front, n, text.String())
		}
		logs = append(logs, text.String())
	}
	if logs[0] != logs[1] {
		t.Errorf("plain\n%szerocopy\n%s", logs[0], logs[1])
	}
}

// What no front calls a request does not reach the handler, nor the counts.
func TestHeadersTooLarge(t *testing.T) {
	for _, front := range fronts() {
		s := serve(t, testConfig(front, &memory{}))
		c := dial(t, s.addr)
		c.send(t, "GET /pb?click_id=c HTTP/1.1\r\nHost: h\r\nCookie: "+strings.Repeat("c", 16<<10)+"\r\n\r\n")
		response, err := http.ReadResponse(c.in, nil)
		if err != nil {
			t.Fatalf("%s: %v", front, err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		if response.StatusCode != 431 || s.Counts() != (Counts{}) {
			t.Errorf("%s: %d, %+v", front, response.StatusCode, s.Counts())
		}
	}
}
