package redisbuf

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"

	"github.com/postbench/postbench/internal/buildinfo"
)

const (
	// MaxEmbeddedKeys bounds what the embedded Redis holds; a SET beyond it is
	// answered like a real one's at its memory limit.
	MaxEmbeddedKeys = 1 << 20
	// embeddedTick is how much too long the embedded Redis keeps a key at most.
	embeddedTick = 10 * time.Millisecond

	embeddedModule       = "github.com/alicebob/miniredis/v2"
	embeddedVersionField = "miniredis_version:"
)

// ServeEmbedded runs miniredis in this process, on the given address, until ctx
// ends; what it held is gone then. ready is called with miniredis's version
// when it takes connections. A socket that a dead process left behind is
// replaced; one that somebody serves is an error.
//
// miniredis has no clock of its own: it is driven from here, at timeScale times
// the real one. Callers that scale their times to live pass 1.
func ServeEmbedded(ctx context.Context, socket string, timeScale float64, ready func(version string)) error {
	if !(timeScale > 0) {
		return fmt.Errorf("embedded redis: time scale %v, expected more than 0", timeScale)
	}
	network, addr, err := splitAddress(socket)
	if err != nil {
		return fmt.Errorf("embedded redis: %w", err)
	}
	listener, err := listen(ctx, network, addr)
	if err != nil {
		return fmt.Errorf("embedded redis: %w", err)
	}
	start := time.Now()
	e, err := newEmbedded(MaxEmbeddedKeys, func() time.Duration { return time.Duration(float64(time.Since(start)) * timeScale) })
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	accepted := make(chan error, 1)
	go func() { accepted <- e.accept(listener) }()
	ready(buildinfo.ModuleVersion(embeddedModule))

	tick := time.NewTicker(embeddedTick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			e.tick()
			continue
		case err = <-accepted:
			err = errors.Join(fmt.Errorf("embedded redis: %w", err), listener.Close())
		case <-ctx.Done():
			err = listener.Close()
			<-accepted
		}
		e.redis.Close()
		return err
	}
}

// listen replaces a socket that nobody serves any more.
func listen(ctx context.Context, network, addr string) (net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, network, addr)
	if err == nil || network != "unix" {
		return listener, err
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	if conn, dialErr := dialer.DialContext(ctx, network, addr); dialErr == nil {
		_ = conn.Close()
		return nil, fmt.Errorf("%s is served by another process: %w", addr, err)
	}
	if info, statErr := os.Lstat(addr); statErr != nil || info.Mode()&os.ModeSocket == 0 {
		return nil, err // not a socket: not ours to remove
	}
	if err := os.Remove(addr); err != nil {
		return nil, err
	}
	return config.Listen(ctx, network, addr)
}

// embedded is miniredis with a clock and a limit. Its own way to let times to
// live pass, FastForward, visits and sorts all keys under the server's lock
// (about 0.2 s for 300,000). So the commands that set a time to live are
// watched, and a key is deleted when it is due: PTTL does not count down here.
type embedded struct {
	redis  *miniredis.Miniredis
	server *server.Server
	start  time.Time
	now    func() time.Duration // since start, on the driven clock
	max    int

	mu      sync.Mutex
	entries int                      // of streams, at most max: they outlive their keys
	due     map[string]time.Duration // all keys; never if not above 0
	queue   dueQueue                 // at most one item per command, gone when it is due
}

func newEmbedded(maxKeys int, now func() time.Duration) (*embedded, error) {
	e := &embedded{redis: miniredis.NewMiniRedis(), start: time.Now(), now: now, max: maxKeys, due: make(map[string]time.Duration)}
	// The first Dial makes a server without a listener: miniredis itself could
	// only listen on TCP.
	conn, err := e.redis.Dial()
	if err != nil {
		return nil, fmt.Errorf("embedded redis: %w", err)
	}
	e.server = e.redis.Server()
	e.server.SetPreHook(e.before)
	return e, conn.Close()
}

// accept serves connections until the listener is closed.
func (e *embedded) accept(listener net.Listener) error {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		if e.server.ClientsLen() >= maxClients {
			_ = conn.Close() // as a real one does
			continue
		}
		e.server.ServeConn(conn)
	}
}

// tick tells miniredis the time and deletes what is due.
func (e *embedded) tick() {
	now := e.now()
	e.redis.SetTime(e.start.Add(now))
	for _, key := range e.takeDue(now) {
		e.redis.Del(key)
	}
}

func (e *embedded) takeDue(now time.Duration) (keys []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.queue) > 0 && e.queue[0].at <= now {
		item := heap.Pop(&e.queue).(dueItem)
		if e.due[item.key] == item.at { // else it was given another time
			delete(e.due, item.key)
			keys = append(keys, item.key)
		}
	}
	return keys
}

// before sees every command before miniredis, and returns true if it is dealt
// with. Within MULTI it sees commands as they are queued; that EXEC follows is
// the rule, and a key that never came into being is harmless.
func (e *embedded) before(peer *server.Peer, command string, args ...string) bool {
	switch {
	case peer.Closed():
		return true // what was already on its way when full answered
	case command == "INFO":
		peer.WriteBulk("# Server\r\n" + embeddedVersionField + buildinfo.ModuleVersion(embeddedModule) + "\r\n")
		return true
	case command == "SET" && len(args) >= 2:
		return !e.keep(args[0], timeToLive(args[2:])) && full(peer)
	case command == "XADD":
		return !e.addEntry() && full(peer)
	case command == "XDEL" && len(args) >= 2:
		e.removeEntries(len(args) - 1)
	case command == "PEXPIRE" && len(args) == 2:
		e.expire(args[0], timeToLive([]string{"PX", args[1]}))
	}
	return false
}

// full refuses a command and, by closing the connection, its transaction.
func full(peer *server.Peer) bool {
	peer.WriteError("OOM command not allowed when used memory > 'maxmemory'.")
	peer.Close()
	return true
}

// addEntry notes a stream's entry and tells whether there is room for it.
func (e *embedded) addEntry() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.entries >= e.max {
		return false
	}
	e.entries++
	return true
}

// removeEntries notes that entries are deleted. One that is deleted twice would
// count twice; the only deleter is the replicator, once for each.
func (e *embedded) removeEntries(n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.entries = max(0, e.entries-n)
}

// timeToLive reads "PX ms" and "EX s"; miniredis refuses what is wrong there.
func timeToLive(args []string) time.Duration {
	if len(args) < 2 {
		return 0
	}
	n, _ := strconv.ParseInt(args[1], 10, 64)
	switch strings.ToUpper(args[0]) {
	case "PX":
		return time.Duration(n) * time.Millisecond
	case "EX":
		return time.Duration(n) * time.Second
	}
	return 0
}

// keep notes a key and its time to live (0 = for ever) and tells whether there
// is room for it.
func (e *embedded) keep(key string, ttl time.Duration) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, known := e.due[key]; !known && len(e.due) >= e.max {
		return false
	}
	e.set(key, ttl)
	return true
}

// expire gives a key that is there another time to live.
func (e *embedded) expire(key string, ttl time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, known := e.due[key]; known {
		e.set(key, ttl)
	}
}

func (e *embedded) set(key string, ttl time.Duration) {
	e.due[key] = 0
	if ttl > 0 {
		at := e.now() + ttl
		e.due[key] = at
		heap.Push(&e.queue, dueItem{key: key, at: at})
	}
}

// dueItem is a key and when it goes.
type dueItem struct {
	key string
	at  time.Duration
}

// dueQueue is a heap, the first to go on top.
type dueQueue []dueItem

func (q dueQueue) Len() int           { return len(q) }
func (q dueQueue) Less(i, j int) bool { return q[i].at < q[j].at }
func (q dueQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *dueQueue) Push(x any)        { *q = append(*q, x.(dueItem)) }
func (q *dueQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = dueItem{}
	*q = old[:len(old)-1]
	return last
}
