package redisbuf

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accept"
	"github.com/postbench/postbench/refserver/replicate"
)

// What is in Redis after a Put is what FORMAT.md says.
func TestPutFormat(t *testing.T) {
	for _, ttl := range []time.Duration{0, ttl, 1500 * time.Millisecond} {
		inLab(t, ttl, func(t *testing.T, l *lab) {
			l.put(2)
			entries, err := l.redis.Stream(replicate.Index)
			if err != nil || len(entries) != 2 {
				t.Fatalf("index %v, %v", entries, err)
			}
			want := replicate.Key{Edge: 7, Boot: 1, Counter: 2}.String()
			if got := entries[1].Values; len(got) != 2 || got[0] != replicate.KeyField || got[1] != want {
				t.Errorf("the second entry is %q, want %q", got, want)
			}
			if value, err := l.redis.Get(want); value != "record 2" || err != nil || l.redis.TTL(want) != ttl {
				t.Errorf("%s holds %q (%v) for %v, want it for %v", want, value, err, l.redis.TTL(want), ttl)
			}
		})
	}
}

func TestPutRefusesWhatIsNoRecord(t *testing.T) {
	inLab(t, ttl, func(t *testing.T, l *lab) {
		for _, record := range [][]byte{nil, make([]byte, postback.MaxRecordBytes+1)} {
			if err := l.buffer.Put(t.Context(), record); !errors.Is(err, ErrRecord) {
				t.Errorf("%d bytes: %v", len(record), err)
			}
		}
		if err := l.buffer.Put(t.Context(), make([]byte, postback.MaxRecordBytes)); err != nil {
			t.Errorf("the longest record: %v", err)
		}
		l.expect(0, 1)
	})
}

// silent is a Redis that takes everything and answers nothing but the greeting.
type silent struct{ bytes.Buffer }

func (s *silent) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	go func() {
		defer func() { _ = server.Close() }()
		greeting := make([]byte, 512)
		if _, err := server.Read(greeting); err == nil {
			_, err = server.Write([]byte("-ERR unknown command 'HELLO'\r\n"))
			if err == nil {
				_, _ = io.Copy(&s.Buffer, server)
			}
		}
	}()
	return client, nil
}

// An answer that never comes is an error, after the read's limit and not
// before, and the transaction is not sent a second time.
func TestPutLostAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options, err := clientOptions("/silent", 2)
		if err != nil {
			t.Fatal(err)
		}
		var redis silent
		options.Dialer = redis.dial
		buffer, err := newBuffer(Options{Socket: "/silent"}, options)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		err = buffer.Put(t.Context(), []byte("record"))
		if err == nil || errors.Is(err, accept.ErrFull) || strings.Contains(err.Error(), "\n") {
			t.Errorf("put without an answer: %v", err)
		}
		if took := time.Since(start); took != readTimeout {
			t.Errorf("took %v, want %v", took, readTimeout)
		}
		synctest.Wait()
		if sent := bytes.Count(redis.Bytes(), []byte("EXEC")); sent != 1 {
			t.Errorf("the transaction was sent %d times:\n%q", sent, redis.Bytes())
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		start = time.Now()
		if err := buffer.Put(ctx, []byte("record")); err == nil || time.Since(start) != 100*time.Millisecond {
			t.Errorf("put with a deadline of 100 ms: %v after %v", err, time.Since(start))
		}
		if err := buffer.Close(); err != nil {
			t.Error(err)
		}
		if err := buffer.Put(t.Context(), []byte("record")); err == nil {
			t.Error("put into a closed buffer: no error")
		}
	})
}

// More puts than connections: the last one is told that the buffer is full.
// Not in a bubble: go-redis keeps the timer of this wait for others.
func TestPutNoConnectionFree(t *testing.T) {
	options, err := clientOptions("/silent", 1)
	if err != nil {
		t.Fatal(err)
	}
	var redis silent
	options.Dialer, options.PoolTimeout, options.ReadTimeout = redis.dial, time.Millisecond, time.Minute
	buffer, err := newBuffer(Options{Socket: "/silent"}, options)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	for range 2 {
		go func() { done <- buffer.Put(t.Context(), []byte("record")) }()
	}
	if err := <-done; !errors.Is(err, accept.ErrFull) || accept.Status(err) != 503 {
		t.Errorf("the put that found no connection: %v", err)
	}
	if err := buffer.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; errors.Is(err, accept.ErrFull) || err == nil {
		t.Errorf("the put that got no answer: %v", err)
	}
}

func TestPutWithoutRedis(t *testing.T) {
	socket := t.TempDir() + "/s"
	buffer, err := Dial(Options{Socket: socket})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 * putConns {
		if err := buffer.Put(t.Context(), []byte("record")); err == nil || errors.Is(err, accept.ErrFull) {
			t.Errorf("put without a Redis: %v", err)
		}
	}
	// It comes, dies and comes again: the next put notices at once.
	for range 2 {
		_, stop := serve(t, socket, 1)
		mustPut(t, buffer, 10)
		stop()
		if err := buffer.Put(t.Context(), []byte("record")); err == nil {
			t.Error("put into a Redis that is gone: no error")
		}
	}
	if err := buffer.Close(); err != nil {
		t.Error(err)
	}
}

// No setting that could wait or repeat is left to go-redis.
func TestClientOptions(t *testing.T) {
	o, err := clientOptions("unix:/redis", 3)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(o)
	got := client.Options()
	if got.MaxRetries != 0 || got.DialerRetries != 1 || got.PoolSize != 3 || got.MaxActiveConns != 3 ||
		got.ReadTimeout != readTimeout || got.WriteTimeout != writeTimeout || got.DialTimeout != dialTimeout ||
		got.PoolTimeout != poolTimeout || !got.ContextTimeoutEnabled {
		t.Errorf("options in force: %+v", got)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
}

func TestAddresses(t *testing.T) {
	for address, want := range map[string][2]string{
		"unix:/run/redis.sock": {"unix", "/run/redis.sock"}, "/run/redis.sock": {"unix", "/run/redis.sock"},
		"127.0.0.1:6379": {"tcp", "127.0.0.1:6379"}, "[::1]:6379": {"tcp", "[::1]:6379"}, "redis:6379": {"tcp", "redis:6379"},
	} {
		if network, addr, err := splitAddress(address); [2]string{network, addr} != want || err != nil {
			t.Errorf("%q: %q %q, %v", address, network, addr, err)
		}
	}
	for _, address := range []string{"", "redis", "unix:", "unix:redis.sock", "127.0.0.1:", "/" + strings.Repeat("x", maxSocketBytes)} {
		_, err := Dial(Options{Socket: address})
		_, err2 := NewReplicator(ReplicatorConfig{Socket: address, TTL: ttl})
		_, err3 := Version(t.Context(), address)
		err4 := ServeEmbedded(t.Context(), address, 1, func(string) { t.Error("ready") })
		for _, err := range []error{err, err2, err3, err4} {
			if !errors.Is(err, ErrAddress) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q: %v", address, err)
			}
		}
	}
}

func TestConfigsRefused(t *testing.T) {
	for _, ttl := range []time.Duration{-1, time.Microsecond} {
		if _, err := Dial(Options{Socket: "/redis", TTL: ttl}); err == nil {
			t.Errorf("a time to live of %v is accepted", ttl)
		}
	}
	for what, config := range map[string]ReplicatorConfig{
		"confirmed keys for ever":  {},
		"less than a millisecond":  {KeepAfterConfirm: time.Microsecond},
		"a time to live below 0":   {TTL: -1, KeepAfterConfirm: ttl},
		"a limit for draining < 0": {TTL: ttl, DrainLimit: -1},
	} {
		config.Socket = "/redis"
		if _, err := NewReplicator(config); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	if err := ServeEmbedded(t.Context(), t.TempDir()+"/s", 0, nil); err == nil {
		t.Error("a clock that stands still is accepted")
	}
}
