package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/postbench/postbench/loadgen"
)

const (
	barEvery  = 200 * time.Millisecond
	lineEvery = 5 * time.Second
)

// watcher shows how a run is getting on: a bar on a terminal, plain lines
// elsewhere.
type watcher struct {
	out   io.Writer
	label string

	stop context.CancelFunc
	done sync.WaitGroup
}

// observe starts showing a run of the given length.
func (w *watcher) observe(total time.Duration) loadgen.Observe {
	return func(_ time.Time, progress func() loadgen.Progress) {
		ctx, stop := context.WithCancel(context.Background())
		w.stop = stop
		show, every := w.lines(total), lineEvery
		if isTerminal(w.out) {
			show, every = w.bar(total), barEvery
		}
		w.done.Go(func() {
			ticker := time.NewTicker(every)
			defer ticker.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
					show(progress())
				}
			}
		})
	}
}

// end stops showing; it may be called when nothing was started.
func (w *watcher) end() {
	if w.stop == nil {
		return
	}
	w.stop()
	w.done.Wait()
	w.stop = nil
	if isTerminal(w.out) {
		fmt.Fprint(w.out, "\r\033[K")
	}
}

func (w *watcher) lines(total time.Duration) func(loadgen.Progress) {
	return func(p loadgen.Progress) {
		fmt.Fprintf(w.out, "%s  %s\n", w.label, progressText(p, total))
	}
}

func (w *watcher) bar(total time.Duration) func(loadgen.Progress) {
	bar := progressbar.NewOptions64(int64(total), progressbar.OptionSetWriter(w.out), progressbar.OptionSetWidth(20),
		progressbar.OptionSetPredictTime(false), progressbar.OptionSetElapsedTime(false), progressbar.OptionThrottle(0))
	return func(p loadgen.Progress) {
		bar.Describe(w.label + "  " + progressText(p, total))
		_ = bar.Set64(min(int64(p.Elapsed), int64(total)))
	}
}

// progressText is the state of a run in one line.
func progressText(p loadgen.Progress, total time.Duration) string {
	p99 := "unacked"
	switch {
	case p.P99Ns >= 0:
		p99 = time.Duration(p.P99Ns).Round(10 * time.Microsecond).String()
	case p.Acked == 0 && p.Failed == 0:
		p99 = "-"
	}
	rate := 0.0
	if s := min(p.Elapsed, total).Seconds(); s > 0 { // behind the end nothing is due any more
		rate = float64(p.Intents) / s
	}
	left := "everything sent, waiting for answers and retries"
	if p.Elapsed < total {
		left = fmt.Sprintf("%v left", (total - p.Elapsed).Round(time.Second))
	}
	return fmt.Sprintf("%.0f/s  p99 so far %s  failed attempts %d  %s", rate, p99, p.Failed, left)
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
