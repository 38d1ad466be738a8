package schedule

import (
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReplay(t *testing.T) {
	recorded := []int64{0, 100, 100, 250, 1_000_000_001}
	tests := []struct {
		speed float64
		want  []int64
	}{
		{1, recorded},
		{2, []int64{0, 50, 50, 125, 500_000_000}},
		{0.5, []int64{0, 200, 200, 500, 2_000_000_002}},
	}
	for _, tt := range tests {
		s, err := Replay(due(recorded...), tt.speed)
		if got := drain(t, s, err); !slices.Equal(got, tt.want) {
			t.Errorf("speed %v: %v, want %v", tt.speed, got, tt.want)
		}
	}
}

func due(dues ...int64) []Replayed {
	entries := make([]Replayed, len(dues))
	for i, d := range dues {
		entries[i].DueNs = d
	}
	return entries
}

func TestReplayRefuses(t *testing.T) {
	tests := []struct {
		name    string
		entries []Replayed
		speed   float64
		want    error
		text    string
	}{
		{"zero speed", due(0, 1), 0, ErrSpeed, "impossible speed: 0;"},
		{"negative speed", due(0, 1), -1, ErrSpeed, "impossible speed: -1;"},
		{"NaN speed", due(0, 1), math.NaN(), ErrSpeed, "impossible speed: NaN;"},
		{"infinite speed", due(0, 1), math.Inf(1), ErrSpeed, "impossible speed: +Inf;"},
		{"speed that never ends", due(0, second), 1e-300, ErrSpeed, "centuries"},
		{"speed beyond any server", due(0, second, 2*second), 1e9, ErrRate, "speed 1e+09 makes 1e+09 requests/s"},
		{"nothing", nil, 1, ErrEmpty, "no request in it"},
		{"all at once", due(0, 0, 0), 1, ErrNoTiming, "all 3 requests are due at once; give a rate instead"},
		{"out of order", due(0, 5, 4), 1, nil, "entry 2 is due at 4 ns, before 5 ns"},
		{"before the start", due(-1), 1, nil, "entry 0 is due at -1 ns"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Replay(tt.entries, tt.speed)
			if s != nil || err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, %v; want %q", s, err, tt.text)
			}
		})
	}
	s, err := Replay(due(0), 1)
	if got := drain(t, s, err); !slices.Equal(got, []int64{0}) {
		t.Errorf("a single request: %v, want it at 0", got)
	}
}

func TestReadLimits(t *testing.T) {
	t.Run("line length", func(t *testing.T) {
		longest := strings.Repeat("#", MaxLineBytes-1) + "\nGET /\n"
		if _, err := ParseVegetaTargets("t", strings.NewReader(longest)); err != nil {
			t.Errorf("a line of MaxLineBytes: %v", err)
		}
		_, err := ParseVegetaTargets("t", strings.NewReader("GET /\n#"+longest))
		requireParseError(t, err, ErrLimit, "t:2: too large to replay: the line is longer than 1048576 bytes")
	})
	t.Run("file size", func(t *testing.T) {
		lines := newLineReader("t", strings.NewReader("a\nb\n"))
		lines.bytes = MaxReplayBytes - 1
		if _, ok := lines.next(); !ok {
			t.Fatal("the last line within the limit was refused")
		}
		if _, ok := lines.next(); ok {
			t.Error("a line beyond the limit was read")
		}
		requireParseError(t, lines.err(), ErrLimit, "t:1: too large to replay: more than 1073741824 bytes; split the file")
	})
	t.Run("entries", func(t *testing.T) {
		entries := make([]Replayed, MaxReplayEntries-1, MaxReplayEntries)
		entries, err := appendEntry(entries, Replayed{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = appendEntry(entries, Replayed{}); !errors.Is(err, ErrLimit) {
			t.Errorf("one more than MaxReplayEntries: %v", err)
		}
	})
	t.Run("read error", func(t *testing.T) {
		broken := io.MultiReader(strings.NewReader("GET /\n"), iotest.ErrReader(io.ErrClosedPipe))
		_, err := ParseVegetaTargets("t", broken)
		requireParseError(t, err, io.ErrClosedPipe, "t:2: read: io: read/write on closed pipe")
	})
}

// requireParseError compares the whole text, or only its beginning if it ends
// in "...": the standard library's own wording may change.
func requireParseError(t *testing.T, err, want error, text string) {
	t.Helper()
	var parseErr *ParseError
	if !errors.As(err, &parseErr) {
		t.Fatalf("got %v, want a *ParseError: %s", err, text)
	}
	prefix, open := strings.CutSuffix(text, "...")
	if want != nil && !errors.Is(err, want) || !strings.HasPrefix(err.Error(), prefix) || !open && err.Error() != text {
		t.Errorf("got  %v\nwant %s", err, text)
	}
}

func TestSniff(t *testing.T) {
	tests := []struct {
		name, first string
		want        Format
		err         string
	}{
		{"combined", `1.2.3.4 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1" 200 1 "-" "x"` + "\n", FormatAccessLog, ""},
		{"cut inside the request", `1.2.3.4 - - [10/Oct/2000:13:55:36 -0700] "GET /a`, FormatAccessLog, ""},
		{"vegeta HTTP", "\n# targets\nGET http://h/a\n", FormatVegetaHTTP, ""},
		{"vegeta with a path", "DELETE /a\r\n", FormatVegetaHTTP, ""},
		{"vegeta JSON", ` {"method":"GET","url":"http://h/"}`, FormatVegetaJSON, ""},
		{"empty", "\n \n", FormatUnknown, "f: no request in it"},
		{"gzip", "\x1f\x8b\x08\x00", FormatUnknown, "f: it is gzip-compressed; decompress it first"},
		{"something else", "# x\nhello world\n", FormatUnknown, "f:2: neither an access log line (common or combined) nor a vegeta target"},
		{"a header first", "ACCEPT : text/plain\n", FormatUnknown, "f:1: neither an access log line (common or combined) nor a vegeta target"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Sniff("f", []byte(tt.first))
			if got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || err.Error() != tt.err) {
				t.Errorf("got error %v, want %q", err, tt.err)
			}
		})
	}
}
