package proc

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func TestReadyWriter(t *testing.T) {
	for name, c := range map[string]struct {
		writes []string
		addr   string
		err    error
	}{
		"one write":        {[]string{`{"addr":"h:1"}` + "\n"}, "h:1", nil},
		"byte by byte":     {strings.Split(`{"addr":"h:1"}`+"\n", ""), "h:1", nil},
		"more follows":     {[]string{`{"addr":"h:1"}` + "\nnoise\n", "noise\n"}, "h:1", nil},
		"other keys":       {[]string{`{"pid":7,"addr":"h:1"}` + "\n"}, "h:1", nil},
		"carriage return":  {[]string{`{"addr":"h:1"}` + "\r\n"}, "h:1", nil},
		"not JSON":         {[]string{"listening on h:1\n"}, "", ErrReadyLine},
		"no addr":          {[]string{"{}\n"}, "", ErrReadyLine},
		"addr is a number": {[]string{`{"addr":1}` + "\n"}, "", ErrReadyLine},
		"empty line":       {[]string{"\n", `{"addr":"h:1"}` + "\n"}, "", ErrReadyLine},
		"too long":         {[]string{strings.Repeat("x", maxReadyLineBytes), "x"}, "", ErrReadyLine},
	} {
		w := newReadyWriter()
		for _, s := range c.writes {
			if n, err := io.WriteString(w, s); n != len(s) || err != nil {
				t.Errorf("%s: write %d, %v", name, n, err)
			}
		}
		select {
		case got := <-w.line:
			if got.message.Addr != c.addr || !errors.Is(got.err, c.err) {
				t.Errorf("%s: %+v; want %q, %v", name, got, c.addr, c.err)
			}
		default:
			t.Errorf("%s: undecided", name)
		}
	}
}

func TestReadyWriterWaitsForTheWholeLine(t *testing.T) {
	w := newReadyWriter()
	_, _ = io.WriteString(w, `{"addr":"h:1"}`)
	if len(w.line) != 0 {
		t.Error("decided before the end of the line")
	}
}

func FuzzReadyWriter(f *testing.F) {
	f.Add([]byte(`{"addr":"h:1"}`+"\nrest"), 3)
	f.Add([]byte("x\n"), 1)
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		cut = max(0, min(cut, len(in)))
		whole, pieces := newReadyWriter(), newReadyWriter()
		_, _ = whole.Write(in)
		_, _ = pieces.Write(in[:cut])
		_, _ = pieces.Write(in[cut:])
		if len(whole.line) != len(pieces.line) {
			t.Fatal("the way the output is cut decides")
		}
		if len(whole.line) == 0 {
			return
		}
		a, b := <-whole.line, <-pieces.line
		if a.message.Addr != b.message.Addr || (a.err == nil) != (a.message.Addr != "") {
			t.Errorf("whole %+v, in pieces %+v", a, b)
		}
	})
}

func TestTailWriter(t *testing.T) {
	long := strings.Repeat("a", maxTailBytes-1)
	for name, c := range map[string]struct {
		writes []string
		want   string
	}{
		"nothing":         {nil, ""},
		"little":          {[]string{"a\n", "b\n"}, "a\nb\n"},
		"one huge write":  {[]string{long + "bc"}, long[1:] + "bc"},
		"overflow slowly": {[]string{long, "b", "c"}, long[1:] + "bc"},
	} {
		w := &tailWriter{log: brokenWriter{}} // a full disk changes nothing
		for _, s := range c.writes {
			if n, err := io.WriteString(w, s); n != len(s) || err != nil {
				t.Errorf("%s: write %d, %v", name, n, err)
			}
		}
		if w.String() != c.want {
			t.Errorf("%s: %d bytes, want %d", name, len(w.String()), len(c.want))
		}
	}
}

func TestErrorIsOneShortLine(t *testing.T) {
	for in, want := range map[string]string{
		"":                             "edge: not ready in time",
		"\n \n":                        "edge: not ready in time",
		"one\n":                        "edge: not ready in time; stderr: one",
		"1\n2\n3\n4\r\n\n5\n6":         "edge: not ready in time; stderr: 2 | 3 | 4 | 5 | 6",
		strings.Repeat("é", 201):       "edge: not ready in time; stderr: " + strings.Repeat("é", 200),
		"x" + strings.Repeat("é", 200): "edge: not ready in time; stderr: x" + strings.Repeat("é", 199),
	} {
		err := &Error{Name: "edge", Err: ErrNotReady, Stderr: in}
		if err.Error() != want {
			t.Errorf("%q\ngot  %q\nwant %q", in, err, want)
		}
	}
}
