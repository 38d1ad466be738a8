package consumer

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// worker counts what is left of its work, and writes down when it was called.
type worker struct {
	left   int64
	does   int64 // with each tick
	start  time.Time
	ticks  []time.Duration
	events []int
}

func (w *worker) tick() int64 {
	w.ticks = append(w.ticks, time.Since(w.start))
	w.left = max(0, w.left-w.does)
	return w.left
}

func (w *worker) take(event int) int64 {
	w.events = append(w.events, event)
	w.left--
	return w.left
}

// run runs a Loop for that long in virtual time, and says what was left and how
// long it took.
func (w *worker) run(t *testing.T, d time.Duration, events <-chan int) (left int64, took time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	w.start = time.Now()
	left = Loop[int]{Every: 10 * time.Millisecond, Tick: w.tick, Events: events, Take: w.take}.Run(ctx)
	return left, time.Since(w.start)
}

func milliseconds(ns ...time.Duration) (of []time.Duration) {
	for _, n := range ns {
		of = append(of, n*time.Millisecond)
	}
	return of
}

func TestLoopKeepsItsPace(t *testing.T) {
	for _, test := range []struct {
		name  string
		work  int64
		runs  time.Duration
		ticks []time.Duration
	}{
		{"done before its end", 2, 25 * time.Millisecond, milliseconds(0, 10, 20, 25)},
		{"drains", 6, 15 * time.Millisecond, milliseconds(0, 10, 15, 20, 30, 40)},
		{"ended before it began, with nothing to do", 0, -1, milliseconds(0)},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &worker{left: test.work, does: 1}
				left, took := w.run(t, test.runs, nil)
				if last := test.ticks[len(test.ticks)-1]; left != 0 || took != last || !slices.Equal(w.ticks, test.ticks) {
					t.Errorf("%d left after %v, ticks at %v", left, took, w.ticks)
				}
			})
		})
	}
}

func TestLoopDrainIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &worker{left: 3}
		const until = 15 * time.Millisecond
		if left, took := w.run(t, until, nil); left != 3 || took != until+DrainLimit {
			t.Errorf("%d left after %v", left, took)
		}
	})
}

// Events are taken as they come, and what one of them finishes is finished at once.
func TestLoopTakesEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, events := &worker{left: 3}, make(chan int)
		go func() {
			for i := range 3 {
				time.Sleep(7 * time.Millisecond) // virtual time
				events <- i
			}
		}()
		left, took := w.run(t, 15*time.Millisecond, events)
		if left != 0 || took != 21*time.Millisecond || !slices.Equal(w.events, []int{0, 1, 2}) {
			t.Errorf("%d left after %v, took %v", left, took, w.events)
		}
	})
}
