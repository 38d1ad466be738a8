package consumer

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/postbench/postbench/refserver/lanes"
)

// fakeDir hands out what a test puts there.
type fakeDir struct {
	entries []lanes.Entry
	stats   lanes.Stats
	backlog int64
	freed   []Slot
	closed  int
}

func (f *fakeDir) Visit(max int, visit func(lanes.Entry)) lanes.Stats {
	handed := f.entries[:min(max, len(f.entries))]
	f.entries = f.entries[len(handed):]
	for _, e := range handed {
		visit(e)
	}
	return f.stats
}

func (f *fakeDir) Free(lane int, pos uint64) {
	f.freed = append(f.freed, Slot{lane, pos})
	f.backlog--
}

func (f *fakeDir) Backlog() int64 { return f.backlog }

func (f *fakeDir) Close() error {
	f.closed++
	f.backlog = 0 // as of lanes.Dir, which knows nothing any more
	return nil
}

// newFake is a Consumer of a fakeDir; lines takes what it has logged since.
func newFake() (c *Consumer, dir *fakeDir, lines func() []string) {
	dir = &fakeDir{}
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	return New(dir, log), dir, func() []string {
		defer text.Reset()
		return strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
	}
}

// What take refuses is lost and gone from its lane; the rest is its own to free.
func TestVisitCountsWhatIsLost(t *testing.T) {
	c, dir, lines := newFake()
	dir.backlog = 4
	dir.entries = []lanes.Entry{
		{Lane: 1, Pos: 7, Record: []byte("good")}, {Lane: 2, Pos: 8, Record: []byte("bad")},
		{Lane: 1, Pos: 9, Record: []byte("good")}, {Lane: 1, Pos: 10, Record: []byte("later")},
	}
	dir.stats = lanes.Stats{Lanes: 2, Unreadable: 1, Torn: 3, Corrupt: 5}
	var taken []Slot
	take := func(record []byte, at Slot) error {
		if string(record) == "bad" {
			return errors.New("too long")
		}
		taken = append(taken, at)
		return nil
	}
	c.Visit(3, take)
	if want := []Slot{{1, 7}, {1, 9}}; !slices.Equal(taken, want) || !slices.Equal(dir.freed, []Slot{{2, 8}}) {
		t.Errorf("taken %v, freed %v", taken, dir.freed)
	}
	if got, want := c.Counts(), (LaneCounts{Corrupt: 5 + 1, Torn: 3, Backlog: 3, Lanes: 2, UnreadableLanes: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := lines(), []string{
		`level=ERROR msg="a record cannot be sent" lane=2 position=8 error="too long"`,
		`level=ERROR msg="committed records are damaged and lost" records=6 since_start=6`,
	}; !slices.Equal(got, want) {
		t.Errorf("logged %q", got)
	}
	c.Visit(0, take) // nothing new
	dir.stats.Corrupt++
	c.Visit(3, take)
	if got, want := lines(), []string{
		`level=ERROR msg="committed records are damaged and lost" records=1 since_start=7`,
	}; !slices.Equal(got, want) {
		t.Errorf("logged %q", got)
	}
	c.Free(taken)
	if c.Left() != 0 || len(taken) != 3 {
		t.Errorf("%d left of %v", c.Left(), taken)
	}
}

func TestLaneTroubleIsLoggedOnce(t *testing.T) {
	c, dir, lines := newFake()
	for _, err := range []error{nil, errors.New("first"), errors.New("second"), nil, nil, errors.New("third")} {
		dir.stats.Err = err
		c.Visit(1, nil)
	}
	if got, want := lines(), []string{
		`level=WARN msg="lanes cannot be read" error=first`, `level=INFO msg="over: lanes cannot be read"`,
		`level=WARN msg="lanes cannot be read" error=third`,
	}; !slices.Equal(got, want) {
		t.Errorf("logged %q", got)
	}
}

// What was left at the end is told after it, however often it is asked.
func TestCloseKeepsTheCounts(t *testing.T) {
	c, dir, _ := newFake()
	dir.backlog = 4
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if dir.closed != 1 || c.Left() != 4 || c.Counts().Backlog != 4 {
		t.Errorf("closed %d times, %+v", dir.closed, c.Counts())
	}
}

func TestCountsJSON(t *testing.T) {
	text, err := json.Marshal(LaneCounts{1, 2, 3, 4, 5})
	if want := `{"corrupt":1,"torn":2,"backlog":3,"lanes":4,"unreadable_lanes":5}`; err != nil || string(text) != want {
		t.Errorf("%s, %v", text, err)
	}
}

func TestConfig(t *testing.T) {
	full, err := Config{LaneDir: "lanes"}.WithDefaults()
	if err != nil || full.LaneDir != "lanes" || full.Every != DefaultEvery || full.Log == nil {
		t.Errorf("%+v, %v", full, err)
	}
	for _, test := range []struct {
		config Config
		want   error
	}{{Config{}, ErrLaneDir}, {Config{LaneDir: "lanes", Every: -1}, ErrEvery}} {
		if _, err := test.config.WithDefaults(); !errors.Is(err, test.want) {
			t.Errorf("%+v: %v", test.config, err)
		}
	}
}
