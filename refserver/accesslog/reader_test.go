package accesslog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

func request(uri string) *Entry {
	return &Entry{UnixNs: 1, DurationNs: 2, Status: 200, Method: []byte("GET"), URI: []byte(uri)}
}

// readAll is what `postbench logs` gets out of a file: URIs, how many entries were
// passed over, and where it ended.
func readAll(b []byte) (uris string, skipped int, offset int64, err error) {
	r := NewReader(bytes.NewReader(b))
	var found strings.Builder
	for {
		record, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return found.String(), skipped, r.Offset(), nil
		case errors.Is(err, ErrUnfinished):
			skipped++
			r.Skip()
		case err != nil:
			return found.String(), skipped, r.Offset(), err
		default:
			found.Write(record.URI)
		}
	}
}

// begun is an entry whose writer stored n of its first bytes, in words, and died.
func begun(n int) []byte {
	b := appendMessage(nil, request("/x"))
	clear(b[n:])
	clear(b[rootAt:unixNsAt])
	return b
}

func TestReadMessages(t *testing.T) {
	a, b, zeros := appendMessage(nil, request("/a")), appendMessage(nil, request("/b")), make([]byte, 1<<20)
	other := make([]byte, 64)
	other[0] = 1
	for name, test := range map[string]struct {
		parts   [][]byte
		uris    string
		skipped int
		end     int   // in parts
		failed  error // of its type
	}{
		"empty":                    {nil, "", 0, 0, nil},
		"whole":                    {[][]byte{a, b}, "/a/b", 0, 2, nil},
		"killed, idle":             {[][]byte{a, b, zeros}, "/a/b", 0, 2, nil},
		"killed before all":        {[][]byte{zeros}, "", 0, 0, nil},
		"killed in one":            {[][]byte{a, begun(wordBytes), zeros}, "/a", 1, 2, nil},
		"killed in one, later":     {[][]byte{a, begun(bytesAt), zeros}, "/a", 1, 2, nil},
		"killed in two":            {[][]byte{a, begun(wordBytes), b, begun(64), a, zeros}, "/a/b/a", 2, 5, nil},
		"hole":                     {[][]byte{a, begun(0), b, zeros}, "/a/b", 1, 3, nil},
		"holes side by side":       {[][]byte{begun(0), begun(0), begun(wordBytes), b}, "/b", 2, 4, nil},
		"large hole":               {[][]byte{a, zeros, b, zeros}, "/a/b", 1, 3, nil},
		"cut in a message":         {[][]byte{a, b[:len(b)-8]}, "/a", 0, 1, nil},
		"cut in a word":            {[][]byte{a, b[:3]}, "/a", 0, 1, nil},
		"cut in a begun message":   {[][]byte{a, begun(8)[:16]}, "/a", 0, 1, nil},
		"many segments":            {[][]byte{a, other}, "/a", 0, 1, &CorruptError{}},
		"too large":                {[][]byte{a, {0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 3, 0, 2, 0}, zeros}, "/a", 0, 1, &CorruptError{}},
		"pointer out of segment":   {[][]byte{{0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 2, 0}}, "", 0, 0, &CorruptError{}},
		"text":                     {[][]byte{[]byte("hello, world, this is text")}, "", 0, 0, &CorruptError{}},
		"a log of a later version": {[][]byte{later()}, "/pb", 0, 1, nil},
	} {
		uris, skipped, offset, err := readAll(bytes.Join(test.parts, nil))
		end := int64(len(bytes.Join(test.parts[:test.end], nil)))
		if uris != test.uris || skipped != test.skipped || offset != end || fmt.Sprintf("%T", err) != fmt.Sprintf("%T", test.failed) {
			t.Errorf("%s: %q, %d skipped, ended at %d of %d, %v", name, uris, skipped, offset, end, err)
		}
	}
}

// later is an entry with a field that nobody knows yet.
func later() []byte {
	b := appendMessage(nil, request("/pb"))
	grown := append(bytes.Clone(b[:methodAt]), 1, 2, 3, 4, 5, 6, 7, 8)
	grown = append(grown, b[methodAt:]...)
	grown[4]++        // words of the segment
	grown[rootAt+4]++ // words of data
	return grown
}

// A reader that came to the end goes on where it was, as an entry is finished and
// others follow.
func TestReadGoesOn(t *testing.T) {
	whole := appendMessage(appendMessage(nil, request("/a")), request("/b"))
	half := len(whole) / 2
	mem := make([]byte, 4*len(whole))
	r := NewReader(bytes.NewReader(mem))
	step := func(what, uri string, want error) {
		t.Helper()
		record, err := r.Next()
		if string(record.URI) != uri || !errors.Is(err, want) {
			t.Errorf("%s: %q, %v", what, record.URI, err)
		}
	}
	step("nothing", "", io.EOF)
	copy(mem, whole[:half])
	step("the first", "/a", nil)
	step("the end", "", io.EOF)
	copy(mem[len(whole):], whole)
	step("a hole", "", ErrUnfinished)
	copy(mem[half:], whole[half:half+wordBytes])
	step("begun", "", ErrUnfinished)
	copy(mem[half:], whole[half:])
	for _, uri := range []string{"/b", "/a", "/b"} {
		step("finished", uri, nil)
	}
	step("the end again", "", io.EOF)
}

func TestReadLines(t *testing.T) {
	line := func(uri string) string { return lineOf(request(uri)) }
	for name, test := range map[string]struct {
		text    string
		uris    string
		skipped int
		left    int // bytes that are no line yet
	}{
		"whole":       {line("/a\xff") + line("/b"), "/a\xff/b", 0, 0},
		"torn":        {line("/a") + line("/b")[:20] + "\n" + line("/c"), "/a/c", 1, 0},
		"no entry":    {line("/a") + "[]\n" + line("/\x00") + "{\"uri\":\"\u0100\"}\n", "/a/\x00", 2, 0},
		"unfinished":  {line("/a") + line("/b")[:20], "/a", 0, 20},
		"later field": {strings.Replace(line("/a"), "}", `,"new":1}`, 1), "/a", 0, 0},
	} {
		uris, skipped, offset, err := readAll([]byte(test.text))
		if uris != test.uris || skipped != test.skipped || offset != int64(len(test.text)-test.left) || err != nil {
			t.Errorf("%s: %q, %d skipped, ended at %d of %d, %v", name, uris, skipped, offset, len(test.text), err)
		}
	}
	var corrupt *CorruptError
	if _, _, _, err := readAll([]byte(line("/a") + strings.Repeat("x", frameBufferBytes))); !errors.As(err, &corrupt) || corrupt.OffsetBytes != int64(len(line("/a"))) {
		t.Errorf("endless line: %v", err)
	}
}

func TestText(t *testing.T) {
	for want, r := range map[string]Record{
		"2023-11-14T22:13:20.000000005Z 200 1.250ms GET /pb?sig=redacted\n": {
			Entry: Entry{1_700_000_000_000_000_005, 1_250_000, 200, []byte("GET"), []byte("/pb?sig=0123")}},
		"1970-01-01T00:00:00.000000000Z 414 0.000ms P\\u000aT /\\u00ff\\\" (cut, 5000 bytes)\n": {
			Entry: Entry{0, 1, 414, []byte("P\nT"), []byte("/\xff\"")}, URIBytes: 5_000},
	} {
		if got := string(r.AppendText(nil)); got != want {
			t.Errorf("got  %swant %s", got, want)
		}
	}
}

// After tidyUp any reader gets through: the holes have become messages.
func TestFindEnd(t *testing.T) {
	a, zeros := appendMessage(nil, request("/a")), make([]byte, 4096)
	file := bytes.Join([][]byte{a, begun(0), begun(0), a, begun(wordBytes), a, zeros}, nil)
	end, holes, err := findEnd(bytes.NewReader(file), int64(len(file)))
	if err != nil || int(end) != len(file)-len(zeros) || len(holes) != 1 {
		t.Fatalf("end %d, holes %v, %v", end, holes, err)
	}
	for _, h := range holes {
		copy(file[h.at:], h.fill())
	}
	again, holes, err := findEnd(bytes.NewReader(file[:end]), end)
	if again != end || len(holes) != 0 || err != nil {
		t.Errorf("end %d, holes %v, %v", again, holes, err)
	}
	if uris, skipped, _, err := readAll(file[:end]); uris != "/a/a/a" || skipped != 2 || err != nil {
		t.Errorf("%q, %d skipped, %v", uris, skipped, err)
	}
	text := stock(t, file[:end], "decode", "--short", "access.capnp", "AccessEntry")
	if bytes.Count(text, []byte("\n")) != 5 || bytes.Count(text, []byte(`"/a"`)) != 3 || bytes.Contains(text, []byte("ERROR")) {
		t.Errorf("capnp: %s", text)
	}
}

// FuzzReader: no file makes it crash, hang or go back; what it reads, the JSON log
// can say, and a writer that opens the file sees the same end.
func FuzzReader(f *testing.F) {
	whole := appendMessage(appendMessage(nil, request("/a")), request("/b?sig=1"))
	f.Add(whole)
	f.Add(append(whole, make([]byte, 100)...))
	f.Add(bytes.Join([][]byte{begun(0), whole, begun(8), whole}, nil))
	f.Add([]byte(lineOf(request("/a")) + "{\n" + lineOf(request("/b"))))
	f.Add(later())
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(bytes.NewReader(b))
		var corrupt *CorruptError
		for at := int64(-1); ; {
			record, err := r.Next()
			if errors.Is(err, io.EOF) || errors.As(err, &corrupt) {
				break
			}
			if errors.Is(err, ErrUnfinished) {
				r.Skip()
			} else if err != nil {
				t.Fatal(err)
			}
			if r.Offset() <= at || r.Offset() > int64(len(b)) {
				t.Fatalf("offset %d after %d", r.Offset(), at)
			}
			at = r.Offset()
			once := record.AppendJSON(nil)
			again, err := NewReader(bytes.NewReader(once)).Next()
			if err != nil || !bytes.Equal(again.AppendJSON(nil), once) {
				t.Fatalf("%s: %v", once, err)
			}
		}
		if len(b) == 0 || b[0] != 0 {
			return
		}
		end, _, err := findEnd(bytes.NewReader(b), int64(len(b)))
		if err == nil && corrupt == nil && end != r.Offset() {
			t.Fatalf("the writer sees the end at %d, the reader at %d", end, r.Offset())
		}
	})
}
