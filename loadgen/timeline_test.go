package loadgen

import (
	"maps"
	"testing"
	"time"
)

func TestTimeline(t *testing.T) {
	line := newTimeline([]Partner{{Timeout: time.Second}})
	for range 99 {
		line.add(5e8, 2e6, true)
	}
	line.add(999_999_999, 8e6, true)
	line.add(1e9, 0, false)
	line.add(1e9, 3e6, true)
	got := line.seconds()
	if len(got) != 2 || got[0].Intents != 100 || got[0].Acked != 100 || got[0].P99Ns/1e5 != 20 || got[0].MaxNs != 8e6 {
		t.Errorf("second 0: %+v", got)
	}
	if got[1].Second != 1 || got[1].Intents != 2 || got[1].Acked != 1 || got[1].P50Ns/1e5 != 30 || got[1].P99Ns != -1 || got[1].MaxNs != 3e6 {
		t.Errorf("second 1: %+v", got)
	}
}

// Every entry is counted in its own second, in whatever order they come. 30 s
// of patience keep 32 seconds open.
func TestTimelineInAnyOrder(t *testing.T) {
	for name, c := range map[string]struct {
		added   []int
		want    map[int]int64 // intents by second
		unknown []int         // seconds without percentiles
	}{
		"in order":             {[]int{0, 1, 2}, map[int]int64{0: 1, 1: 1, 2: 1}, nil},
		"backwards":            {[]int{31, 1, 0}, map[int]int64{0: 1, 1: 1, 31: 1}, nil},
		"too late":             {[]int{0, 0, 32, 0, 1}, map[int]int64{0: 3, 1: 1, 32: 1}, []int{0}},
		"late and alone":       {[]int{33, 0, 0}, map[int]int64{0: 2, 33: 1}, []int{0}},
		"a gap, then folded":   {[]int{0, 33, 65, 66}, map[int]int64{0: 1, 33: 1, 65: 1, 66: 1}, nil},
		"reused slots":         {[]int{0, 32, 64, 96, 33, 65}, map[int]int64{0: 1, 32: 1, 33: 1, 64: 1, 65: 1, 96: 1}, []int{33}},
		"late, not yet folded": {[]int{1, 34, 1}, map[int]int64{1: 2, 34: 1}, nil},
		"after the last second": {[]int{0, maxSeconds - 1, maxSeconds, 10 * maxSeconds},
			map[int]int64{0: 1, maxSeconds - 1: 3}, nil},
	} {
		line := newTimeline([]Partner{{Timeout: 30 * time.Second}})
		for _, second := range c.added {
			line.add(int64(second)*1e9, 1e6, true)
		}
		got, unknown := map[int]int64{}, map[int]bool{}
		last := -1
		for _, entry := range line.seconds() {
			if entry.Second <= last || entry.Acked != entry.Intents || entry.MaxNs != 1e6 {
				t.Errorf("%s: after second %d: %+v", name, last, entry)
			}
			last = entry.Second
			got[entry.Second] = entry.Intents
			if entry.P50Ns == -1 && entry.P99Ns == -1 {
				unknown[entry.Second] = true
			}
		}
		wantUnknown := map[int]bool{}
		for _, second := range c.unknown {
			wantUnknown[second] = true
		}
		if !maps.Equal(got, c.want) || !maps.Equal(unknown, wantUnknown) {
			t.Errorf("%s: %v, unknown %v; want %v, %v", name, got, unknown, c.want, wantUnknown)
		}
	}
}

func TestTimelineCountsLateUnacked(t *testing.T) {
	line := newTimeline([]Partner{{Timeout: time.Second}})
	line.add(0, 2e6, true)
	line.add(60e9, 2e6, true)
	line.add(0, 60e9, false)
	if got, want := line.seconds()[0], (Second{Intents: 2, Acked: 1, P50Ns: -1, P99Ns: -1, MaxNs: 2e6}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// As many seconds are open as a first attempt can last.
func TestTimelineWindow(t *testing.T) {
	for name, c := range map[string]struct {
		partners []Partner
		want     int
	}{
		"timeout":             {[]Partner{{Timeout: 10 * time.Second}}, 12},
		"part of a second":    {[]Partner{{Timeout: 100 * time.Millisecond, Connections: 1}}, 3},
		"queue of one round":  {[]Partner{{Timeout: 10 * time.Second, Connections: 50, Queue: 50}}, 22},
		"queue of two rounds": {[]Partner{{Timeout: 10 * time.Second, Connections: 50, Queue: 51}}, 32},
		"the longest counts":  {[]Partner{{Timeout: time.Second}, {Timeout: 40 * time.Second}}, 42},
		"bounded":             {[]Partner{{Timeout: time.Hour, Connections: 1, Queue: 1 << 30}}, maxOpenSeconds},
	} {
		if got := len(newTimeline(c.partners).open); got != c.want {
			t.Errorf("%s: %d open seconds, want %d", name, got, c.want)
		}
	}
}
