package vegeta

import (
	"math"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync/atomic"
)

// indexHeader carries the intent's index from the target to the wire, where
// it is taken off again.
const indexHeader = "X-Postbench-Index"

const seqHeader = "X-Vegeta-Seq"

// noIndex marks a request that never came to the wire.
const noIndex = math.MaxUint32

// wire is the last station before the network: it takes off the headers that
// are not part of the postback, remembers which hit carries which intent, and
// counts the requests that net/http repeats in silence after a dead keep-alive
// connection (golang/go#48438).
type wire struct {
	base          http.RoundTripper
	indices       []uint32 // by vegeta's sequence number
	hiddenRetries atomic.Int64
}

func newWire(base http.RoundTripper, hits int) *wire {
	w := &wire{base: base, indices: make([]uint32, hits)}
	for i := range w.indices {
		w.indices[i] = noIndex
	}
	return w
}

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	seq, seqErr := strconv.ParseUint(r.Header.Get(seqHeader), 10, 32)
	index, indexErr := strconv.ParseUint(r.Header.Get(indexHeader), 10, 32)
	if seqErr == nil && indexErr == nil && seq < uint64(len(w.indices)) {
		w.indices[seq] = uint32(index)
	}
	var written int64
	trace := &httptrace.ClientTrace{WroteHeaders: func() {
		if atomic.AddInt64(&written, 1) > 1 {
			w.hiddenRetries.Add(1)
		}
	}}
	clean := r.Clone(httptrace.WithClientTrace(r.Context(), trace))
	clean.Header.Del(seqHeader)
	clean.Header.Del(indexHeader)
	clean.Header.Set("User-Agent", "postbench")
	return w.base.RoundTrip(clean)
}

// indexOf returns the intent that hit number seq carried.
func (w *wire) indexOf(seq uint64) (uint64, bool) {
	if seq >= uint64(len(w.indices)) || w.indices[seq] == noIndex {
		return 0, false
	}
	return uint64(w.indices[seq]), true
}
