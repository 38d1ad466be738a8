package redisbuf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/postbench/postbench/refserver/accept"
	"github.com/postbench/postbench/refserver/replicate"
)

// site is a Redis on a unix socket that can be started and killed.
type site struct {
	socket string
	start  func(t testing.TB, aof bool, more ...string) (kill func())
}

// realSite is the redis-server on PATH. Without one the test is skipped, but
// not in CI, which must have it.
func realSite(t testing.TB) *site {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("CI is set and there is no redis-server: %v", err)
		}
		t.Skipf("no redis-server on PATH: %v", err)
	}
	dir := t.TempDir()
	s := &site{socket: filepath.Join(dir, "s")}
	s.start = func(t testing.TB, aof bool, more ...string) func() {
		t.Helper()
		var output bytes.Buffer
		cmd := exec.Command(program, append(RealArgs(dir, s.socket, aof), more...)...)
		cmd.Stdout, cmd.Stderr = &output, &output
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := sync.OnceFunc(func() { _, _ = cmd.Process.Kill(), cmd.Wait() }) // SIGKILL
		t.Cleanup(kill)
		for deadline := time.Now().Add(20 * time.Second); ; {
			version, err := Version(t.Context(), s.socket)
			if err == nil {
				if version == "" || version[0] == 'v' {
					t.Errorf("the real one's version is %q", version)
				}
				return kill
			}
			if time.Now().After(deadline) {
				kill()
				t.Fatalf("redis-server does not serve: %v\n%s", err, output.Bytes())
			}
			time.Sleep(5 * time.Millisecond) // polls: a real process starts
		}
	}
	return s
}

func embeddedSite(t testing.TB) *site {
	t.Helper()
	s := &site{socket: filepath.Join(t.TempDir(), "s")}
	s.start = func(t testing.TB, _ bool, _ ...string) func() {
		t.Helper()
		_, stop := serve(t, s.socket, 1)
		return stop
	}
	return s
}

// eachSite runs a test against the real and the embedded Redis.
func eachSite(t *testing.T, test func(*testing.T, *site)) {
	t.Run("embedded", func(t *testing.T) { test(t, embeddedSite(t)) })
	t.Run("real", func(t *testing.T) { test(t, realSite(t)) })
}

func (s *site) buffer(t *testing.T, boot uint64, ttl time.Duration) *Buffer {
	t.Helper()
	b, err := Dial(Options{Socket: s.socket, Edge: 3, Boot: boot, TTL: ttl})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// replicator runs until the test's end or stop.
func (s *site) replicator(t *testing.T, ttl time.Duration, c *central) (r *Replicator, stop func()) {
	t.Helper()
	r, err := NewReplicator(ReplicatorConfig{
		Socket: s.socket, TTL: ttl, KeepAfterConfirm: time.Minute, Send: c.send, Now: time.Now,
		Log: slog.New(slog.DiscardHandler), DrainLimit: 20 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-ended, r.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return r, stop
}

func (c *central) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.got)
}

func putMany(t *testing.T, b *Buffer, name string, n int) {
	t.Helper()
	for i := range n {
		if err := b.Put(t.Context(), fmt.Appendf(nil, "%s %d", name, i)); err != nil {
			t.Fatal(err)
		}
	}
}

// Two boots of an edge put at once from many goroutines while the replicator
// runs: central has every record, each once.
func TestConcurrentPuts(t *testing.T) {
	const boots, goroutines, each = 2, 16, 50
	eachSite(t, func(t *testing.T, s *site) {
		s.start(t, false)
		c := &central{got: make(map[string]int)}
		r, stop := s.replicator(t, time.Minute, c)
		var puts sync.WaitGroup
		for boot := range uint64(boots) {
			b := s.buffer(t, boot, time.Minute)
			for g := range goroutines {
				puts.Go(func() { putMany(t, b, fmt.Sprint(boot, " ", g), each) })
			}
		}
		puts.Wait()
		stop() // drains
		const all = boots * goroutines * each
		if n := r.Counts().Replicated; n != all || c.count() != all {
			t.Errorf("%d replicated, %d at central, want %d", n, c.count(), all)
		}
		if n, err := r.Backlog(t.Context()); err == nil {
			t.Errorf("a closed replicator tells a backlog of %d", n)
		}
	})
}

// The real clock's version of TestCentralAway.
func TestCentralAwayLongerThanTTL(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site) {
		s.start(t, false)
		c := &central{got: make(map[string]int), broken: errAway}
		short, long := s.buffer(t, 1, 100*time.Millisecond), s.buffer(t, 2, time.Minute)
		r, _ := s.replicator(t, time.Minute, c)
		putMany(t, short, "short", 30)
		putMany(t, long, "long", 20)
		eventually(t, "30 keys expire", func() bool { return keysOf(t, long.client) == 21 })
		c.is(nil)
		eventually(t, "all is handed over", func() bool { n, err := r.Backlog(t.Context()); return n == 0 && err == nil })
		if got := r.Counts(); got.Expired != 30 || got.Replicated != 20 || c.count() != 20 {
			t.Errorf("central has %d, counts %+v; want 20 handed over and 30 expired", c.count(), got)
		}
	})
}

// kill -9 of Redis while central is away. With its log, everything that was
// acked is there again; without, nothing is. Either way edge and replicator go
// on by themselves.
func TestKillRedis(t *testing.T) {
	for _, aof := range []bool{true, false} {
		t.Run(fmt.Sprintf("aof=%v", aof), func(t *testing.T) {
			eachSite(t, func(t *testing.T, s *site) {
				if aof && strings.Contains(t.Name(), "embedded") {
					t.Skip("miniredis has no log")
				}
				kill := s.start(t, aof)
				c := &central{got: make(map[string]int), broken: errAway}
				b := s.buffer(t, 1, 0)
				r, stop := s.replicator(t, 0, c)
				putMany(t, b, "before", 300)
				eventually(t, "some are in the replicator's hand", func() bool { return r.Counts().SendFailures > 0 })
				kill()
				if err := b.Put(t.Context(), []byte("while dead")); err == nil || errors.Is(err, accept.ErrFull) {
					t.Errorf("put into the dead: %v", err)
				}
				s.start(t, aof)
				putMany(t, b, "after", 5)
				c.is(nil)
				want := 5
				if aof {
					want += 300
				}
				eventually(t, "all is handed over", func() bool {
					n, err := r.Backlog(t.Context())
					return n == 0 && err == nil && c.count() >= want
				})
				if got := c.count(); got != want || r.Counts().Expired != 0 {
					t.Errorf("central has %d records, want %d; counts %+v", got, want, r.Counts())
				}
				stop()
			})
		})
	}
}

// Nobody but the unix socket, no snapshot, nothing evicted: what RealArgs ask
// for is in force, and a full Redis says so.
func TestRealArgsInForce(t *testing.T) {
	s := realSite(t)
	s.start(t, true, "--maxmemory", "3mb")
	b := s.buffer(t, 1, 0)
	for setting, want := range map[string]string{
		"port": "0", "save": "", "maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "no",
	} {
		if got, err := b.client.ConfigGet(t.Context(), setting).Result(); got[setting] != want || err != nil {
			t.Errorf("%s is %q, %v; want %q", setting, got[setting], err, want)
		}
	}
	acked, full := 0, false
	for range 100_000 {
		err := b.Put(t.Context(), bytes.Repeat([]byte("x"), 480))
		if full = errors.Is(err, accept.ErrFull); full {
			break
		}
		switch {
		case err == nil:
			acked++
		case !redis.IsExecAbortError(err): // that: the limit was reached between SET and EXEC
			t.Fatal(err)
		}
	}
	if n, err := b.client.XLen(t.Context(), replicate.Index).Result(); n != int64(acked) || err != nil || !full {
		t.Errorf("%d entries, %v; %d puts were acked, full: %v", n, err, acked, full)
	}
}

func TestRealArgs(t *testing.T) {
	args := RealArgs("/d", "/d/s", false)
	if len(args)%2 != 0 {
		t.Errorf("an option without its value: %q", args)
	}
	for _, pair := range [][2]string{{"--port", "0"}, {"--unixsocket", "/d/s"}, {"--dir", "/d"}, {"--appendonly", "no"},
		{"--save", ""}, {"--maxmemory-policy", "noeviction"}} {
		found := false
		for i := 0; i+1 < len(args); i += 2 {
			found = found || [2]string{args[i], args[i+1]} == pair
		}
		if !found {
			t.Errorf("no %q in %q", pair, args)
		}
	}
}

// BenchmarkPut is Put on a unix socket: one after another, and from many
// goroutines.
func BenchmarkPut(b *testing.B) {
	record := bytes.Repeat([]byte("x"), 120)
	for name, open := range map[string]func(testing.TB) *site{"embedded": embeddedSite, "real": realSite} {
		b.Run(name, func(b *testing.B) {
			s := open(b)
			s.start(b, false)
			buffer, err := Dial(Options{Socket: s.socket, TTL: 5 * time.Second})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = buffer.Close() }()
			b.Run("one", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := buffer.Put(b.Context(), record); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run("parallel", func(b *testing.B) {
				b.SetParallelism(16)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := buffer.Put(b.Context(), record); err != nil {
							b.Error(err)
						}
					}
				})
			})
		})
	}
}
