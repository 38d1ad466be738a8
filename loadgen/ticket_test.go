package loadgen

import (
	"container/heap"
	"math/rand/v2"
	"testing"
)

// The ring against a slice that does the same.
func TestTicketQueue(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, limit := range []int{0, 1, 15, 16, 17, 100} {
		queue := ticketQueue{limit: limit}
		var model []uint64
		for i := range uint64(5000) {
			if random.IntN(100) < 52 {
				if pushed := queue.push(ticket{index: i}); pushed != (len(model) < limit) {
					t.Fatalf("limit %d: pushed %v with %d inside", limit, pushed, len(model))
				} else if pushed {
					model = append(model, i)
				}
				continue
			}
			got, ok := queue.pop()
			if ok != (len(model) > 0) || ok && got.index != model[0] {
				t.Fatalf("limit %d: popped %d %v, want %v", limit, got.index, ok, model)
			}
			if ok {
				model = model[1:]
			}
		}
		if len(queue.items) > limit {
			t.Errorf("limit %d: room for %d", limit, len(queue.items))
		}
	}
}

func TestTicketHeapOrdersByDueTime(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var pending ticketHeap
	for range 500 {
		heap.Push(&pending, ticket{dueNs: random.Int64N(200)})
	}
	last := int64(-1)
	for len(pending) > 0 {
		t0 := heap.Pop(&pending).(ticket)
		if t0.dueNs < last {
			t.Fatalf("%d after %d", t0.dueNs, last)
		}
		last = t0.dueNs
	}
}

// A full heap answers with a reason that ends in the books.
func TestPendingIsBounded(t *testing.T) {
	r := &run{changed: make(chan struct{}, 1), pending: make(ticketHeap, maxPending), lanes: []*lane{{}}}
	if reason := r.plan(ticket{}).String(); reason != "queue_full" || len(r.pending) != maxPending {
		t.Errorf("reason %q, %d pending", reason, len(r.pending))
	}
	r.closing = true
	if reason := r.plan(ticket{}).String(); reason != "run_ended" {
		t.Errorf("reason %q", reason)
	}
	r.lanes[0].deactivated.Store(true)
	if reason := r.plan(ticket{}).String(); reason != "deactivated" {
		t.Errorf("reason %q", reason)
	}
}
