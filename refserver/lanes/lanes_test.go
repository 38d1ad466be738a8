package lanes

import (
	"errors"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/postbench/postbench/refserver/shm"
)

func TestLaneNumber(t *testing.T) {
	for name, want := range map[string]int{
		"lane-0000.ring": 0, "lane-0007.ring": 7, "lane-0999.ring": 999,
		"lane-1000.ring": -1, "lane-7.ring": -1, "lane-00007.ring": -1, "lane--001.ring": -1, "lane-+001.ring": -1,
		"lane-.ring": -1, "lane-0001": -1, "0001.ring": -1, "": -1, lockName: -1, quarantineName: -1,
	} {
		got, ok := laneNumber(name)
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %d, %v; want %d", name, got, ok, want)
		}
	}
}

func TestSlotsFor(t *testing.T) {
	for _, c := range []struct {
		bufferFor time.Duration
		ratePerS  float64
		want      int
	}{
		{0, 1000, shm.MinSlots}, {time.Second, 0, shm.MinSlots}, {-time.Second, 5, shm.MinSlots}, {time.Second, 1024, 1024},
		{time.Second, 1025, 2048}, {3 * time.Second, 20_000, 65536}, {time.Hour, 1e9, shm.MaxSlots}, {time.Second, math.Inf(1), shm.MaxSlots},
	} {
		if got := SlotsFor(c.bufferFor, c.ratePerS); got != c.want {
			t.Errorf("%v of %v/s: %d slots, want %d", c.bufferFor, c.ratePerS, got, c.want)
		}
	}
}

func TestBadOptions(t *testing.T) {
	want := ErrOptions
	if runtime.GOOS != "linux" {
		want = errors.ErrUnsupported
	}
	dir := t.TempDir()
	for name, o := range map[string]Options{
		"no directory": {}, "slots": {Dir: dir, Slots: 3}, "too many slots": {Dir: dir, Slots: 2 * shm.MaxSlots}, "one slot": {Dir: dir, Slots: 1},
		"lanes": {Dir: dir, MaxLanes: LanesLimit + 1}, "negative lanes": {Dir: dir, MaxLanes: -1}, "high water": {Dir: dir, HighWater: -1},
	} {
		if l, err := OpenProducer(o); l != nil || !errors.Is(err, want) {
			t.Errorf("%s: producer: %v, want %v", name, err, want)
		}
		if d, err := OpenDir(o); d != nil || !errors.Is(err, want) {
			t.Errorf("%s: consumer: %v, want %v", name, err, want)
		}
	}
}
