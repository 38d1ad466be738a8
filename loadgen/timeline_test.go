package loadgen

import (
	"slices"
	"testing"
)

func TestTimeline(t *testing.T) {
	var line timeline
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

func TestTimelineInAnyOrder(t *testing.T) {
	for name, c := range map[string]struct {
		added, want []int
		missed      int64
	}{
		"in order":               {[]int{0, 1, 2}, []int{0, 1, 2}, 0},
		"backwards":              {[]int{31, 1, 0}, []int{0, 1, 31}, 0},
		"too late":               {[]int{32, 0, 1}, []int{1, 32}, 1},
		"a gap, then folded":     {[]int{0, 33, 65, 66}, []int{0, 33, 65, 66}, 0},
		"reused slots":           {[]int{0, 32, 64, 96, 33, 65}, []int{0, 32, 64, 65, 96}, 1},
		"beyond the last second": {[]int{0, maxSeconds - 1, maxSeconds, 10 * maxSeconds}, []int{0, maxSeconds - 1}, 2},
	} {
		var line timeline
		for _, second := range c.added {
			line.add(int64(second)*1e9, 1e6, true)
		}
		var got []int
		for _, entry := range line.seconds() {
			got = append(got, entry.Second)
			if entry.Intents != 1 {
				t.Errorf("%s: second %d has %d intents", name, entry.Second, entry.Intents)
			}
		}
		if !slices.Equal(got, c.want) || line.missed != c.missed {
			t.Errorf("%s: %v with %d missed, want %v with %d", name, got, line.missed, c.want, c.missed)
		}
	}
}
