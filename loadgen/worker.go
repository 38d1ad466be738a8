package loadgen

import (
	"time"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/loadgen/transport"
)

// worker drives one connection of a partner.
type worker struct {
	lane     *lane
	tickets  chan ticket
	sender   Sender
	renderer *Renderer
	shard    *shard
	it       intent.Intent
	request  transport.Request
}

func newWorker(l *lane, number int) *worker {
	return &worker{
		lane:     l,
		tickets:  make(chan ticket, 1),
		sender:   l.config.NewSender(),
		renderer: NewRenderer(l.run.cfg.Intents, l.partner, &l.config.Template),
		shard:    l.run.recorder.shards[number%recorderShards],
	}
}

// serveAll runs until the tickets end.
func (w *worker) serveAll() {
	defer w.sender.Close()
	for t := range w.tickets {
		for more := true; more; {
			freeNs := w.serve(&t)
			t, more = w.lane.next(w, freeNs)
			w.lane.run.finished()
		}
	}
}

// serve carries out one attempt and returns when it ended.
func (w *worker) serve(t *ticket) int64 {
	r := w.lane.run
	r.cfg.Intents.At(t.index, &w.it)
	if n := uint64(len(r.cfg.Replay)); n > 0 {
		copyRecorded(&r.cfg.Replay[t.index%n], &w.request)
	} else {
		// A partner sends the URL that it has again, so that no byte of a retry
		// depends on when the server refused.
		w.renderer.Render(&w.it, r.cfg.Intents.Spec().EpochUnixS+t.intentDueNs/int64(time.Second), &w.request)
	}

	dispatched := time.Now()
	dispatchedNs := int64(dispatched.Sub(r.start))
	r.books.dispatched(t.index, dispatchedNs)
	reply, err := w.sender.Send(r.sendContext, &w.request, dispatched.Add(w.lane.config.Timeout))
	endNs := r.sinceStart()

	outcome := outcomeOf(&w.lane.config.Success, &reply, err)
	w.lane.ended(endNs, outcome)
	again, delayNs := r.books.ended(t, endNs, outcome, reply.Status, &w.lane.config.Retry)
	seen := observation{
		ticket: t, legitimate: w.it.Kind.Legitimate(),
		dispatchedNs: dispatchedNs, endNs: endNs, outcome: outcome, reply: reply, err: err,
		timed: t.dueNs >= int64(r.cfg.Warmup),
	}
	w.shard.attempt(&seen)
	r.recorder.partners[w.lane.partner].attempt(&seen)
	if t.first() && w.it.Kind.Legitimate() {
		r.timeline.add(t.dueNs, endNs-t.dueNs, outcome == intent.Acked)
		if seen.timed && outcome == intent.Acked {
			r.budget.add(&seen)
		}
	}
	if again {
		r.retry(ticket{index: t.index, intentDueNs: t.intentDueNs, dueNs: endNs + max(delayNs, int64(minRetryDelay)),
			partner: t.partner, attempt: t.attempt + 1})
	}
	return endNs
}

// outcomeOf classifies an attempt.
func outcomeOf(success *intent.SuccessRule, reply *transport.Reply, err error) intent.Outcome {
	switch {
	case err == nil && success.Accepts(reply.Status, reply.Body):
		return intent.Acked
	case err == nil:
		return intent.Refused
	case transport.ClassOf(err) == transport.ClassTimeout:
		return intent.TimedOut
	}
	return intent.Errored
}
