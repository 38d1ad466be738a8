package redisbuf

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/postbench/postbench/internal/buildinfo"
	"github.com/postbench/postbench/refserver/accept"
	"github.com/postbench/postbench/refserver/replicate"
)

// embeddedLab is an embedded Redis whose clock the test moves, and its clients.
func embeddedLab(t *testing.T, maxKeys int, ttl time.Duration) (advance func(to time.Duration), e *embedded, buffer *Buffer, client *redis.Client) {
	t.Helper()
	var now atomic.Int64
	e, err := newEmbedded(maxKeys, func() time.Duration { return time.Duration(now.Load()) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.redis.Close)
	options := func() *redis.Options {
		o, err := clientOptions("/embedded", 2)
		if err != nil {
			t.Fatal(err)
		}
		o.Dialer = func(context.Context, string, string) (net.Conn, error) {
			conn, err := e.redis.Dial()
			return newRoomySocket(conn), err
		}
		return o
	}
	buffer, err = newBuffer(Options{Socket: "/embedded", Edge: 1, Boot: 1, TTL: ttl}, options())
	if err != nil {
		t.Fatal(err)
	}
	client = redis.NewClient(options())
	t.Cleanup(func() { _, _ = buffer.Close(), client.Close() })
	return func(to time.Duration) {
		now.Store(int64(to))
		e.tick()
	}, e, buffer, client
}

func mustPut(t *testing.T, b *Buffer, n int) {
	t.Helper()
	for range n {
		if err := b.Put(t.Context(), []byte("record")); err != nil {
			t.Fatal(err)
		}
	}
}

func keysOf(t *testing.T, client *redis.Client) int64 {
	t.Helper()
	n, err := client.DBSize(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestEmbeddedTimesToLive(t *testing.T) {
	advance, _, buffer, client := embeddedLab(t, 10, ttl)
	mustPut(t, buffer, 2)
	advance(time.Minute)
	mustPut(t, buffer, 1)
	for _, step := range []struct {
		at   time.Duration
		keys int64 // with the index
	}{{ttl - 1, 4}, {ttl, 2}, {ttl + time.Minute - 1, 2}, {ttl + time.Minute, 1}, {time.Hour, 1}} {
		advance(step.at)
		if got := keysOf(t, client); got != step.keys {
			t.Errorf("%v after the start: %d keys, want %d", step.at, got, step.keys)
		}
	}
}

func TestEmbeddedConfirmedKeys(t *testing.T) {
	advance, e, buffer, client := embeddedLab(t, 10, 0)
	mustPut(t, buffer, 1)
	advance(1000 * time.Hour)
	key := replicate.Key{Edge: 1, Boot: 1, Counter: 1}.String()
	for range 2 { // the second takes back the first
		if ok, err := client.PExpire(t.Context(), key, ttl).Result(); !ok || err != nil {
			t.Fatalf("PEXPIRE: %v, %v", ok, err)
		}
		advance(e.now() + ttl - 1)
		if keysOf(t, client) != 2 {
			t.Fatal("the key is gone before its time")
		}
	}
	advance(e.now() + 1)
	if keysOf(t, client) != 1 || len(e.due) != 0 || len(e.queue) != 0 {
		t.Errorf("%d keys; %d and %d noted", keysOf(t, client), len(e.due), len(e.queue))
	}
}

// Full, it refuses the whole transaction, as a real one does; the replicator
// goes on, and then there is room again.
func TestEmbeddedFull(t *testing.T) {
	advance, _, buffer, client := embeddedLab(t, 3, ttl)
	mustPut(t, buffer, 3)
	for range 3 {
		if err := buffer.Put(t.Context(), []byte("record")); !errors.Is(err, accept.ErrFull) {
			t.Errorf("put into the full: %v", err)
		}
	}
	if n, err := client.XLen(t.Context(), replicate.Index).Result(); n != 3 || err != nil {
		t.Errorf("%d entries, %v: a refused transaction left something behind", n, err)
	}
	id := client.XRange(t.Context(), replicate.Index, "-", "+").Val()[0].ID
	if err := transact(t.Context(), client, [][]any{{"XACK", replicate.Index, replicate.Group, id}, {"XDEL", replicate.Index, id}}); err != nil {
		t.Errorf("the replicator's transaction: %v", err)
	}
	advance(ttl)
	mustPut(t, buffer, 1)
}

// serve runs ServeEmbedded until the test's end or stop.
func serve(t testing.TB, socket string, timeScale float64) (version string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan string, 1), make(chan struct{})
	var failed error
	go func() {
		defer close(ended)
		failed = ServeEmbedded(ctx, socket, timeScale, func(version string) { ready <- version })
	}()
	stop = func() {
		cancel()
		if <-ended; failed != nil {
			t.Errorf("serve %s: %v", socket, failed)
		}
	}
	t.Cleanup(func() { cancel(); <-ended })
	select {
	case version = <-ready:
	case <-ended:
		t.Fatalf("serve %s: %v", socket, failed)
	}
	return version, stop
}

func TestServeEmbedded(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	version, stop := serve(t, "unix:"+socket, 1)
	if got, err := Version(t.Context(), socket); got != version || err != nil || version != buildinfo.ModuleVersion(embeddedModule) {
		t.Errorf("ready says %q, Version %q, %v; want miniredis's version", version, got, err)
	}
	if err := ServeEmbedded(t.Context(), socket, 1, func(string) { t.Error("a second server is ready") }); err == nil {
		t.Error("two servers on one socket")
	}
	if info, err := os.Lstat(socket); err != nil || info.Mode()&os.ModeSocket == 0 {
		t.Errorf("the second server took the first one's socket: %v", err)
	}
	stop()
	if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}
	if _, err := Version(t.Context(), socket); err == nil {
		t.Error("something still answers")
	}
}

func TestServeEmbeddedOnWhatIsThere(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false) // as if killed
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	_, stop := serve(t, socket, 1)
	stop()

	if err := os.WriteFile(socket, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ServeEmbedded(t.Context(), socket, 1, func(string) { t.Error("ready") }); err == nil {
		t.Error("serves on a path that is a file")
	}
	if got, err := os.ReadFile(socket); string(got) != "precious" || err != nil {
		t.Errorf("the file was touched: %q, %v", got, err)
	}
}

// The clock is driven, here a thousand times as fast.
func TestServeEmbeddedTimePasses(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	_, _ = serve(t, socket, 1000)
	buffer, err := Dial(Options{Socket: socket, TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = buffer.Close() }()
	start := time.Now()
	mustPut(t, buffer, 1)
	eventually(t, "the key expires", func() bool { return keysOf(t, buffer.client) == 1 })
	if took := time.Since(start); took < time.Minute/1000 {
		t.Errorf("expired after %v, want 60 ms or a little more", took)
	}
}

// eventually polls, because no other process tells us when it is done.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
		time.Sleep(2 * time.Millisecond) // polls: see above
	}
}

// Keys that expire make no room for entries of the index: those go when the
// replicator deletes them, however long central is away.
func TestEmbeddedIndexIsBounded(t *testing.T) {
	advance, _, buffer, client := embeddedLab(t, 3, ttl)
	mustPut(t, buffer, 3)
	advance(ttl)
	if err := buffer.Put(t.Context(), []byte("record")); !errors.Is(err, accept.ErrFull) {
		t.Errorf("put into a full index: %v", err)
	}
	id := client.XRange(t.Context(), replicate.Index, "-", "+").Val()[0].ID
	if err := client.XDel(t.Context(), replicate.Index, id).Err(); err != nil {
		t.Fatal(err)
	}
	mustPut(t, buffer, 1)
}
