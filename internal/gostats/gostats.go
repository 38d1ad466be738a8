// Package gostats reads what the Go runtime of this process counts: how often
// and how long it stood still to collect garbage, and what was allocated.
package gostats

import (
	"math"
	"runtime/metrics"
)

// The runtime's own names, see package runtime/metrics.
const (
	stopsMetric   = "/sched/pauses/total/gc:seconds"
	cyclesMetric  = "/gc/cycles/total:gc-cycles"
	objectsMetric = "/gc/heap/allocs:objects"
)

// Stop is one kind of standstill: Count stops that took more than the Stop
// before and at most UpToNs.
type Stop struct {
	UpToNs int64  `json:"up_to_ns"`
	Count  uint64 `json:"count"`
}

// Snapshot is what was counted since the process began. Stops holds the kinds
// that occurred, shortest first; the runtime tells them apart to a quarter of
// their length.
type Snapshot struct {
	GCCycles     uint64 `json:"gc_cycles"`
	AllocObjects uint64 `json:"alloc_objects"`
	Stops        []Stop `json:"stops"`
}

// Read takes a snapshot.
func Read() Snapshot {
	samples := []metrics.Sample{{Name: stopsMetric}, {Name: cyclesMetric}, {Name: objectsMetric}}
	metrics.Read(samples)
	var s Snapshot
	if samples[1].Value.Kind() == metrics.KindUint64 {
		s.GCCycles = samples[1].Value.Uint64()
	}
	if samples[2].Value.Kind() == metrics.KindUint64 {
		s.AllocObjects = samples[2].Value.Uint64()
	}
	if samples[0].Value.Kind() != metrics.KindFloat64Histogram {
		return s
	}
	stops := samples[0].Value.Float64Histogram()
	for i, n := range stops.Counts {
		if n > 0 {
			s.Stops = append(s.Stops, Stop{UpToNs: nanoseconds(stops.Buckets[i+1], stops.Buckets[i]), Count: n})
		}
	}
	return s
}

// nanoseconds is a bucket's upper bound, or the lower one of a bucket without.
func nanoseconds(upperS, lowerS float64) int64 {
	if math.IsInf(upperS, 1) {
		upperS = lowerS
	}
	return int64(math.Round(upperS * 1e9))
}

// Work is what happened between two snapshots of one process.
type Work struct {
	GCCycles, Stops, AllocObjects uint64
	MaxStopNs                     int64 // at most so long; 0 without a stop
}

// Since is what happened after an earlier snapshot; ok is false if that was
// another life of the process.
func (s Snapshot) Since(earlier Snapshot) (w Work, ok bool) {
	if s.GCCycles < earlier.GCCycles || s.AllocObjects < earlier.AllocObjects {
		return Work{}, false
	}
	before := map[int64]uint64{}
	for _, stop := range earlier.Stops {
		before[stop.UpToNs] = stop.Count
	}
	for _, stop := range s.Stops {
		if stop.Count < before[stop.UpToNs] {
			return Work{}, false
		}
		if n := stop.Count - before[stop.UpToNs]; n > 0 {
			w.Stops += n
			w.MaxStopNs = max(w.MaxStopNs, stop.UpToNs)
		}
	}
	w.GCCycles, w.AllocObjects = s.GCCycles-earlier.GCCycles, s.AllocObjects-earlier.AllocObjects
	return w, true
}
