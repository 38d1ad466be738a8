package replicate

import "testing"

// run lives through the faults until the edge is silent, then mends everything,
// drains and returns the counts of all replicators together.
func (w *world) run() Counts {
	for w.nowNs < simEndNs {
		if w.step() != nil {
			w.t.Fatal("stopped without having been told to")
		}
	}
	w.fault, w.redisUpNs, w.centralNs = faults{}, 0, 0
	w.core.Drain(w.nowNs)
	for range 100_000 {
		if stopped := w.step(); stopped != nil {
			if !stopped.Drained || len(w.redis.stream) > 0 || len(w.redis.pending) > 0 {
				w.t.Fatalf("stopped (%+v) with %d entries, %d pending", *stopped, len(w.redis.stream), len(w.redis.pending))
			}
			return sum(w.before, w.core.Counts())
		}
	}
	w.t.Fatal("never drained")
	return Counts{}
}

// tally counts arrivals by what became of them.
func (w *world) tally() (committed, expired, wiped int64) {
	for key, f := range w.arrivals {
		switch {
		case f.committed > 0:
			committed++
		case f.wiped:
			wiped++
		case f.gone && f.deleted:
			expired++
		default:
			w.t.Fatalf("%s: not at central and no reason why: %+v", key, *f)
		}
	}
	return committed, expired, wiped
}

func seeds(t *testing.T) uint64 {
	if testing.Short() {
		return 10
	}
	return 100
}

// As the post has it: what central does not take within the time to live is
// lost, counted, and nothing else is.
func TestSimulateRedisTTL(t *testing.T) {
	var committedAll, expiredAll, wipedAll, crashedAll int64
	for seed := range seeds(t) {
		w := newWorld(t, seed, 20*second, faults{
			crash: 0.002, replyLost: 0.01, centralAway: 0.001, redisAway: 0.001, redisEmpty: 0.0003, outageNs: 60 * second})
		counts := w.run()
		committed, expired, wiped := w.tally()
		if w.crashed == 0 && counts.Expired != w.foundGone {
			t.Errorf("seed %d: %d counted as expired, %d were", seed, counts.Expired, w.foundGone)
		}
		if counts.Expired < expired || counts.Replicated > 0 && counts.Batches == 0 {
			t.Errorf("seed %d: %d expired, counts %+v", seed, expired, counts)
		}
		committedAll, expiredAll = committedAll+committed, expiredAll+expired
		wipedAll, crashedAll = wipedAll+wiped, crashedAll+w.crashed
	}
	if committedAll == 0 || expiredAll == 0 || wipedAll == 0 || crashedAll == 0 {
		t.Errorf("the faults did not bite: %d committed, %d expired, %d wiped, %d crashes", committedAll, expiredAll, wipedAll, crashedAll)
	}
	t.Logf("%d committed, %d expired, %d wiped, %d crashes", committedAll, expiredAll, wipedAll, crashedAll)
}

// Without crashes and wipes every count is exact, lost replies or not.
func TestSimulateCounts(t *testing.T) {
	for seed := range seeds(t) {
		w := newWorld(t, seed, 20*second, faults{replyLost: 0.02, centralAway: 0.001, redisAway: 0.001, outageNs: 60 * second})
		counts := w.run()
		committed, expired, wiped := w.tally()
		if counts.Expired != w.foundGone || counts.Replicated+counts.Expired != int64(len(w.arrivals)) ||
			wiped != 0 || counts.Malformed != 0 || counts.GroupsRecreated != 0 {
			t.Errorf("seed %d: %d arrivals, %d committed, %d expired, %d found gone, counts %+v",
				seed, len(w.arrivals), committed, expired, w.foundGone, counts)
		}
	}
}

// The repaired form loses nothing, however long central is away and however
// often the replicator dies; and no key outlives its confirmation for ever.
func TestSimulateRedisConfirmed(t *testing.T) {
	for seed := range seeds(t) {
		w := newWorld(t, seed, 0, faults{
			crash: 0.002, replyLost: 0.01, centralAway: 0.001, redisAway: 0.001, outageNs: 120 * second})
		counts := w.run()
		committed, expired, wiped := w.tally()
		if committed != int64(len(w.arrivals)) || expired != 0 || wiped != 0 || counts.Expired != 0 {
			t.Fatalf("seed %d: %d of %d committed, %d expired, %d wiped, counts %+v",
				seed, committed, len(w.arrivals), expired, wiped, counts)
		}
		for key, expiry := range w.redis.keys {
			if expiry == 0 || expiry > w.nowNs+simKeepNs {
				t.Fatalf("seed %d: %s was confirmed and stays for ever (expiry %d)", seed, key, expiry)
			}
		}
	}
}

// A group that is lost while the stream stays (an operator's mistake) costs
// resends, never a record.
func TestSimulateGroupLost(t *testing.T) {
	w := newWorld(t, 1, 0, faults{crash: 0.002, replyLost: 0.01, centralAway: 0.01, outageNs: 10 * second})
	for w.nowNs < simEndNs/2 {
		w.step()
		if w.chance(0.01) {
			w.redis.hasGroup, w.redis.pending = false, nil
		}
	}
	counts := w.run()
	if committed, _, _ := w.tally(); committed != int64(len(w.arrivals)) || counts.GroupsRecreated == 0 || w.recreated < 10 {
		t.Errorf("%d of %d committed, %d groups made, counts %+v", committed, len(w.arrivals), w.recreated, counts)
	}
}
