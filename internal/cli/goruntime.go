package cli

import (
	"context"

	"github.com/postbench/postbench/internal/gostats"
	"github.com/postbench/postbench/refserver"
)

// runtimes are the Go runtimes of the processes that answer, by process id; nil
// when they are not known.
type runtimes map[int]gostats.Snapshot

// goWork is what the runtimes of all processes did between two looks.
type goWork struct {
	stops, allocObjects int64
	maxStopNs           int64
}

// readRuntimes asks the server. A server that does not tell is no error.
func (to *target) readRuntimes(ctx context.Context) runtimes {
	if to.gc == "" {
		return nil
	}
	var list []refserver.ProcessRuntime
	if err := getJSON(ctx, to.client, to.gc, &list); err != nil {
		return nil
	}
	seen := runtimes{}
	for _, p := range list {
		seen[p.Pid] = p.Runtime
	}
	return seen
}

// since is what happened since an earlier look; nil when a process has begun or
// ended meanwhile: what it did cannot be told then.
func (r runtimes) since(earlier runtimes) *goWork {
	if len(r) == 0 || len(r) != len(earlier) {
		return nil
	}
	var sum goWork
	for pid, now := range r {
		before, known := earlier[pid]
		w, ok := now.Since(before)
		if !known || !ok {
			return nil
		}
		sum.stops += int64(w.Stops)
		sum.allocObjects += int64(w.AllocObjects)
		sum.maxStopNs = max(sum.maxStopNs, w.MaxStopNs)
	}
	return &sum
}

// perRequest is how many objects were allocated for each; nil without any.
func (w *goWork) perRequest(requests int64) *float64 {
	if requests == 0 {
		return nil
	}
	objects := float64(w.allocObjects) / float64(requests)
	return &objects
}
