package accesslog

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"
)

func lineOf(e *Entry) string {
	one := cut(e)
	return string(one.appendJSON(nil))
}

func TestFormatDoc(t *testing.T) {
	doc, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	want := lineOf(&Entry{UnixNs: 1_700_000_000_000_000_005, DurationNs: 1_250_000, Status: 200, Method: []byte("GET"),
		URI: []byte("/pb/signed?click_id=c-1&kid=p&ts=1700000000&sig=0123456789abcdef")})
	if !bytes.Contains(doc, []byte("```\n"+want+"```\n")) {
		t.Errorf("FORMAT.md lacks the example\n%s", want)
	}
}

func TestRedaction(t *testing.T) {
	for uri, want := range map[string]string{
		"":                            "",
		"/pb":                         "/pb",
		"/pb?sig=":                    "/pb?sig=redacted",
		"/pb?sig=abc":                 "/pb?sig=redacted",
		"/pb?a=1&sig=abc&b=2":         "/pb?a=1&sig=redacted&b=2",
		"/pb?sig=abc&sig=def":         "/pb?sig=redacted&sig=redacted",
		"/pb?sig=abc;def=x#y?z&b":     "/pb?sig=redacted&b",
		"/pb?a=1;sig=abc":             "/pb?a=1;sig=redacted",
		"/pb#sig=abc":                 "/pb#sig=redacted",
		"/pb?SIG=abc":                 "/pb?SIG=redacted",
		"/pb?%73ig=abc":               "/pb?%73ig=redacted",
		"/pb?s%49%67=abc&c=1":         "/pb?s%49%67=redacted&c=1",
		"/pb?%53%69%67=abc":           "/pb?%53%69%67=redacted",
		"/pb?sig=sig=abc":             "/pb?sig=redacted",
		"/pb?design=abc&sigma=1&sig":  "/pb?design=abc&sigma=1&sig",
		"/pb/sig=abc":                 "/pb/sig=abc",
		"/pb?%7sig=1&%=2&s%%69g=3":    "/pb?%7sig=1&%=2&s%%69g=3",
		"/pb?xsig=1&si=2&%7=1&sig%3D": "/pb?xsig=1&si=2&%7=1&sig%3D",
	} {
		if got := string(appendURI(nil, []byte(uri))); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", uri, got, want)
		}
	}
}

func TestEscaping(t *testing.T) {
	got := string(appendEscaped(nil, []byte("a\"b\\c\x00\n\x1f \x7f\x80ü~")))
	if want := `a\"b\\c\u0000\u000a\u001f \u007f\u0080\u00c3\u00bc~`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestLongestLine(t *testing.T) {
	got := lineOf(&Entry{UnixNs: math.MinInt64, DurationNs: math.MinInt64, Status: math.MinInt32,
		Method: bytes.Repeat([]byte{0}, 100), URI: bytes.Repeat([]byte{0xff}, 1<<16)})
	if len(got) > maxLineBytes || strings.Count(got, `\u0000`) != maxMethodBytes || strings.Count(got, `\u00ff`) != maxURIBytes ||
		!strings.HasSuffix(got, `","uri_bytes":65536}`+"\n") {
		t.Errorf("%d bytes of at most %d: ...%s", len(got), maxLineBytes, got[len(got)-40:])
	}
	if got := lineOf(&Entry{URI: make([]byte, maxURIBytes)}); strings.Contains(got, "uri_bytes") {
		t.Error("the longest URI was not cut")
	}
}

// parsed is a line as its reader sees it.
type parsed struct {
	UnixNs     int64 `json:"unix_ns"`
	DurationNs int64 `json:"duration_ns"`
	Status     int
	Method     string
	URI        string
	URIBytes   int `json:"uri_bytes"`
}

// original turns every character back into one byte.
func original(text string) string {
	var b []byte
	for _, r := range text {
		b = append(b, byte(r))
	}
	return string(b)
}

// signature is the redaction once more, the slow way.
var signature = regexp.MustCompile(`(?is)([?&;#](?:s|%73|%53)(?:i|%69|%49)(?:g|%67|%47)=)[^&]*`)

// latin1 lets the expression see bytes, as the format does.
func latin1(s string) string {
	var r []rune
	for _, c := range []byte(s) {
		r = append(r, rune(c))
	}
	return string(r)
}

// FuzzLine: whatever comes, a line is one valid JSON object in printable
// ASCII, it gives the bytes back, the signature excepted, and a wait in the
// queue changes nothing.
func FuzzLine(f *testing.F) {
	f.Add([]byte("GET"), []byte("/pb/signed?click_id=c&sig=0123"), int64(1), int64(2), 200)
	f.Add([]byte("\x00\"\\"), []byte("?s%69G=\xff\n&sig=;#sig=x&\u2028"), int64(-1), int64(math.MaxInt64), -1)
	f.Add(bytes.Repeat([]byte("P"), 20), append(bytes.Repeat([]byte("&sig=\xe9"), 700), "&sig=a"...), int64(0), int64(0), 0)
	f.Fuzz(func(t *testing.T, method, uri []byte, unixNs, durationNs int64, status int) {
		status = int(int32(status))
		e := Entry{UnixNs: unixNs, DurationNs: durationNs, Status: status, Method: method, URI: uri}
		text := lineOf(&e)
		for i, c := range []byte(text) {
			if c == '\n' != (i == len(text)-1) || c != '\n' && (c < ' ' || c > '~') {
				t.Fatalf("byte %d of %q", i, text)
			}
		}
		var got parsed
		if err := json.Unmarshal([]byte(text), &got); err != nil || len(text) > maxLineBytes {
			t.Fatalf("%d bytes, %v: %s", len(text), err, text)
		}
		keptURI, uriBytes := latin1(string(uri)), 0
		if len(uri) > maxURIBytes {
			keptURI, uriBytes = latin1(string(uri[:maxURIBytes])), len(uri)
		}
		want := parsed{unixNs, durationNs, status, string(method[:min(len(method), maxMethodBytes)]),
			original(signature.ReplaceAllString(keptURI, "${1}redacted")), uriBytes}
		got.Method, got.URI = original(got.Method), original(got.URI)
		if got != want {
			t.Fatalf("%s\ngot  %+v\nwant %+v", text, got, want)
		}
		one := cut(&e)
		waited, rest := nextPending(append(one.appendPending(nil), "rest"...))
		if later := string(waited.appendJSON(nil)); later != text || string(rest) != "rest" || len(one.appendPending(nil)) != one.pendingBytes() {
			t.Fatalf("after a wait\n%s\nbefore\n%s", later, text)
		}
	})
}
