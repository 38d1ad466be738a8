package accesslog

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"

	"capnproto.org/go/capnp/v3"
)

// appendMessage appends the message of e as the mapped log writes it.
func appendMessage(dst []byte, e *Entry) []byte {
	one := messageOf(cut(e))
	begin := len(dst)
	dst = append(dst, make([]byte, one.size())...)
	one.put(dst[begin:])
	return dst
}

// stock needs the capnp program.
func stock(t *testing.T, stdin []byte, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath("capnp")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("no capnp program in PATH: apt-get install capnproto")
	}
	command := exec.CommandContext(t.Context(), path, args...)
	command.Stdin = bytes.NewReader(stdin)
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("capnp %v: %v\n%s", args, err, out)
	}
	return out
}

// fromLibrary builds the message of a record with the Cap'n Proto library.
func fromLibrary(t *testing.T, r *Record) []byte {
	t.Helper()
	message, segment, err := capnp.NewMessage(capnp.SingleSegment(nil))
	if err != nil {
		t.Fatal(err)
	}
	entry, err := capnp.NewRootStruct(segment, capnp.ObjectSize{DataSize: dataBytes, PointerCount: pointerCount})
	if err != nil {
		t.Fatal(err)
	}
	entry.SetUint64(0, uint64(r.UnixNs))
	entry.SetUint64(8, uint64(r.DurationNs))
	entry.SetUint32(16, uint32(r.Status))
	entry.SetUint32(20, uint32(r.URIBytes))
	for i, b := range [][]byte{r.Method, r.URI} {
		data, err := capnp.NewData(segment, b)
		if err != nil {
			t.Fatal(err)
		}
		if err := entry.SetPtr(uint16(i), data.ToPtr()); err != nil {
			t.Fatal(err)
		}
	}
	b, err := message.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// entries are of every shape that matters to the layout.
func entries() []*Entry {
	return []*Entry{
		{},
		{UnixNs: 1_700_000_000_000_000_005, DurationNs: 1_250_000, Status: 200, Method: []byte("GET"), URI: []byte("/pb?click_id=c-1&payout=1.5")},
		{UnixNs: math.MinInt64, DurationNs: math.MaxInt64, Status: -1, Method: []byte("12345678"), URI: []byte("12345678")},
		{Status: math.MaxInt32, Method: bytes.Repeat([]byte("m"), 100), URI: bytes.Repeat([]byte("u"), 5_000)},
		{Status: 403, Method: []byte("GET"), URI: []byte("/pb/signed?sig=0123456789abcdef&x=1&sig=&sig=2;y#z&end")},
		{Status: 400, Method: []byte{0, 0xff}, URI: []byte("/\x00\xff\n\"\\?s%69g=\x01")},
		{Status: 414, URI: bytes.Repeat([]byte("&sig="), 1_000)},
	}
}

// What is written by hand is what the library would write.
func TestBytesAreTheLibrarys(t *testing.T) {
	for i, e := range entries() {
		got := appendMessage(nil, e)
		one := cut(e)
		kept := Record{Entry{e.UnixNs, e.DurationNs, e.Status, one.method, redact(one.uri)}, one.uriBytes}
		if want := fromLibrary(t, &kept); !bytes.Equal(got, want) {
			t.Errorf("entry %d\ngot  %x\nwant %x", i, got, want)
		}
		if len(got) > maxMessageBytes {
			t.Errorf("entry %d: %d bytes of at most %d", i, len(got), maxMessageBytes)
		}
	}
}

// redact is the redaction once more, without escapes.
func redact(uri []byte) []byte {
	r := Record{Entry: Entry{URI: uri}}
	back, err := NewReader(bytes.NewReader(r.AppendJSON(nil))).Next()
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return back.URI
}

// The schema says the same as the code: the stock tool writes the same bytes.
func TestStockToolWritesTheSame(t *testing.T) {
	text := `(unixNs = -5, durationNs = 1250000, status = -7, uriBytes = 4294967295, method = "GET", uri = "/pb?\x00\xff")`
	got := stock(t, []byte(text), "encode", "access.capnp", "AccessEntry")
	l := line{unixNs: -5, durationNs: 1_250_000, status: -7, uriBytes: math.MaxUint32, method: []byte("GET"), uri: []byte("/pb?\x00\xff")}
	one := messageOf(l)
	want := make([]byte, one.size())
	one.put(want)
	if !bytes.Equal(got, want) {
		t.Errorf("capnp\n%x\nwe\n%x", got, want)
	}
}

func TestStockToolReads(t *testing.T) {
	var log []byte
	for _, e := range entries() {
		log = appendMessage(log, e)
	}
	text := string(stock(t, log, "decode", "--short", "access.capnp", "AccessEntry"))
	if strings.Contains(text, "ERROR") || strings.Count(text, "\n") != len(entries()) || strings.Contains(text, "0123456789abcdef") {
		t.Errorf("%s", text)
	}
	for _, want := range []string{
		`(unixNs = 1700000000000000005, durationNs = 1250000, status = 200, uriBytes = 0, method = "GET", uri = "/pb?click_id=c-1&payout=1.5")`,
		`uriBytes = 5000`, `uri = "/pb/signed?sig=redacted&x=1&sig=redacted&sig=redacted&end"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

func TestFormatDocMessage(t *testing.T) {
	doc, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	b := appendMessage(nil, &Entry{UnixNs: 1_700_000_000_000_000_005, DurationNs: 1_250_000, Status: 200, Method: []byte("GET"), URI: []byte("/pb?sig=0123")})
	var dump strings.Builder
	for at := 0; at < len(b); at += wordBytes {
		fmt.Fprintf(&dump, "%2d  % x\n", at, b[at:at+wordBytes])
	}
	if !bytes.Contains(doc, []byte(dump.String())) {
		t.Errorf("FORMAT.md lacks the example\n%s", dump.String())
	}
}

// FuzzMessage: whatever comes, its message reads back as the line that the JSON
// log has for it, and takes no more than it says.
func FuzzMessage(f *testing.F) {
	for _, e := range entries() {
		f.Add(e.Method, e.URI, e.UnixNs, e.DurationNs, e.Status)
	}
	f.Fuzz(func(t *testing.T, method, uri []byte, unixNs, durationNs int64, status int) {
		e := &Entry{UnixNs: unixNs, DurationNs: durationNs, Status: int(int32(status)), Method: method, URI: uri}
		b := appendMessage(nil, e)
		r := NewReader(bytes.NewReader(b))
		record, err := r.Next()
		if err != nil || len(b) > maxMessageBytes || r.Offset() != int64(len(b)) {
			t.Fatalf("%d bytes, offset %d, %v", len(b), r.Offset(), err)
		}
		if got := string(record.AppendJSON(nil)); got != lineOf(e) {
			t.Fatalf("got  %swant %s", got, lineOf(e))
		}
		if !bytes.Equal(b, fromLibrary(t, &record)) {
			t.Fatal("the library writes other bytes")
		}
	})
}
