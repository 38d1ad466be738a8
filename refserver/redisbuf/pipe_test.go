package redisbuf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/postbench/postbench/refserver/replicate"
)

// The tests of this file run in a synctest bubble: miniredis over net.Pipe, its
// clock and every wait virtual. A goroutine left behind fails them.

const ttl = 5 * time.Minute

// lab is an edge, its Redis, a replicator and central.
type lab struct {
	t       *testing.T
	redis   *miniredis.Miniredis
	client  *redis.Client // for looking and breaking
	buffer  *Buffer
	ttl     time.Duration
	log     bytes.Buffer
	puts    int
	central central
}

// central remembers what it was sent, and how often.
type central struct {
	mu     sync.Mutex
	broken error // what it answers instead
	hangs  bool
	after  func() // called when it has committed, before it answers
	got    map[string]int
}

func (c *central) send(ctx context.Context, records [][]byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	if c.broken != nil {
		return c.broken
	}
	for _, record := range records {
		c.got[string(record)]++
	}
	if c.after != nil {
		c.after()
	}
	return nil
}

// is sets how central behaves from now on.
func (c *central) is(broken error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = broken
}

var errAway = errors.New("away")

func inLab(t *testing.T, ttl time.Duration, test func(*testing.T, *lab)) {
	synctest.Test(t, func(t *testing.T) {
		l := &lab{t: t, redis: miniredis.NewMiniRedis(), ttl: ttl, central: central{got: make(map[string]int)}}
		defer l.redis.Close()
		l.redis.ClockTTL(true)
		l.client = redis.NewClient(l.options())
		var err error
		if l.buffer, err = newBuffer(Options{Socket: "/lab", Edge: 7, Boot: 1, TTL: ttl}, l.options()); err != nil {
			t.Fatal(err)
		}
		test(t, l)
		if err := errors.Join(l.buffer.Close(), l.client.Close()); err != nil {
			t.Error(err)
		}
	})
}

func (l *lab) options() *redis.Options {
	options, err := clientOptions("/lab", 2)
	if err != nil {
		l.t.Fatal(err)
	}
	options.Dialer = func(context.Context, string, string) (net.Conn, error) {
		conn, err := l.redis.Dial()
		if err != nil {
			return nil, err
		}
		return newRoomySocket(conn), nil
	}
	return options
}

// put buffers n records, all different from all before.
func (l *lab) put(n int) {
	l.t.Helper()
	for range n {
		l.puts++
		if err := l.buffer.Put(l.t.Context(), fmt.Appendf(nil, "record %d", l.puts)); err != nil {
			l.t.Fatal(err)
		}
	}
}

// replicator starts one; stop ends it, after it has drained.
func (l *lab) replicator() (r *Replicator, stop func()) {
	l.t.Helper()
	r, err := newReplicator(ReplicatorConfig{
		Socket: "/lab", TTL: l.ttl, KeepAfterConfirm: ttl, Send: l.central.send, Now: time.Now,
		Log: slog.New(slog.NewTextHandler(&l.log, nil)),
	}, l.options())
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(l.t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	return r, func() {
		cancel()
		if err := errors.Join(<-done, r.Close()); err != nil {
			l.t.Error(err)
		}
	}
}

// expect checks what central got (at least once each) and the index's length.
func (l *lab) expect(committed int, backlog int64) {
	l.t.Helper()
	l.central.mu.Lock()
	defer l.central.mu.Unlock()
	n, err := l.client.XLen(l.t.Context(), replicate.Index).Result()
	if len(l.central.got) != committed || n != backlog || err != nil {
		l.t.Errorf("central has %d records, want %d; the index %d entries, want %d (%v)", len(l.central.got), committed, n, backlog, err)
	}
}

func (l *lab) expectCounts(r *Replicator, want Counts) {
	l.t.Helper()
	if got := r.Counts(); got != want {
		l.t.Errorf("counts %+v\n   want %+v", got, want)
	}
}

func TestReplicate(t *testing.T) {
	inLab(t, ttl, func(t *testing.T, l *lab) {
		const records = 2*replicate.DefaultBatchEntries + 44
		l.put(records)
		r, stop := l.replicator()
		time.Sleep(10 * time.Second) // virtual
		l.expect(records, 0)
		l.put(1)
		synctest.Wait() // the read was waiting: no time passes
		l.expect(records+1, 0)
		if n, err := r.Backlog(t.Context()); n != 0 || err != nil {
			t.Errorf("backlog %d, %v", n, err)
		}
		stop()
		l.expectCounts(r, Counts{Replicated: records + 1, Batches: 4})
		for record, times := range l.central.got {
			if times != 1 {
				t.Errorf("%q was sent %d times", record, times)
			}
		}
		if keys := len(l.redis.Keys()); keys != records+2 {
			t.Errorf("%d keys, want all %d arrivals and the index: redis-ttl leaves them to their time to live", keys, records+1)
		}
		time.Sleep(ttl) // virtual
		if keys := l.redis.Keys(); len(keys) != 1 {
			t.Errorf("%d keys after their time to live", len(keys))
		}
	})
}

// Redis keeps central's absence for as long as the time to live, to the record.
func TestCentralAway(t *testing.T) {
	for _, test := range []struct {
		name      string
		ttl, away time.Duration
		lost      int
	}{
		{"60 s of 5 min", ttl, time.Minute, 0},
		{"almost the time to live", ttl, ttl - 2*time.Second, 0},
		{"longer than the time to live", ttl, ttl + time.Minute, 300},
		{"an hour, confirmed", 0, time.Hour, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			inLab(t, test.ttl, func(t *testing.T, l *lab) {
				l.central.is(errAway)
				r, stop := l.replicator()
				l.put(300)
				time.Sleep(test.away) // virtual
				l.central.is(nil)
				l.put(100)
				time.Sleep(replicate.BackoffMaxNs + time.Second) // virtual
				l.expect(400-test.lost, 0)
				stop()
				want := Counts{Replicated: int64(400 - test.lost), Expired: int64(test.lost)}
				want.Batches, want.SendFailures = r.Counts().Batches, r.Counts().SendFailures // as time will have it
				l.expectCounts(r, want)
				if told := strings.Count(l.log.String(), "records="); told != min(1, test.lost) {
					t.Errorf("the loss is told %d times:\n%s", told, l.log.String())
				}
				if told := strings.Count(l.log.String(), "stands still"); told != 1 {
					t.Errorf("the standstill is told %d times:\n%s", told, l.log.String())
				}
			})
		})
	}
}

// Until central has confirmed, a key has no time to live; then it has one.
func TestConfirmedKeys(t *testing.T) {
	inLab(t, 0, func(t *testing.T, l *lab) {
		l.central.is(errAway)
		l.put(3)
		_, stop := l.replicator()
		defer stop()
		time.Sleep(time.Hour) // virtual
		arrivals := func() (keys []string) {
			for _, key := range l.redis.Keys() {
				if key != replicate.Index {
					keys = append(keys, key)
				}
			}
			return keys
		}
		for _, key := range arrivals() {
			if left := l.redis.TTL(key); left != 0 {
				t.Errorf("%s is not confirmed and has %v to live", key, left)
			}
		}
		l.central.is(nil)
		time.Sleep(10 * time.Second) // virtual
		for _, key := range arrivals() {
			if left := l.redis.TTL(key); left <= ttl-10*time.Second || left > ttl {
				t.Errorf("%s was confirmed and has %v to live, want %v less up to 10 s", key, left, ttl)
			}
		}
		if n := len(arrivals()); n != 3 {
			t.Errorf("%d arrivals, want 3", n)
		}
		time.Sleep(ttl) // virtual
		if n := len(arrivals()); n != 0 {
			t.Errorf("%d arrivals are left long after their confirmation", n)
		}
	})
}

// A replicator that dies between central's commit and the deletion: its
// successor finds the entries pending and sends them again.
func TestSuccessorTakesOver(t *testing.T) {
	inLab(t, 0, func(t *testing.T, l *lab) {
		l.put(5)
		l.central.after = func() { l.redis.SetError("LOADING not now") }
		_, stop := l.replicator()
		time.Sleep(time.Second) // virtual
		l.refused()
		stop()
		if !strings.Contains(l.log.String(), "not drained in time") {
			t.Errorf("nothing is told of what was left behind:\n%s", l.log.String())
		}
		l.redis.SetError("")
		l.central.after = nil
		l.expect(5, 5)
		r, stop := l.replicator()
		stop()
		l.expect(5, 0)
		l.expectCounts(r, Counts{Replicated: 5, Batches: 1})
		for record, times := range l.central.got {
			if times != 2 {
				t.Errorf("%q was sent %d times, want 2", record, times)
			}
		}
	})
}

// refused sees a Redis that refuses: the error is the edge's to answer with 503.
func (l *lab) refused() {
	if err := l.buffer.Put(l.t.Context(), []byte("refused")); err == nil {
		l.t.Error("put into a Redis that refuses everything: no error")
	}
}

// The group and with it the pending list is gone, the stream is there.
func TestGroupLost(t *testing.T) {
	inLab(t, ttl, func(t *testing.T, l *lab) {
		r, stop := l.replicator()
		synctest.Wait()
		l.central.is(errAway)
		l.put(3)
		time.Sleep(time.Second) // virtual
		if err := l.client.XGroupDestroy(t.Context(), replicate.Index, replicate.Group).Err(); err != nil {
			t.Fatal(err)
		}
		l.central.is(nil)
		time.Sleep(5 * time.Second) // virtual
		l.expect(3, 0)
		stop()
		if n := r.Counts().GroupsRecreated; n != 1 {
			t.Errorf("%d groups made again, want 1", n)
		}
	})
}

// Redis dies and comes back empty: what was not at central is lost (D0), and
// what comes then is not.
func TestRedisComesBackEmpty(t *testing.T) {
	inLab(t, ttl, func(t *testing.T, l *lab) {
		r, stop := l.replicator()
		l.put(2)
		time.Sleep(time.Second) // virtual
		l.central.is(errAway)
		l.put(3)
		time.Sleep(time.Second) // virtual
		l.redis.SetError("LOADING not now")
		l.redis.FlushAll()
		time.Sleep(time.Second) // virtual
		l.refused()
		l.redis.SetError("")
		l.central.is(nil)
		time.Sleep(5 * time.Second) // virtual
		l.put(4)
		time.Sleep(time.Second) // virtual
		l.expect(6, 0)
		stop()
		if c := r.Counts(); c.Replicated != 6 || c.Expired != 0 || c.GroupsRecreated != 1 || c.RedisFailures == 0 {
			t.Errorf("counts %+v", c)
		}
	})
}

// Entries of somebody else are counted and deleted, their keys left alone.
func TestForeignEntries(t *testing.T) {
	inLab(t, 0, func(t *testing.T, l *lab) {
		l.put(1)
		for _, values := range [][]string{{"key", "precious"}, {"other", "x"}, {"key", "precious", "more", "x"}} {
			if err := l.client.XAdd(t.Context(), &redis.XAddArgs{Stream: replicate.Index, Values: values}).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.client.Set(t.Context(), "precious", "x", 0).Err(); err != nil {
			t.Fatal(err)
		}
		r, stop := l.replicator()
		stop()
		l.expect(1, 0)
		l.expectCounts(r, Counts{Replicated: 1, Batches: 1, Malformed: 3})
		if !l.redis.Exists("precious") || l.redis.TTL("precious") != 0 {
			t.Error("a key of somebody else was touched")
		}
	})
}

// Draining is over when the limit says so, central away or silent.
func TestDrainLimit(t *testing.T) {
	inLab(t, ttl, func(t *testing.T, l *lab) {
		l.put(1)
		l.central.hangs = true
		_, stop := l.replicator()
		synctest.Wait()
		start := time.Now()
		stop()
		if took := time.Since(start); took != replicate.DefaultDrainLimitNs {
			t.Errorf("stopped after %v, want %v", took, time.Duration(replicate.DefaultDrainLimitNs))
		}
		l.expect(0, 1)
	})
}
