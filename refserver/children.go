package refserver

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/postbench/postbench/refserver/admin"
	"github.com/postbench/postbench/refserver/batcher"
	"github.com/postbench/postbench/refserver/collect"
	"github.com/postbench/postbench/refserver/cost"
	"github.com/postbench/postbench/refserver/datagram"
	"github.com/postbench/postbench/refserver/edge"
	"github.com/postbench/postbench/refserver/lanes"
	"github.com/postbench/postbench/refserver/lanes/consumer"
	"github.com/postbench/postbench/refserver/redisbuf"
	"github.com/postbench/postbench/refserver/shm"
	"github.com/postbench/postbench/refserver/store"
	"github.com/postbench/postbench/refserver/store/pebbledb"
)

const (
	// replicateTimeout bounds one hand-over to central.
	replicateTimeout = 5 * time.Second
	// maxKeysFileBytes bounds the keys file: some 100,000 keys.
	maxKeysFileBytes = 16 << 20
)

// RunRole plays one role of a server until ctx ends. ready is called once,
// with the address that the role serves at.
func RunRole(ctx context.Context, c RoleConfig, log *slog.Logger, ready func(addr string)) error {
	run, ok := map[Role]func(context.Context, *RoleConfig, *slog.Logger, func(string)) error{
		RoleEdge: runEdge, RoleBatcher: runBatcher, RoleRedis: runRedis, RoleReplicator: runReplicator, RoleCollector: runCollector,
		RoleWorker: runWorker, RoleStreamer: runStreamer,
	}[c.Role]
	if !ok {
		return fmt.Errorf("serve: no role %q", c.Role)
	}
	if err := run(ctx, &c, log, ready); err != nil {
		return fmt.Errorf("serve %s %d: %w", c.Role, c.Node, err)
	}
	return nil
}

// closingBuffer is a buffer with an end.
type closingBuffer interface {
	edge.Buffer
	io.Closer
}

func openBuffer(c *RoleConfig) (closingBuffer, error) {
	if c.Composition.Buffer == BufferShm {
		lane, err := lanes.OpenProducer(c.laneOptions())
		if err != nil {
			return nil, err
		}
		return laneBuffer{lane}, nil
	}
	ttl := time.Duration(c.RedisTTLNs)
	if c.Composition.Buffer == BufferRedisConfirmed {
		ttl = 0
	}
	return redisbuf.Dial(redisbuf.Options{Socket: c.Redis, Edge: uint16(c.Node), Boot: uint64(time.Now().UnixNano()), TTL: ttl})
}

func (c *RoleConfig) laneOptions() lanes.Options {
	return lanes.Options{Dir: c.LaneDir, Slots: c.LaneSlots, MaxLanes: maxLanes}
}

// laneBuffer is a lane as the edge's buffer: it never waits.
type laneBuffer struct{ lane *lanes.Lane }

// Put commits the record to the lane; a full one is edge.ErrFull.
func (b laneBuffer) Put(_ context.Context, record []byte) error {
	err := b.lane.TryPush(record)
	if errors.Is(err, shm.ErrFull) {
		return edge.ErrFull
	}
	return err
}

// Close gives the lane up; what it holds stays for the batcher.
func (b laneBuffer) Close() error { return b.lane.Close() }

// adminProxy hands over to the supervisor what a judge or a router asks. What
// partners can reach must not be able to kill processes.
func adminProxy(addr string) http.Handler {
	target := &url.URL{Scheme: "http", Host: addr}
	proxy := &httputil.ReverseProxy{FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Header.Del("Expect") // this process says itself that it is ready for the body, and only once
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { // a client that went away, too
			http.Error(w, "the supervisor does not answer", http.StatusBadGateway)
		}}
	mux := http.NewServeMux()
	for _, path := range []string{"/ledger", "/offers/", "/clock", "/components", "/healthz", "/population/"} {
		mux.Handle(path, proxy)
	}
	return mux
}

// crashPoint returns a function that kills this process on the nth passage of
// a named point: "answered-not-buffered#137".
func crashPoint(at string) func(point string) {
	name, nth, ok := strings.Cut(at, "#")
	n, err := strconv.ParseInt(nth, 10, 64)
	if !ok || err != nil {
		return nil
	}
	var passed atomic.Int64
	return func(point string) {
		if point == name && passed.Add(1) == n {
			_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
			select {} // dead already: nothing of this process may go on
		}
	}
}

func readKeys(file string) ([]store.Key, error) {
	text, err := readLimited(file, maxKeysFileBytes)
	if err != nil {
		return nil, fmt.Errorf("read the partners' keys: %w", err)
	}
	var stored []storedKey
	if err := json.Unmarshal(text, &stored); err != nil {
		return nil, fmt.Errorf("read the partners' keys from %s: %w", file, err)
	}
	var keys []store.Key
	for _, k := range stored {
		keys = append(keys, store.Key(k))
	}
	return keys, nil
}

// runBatcher sends what the lanes hold.
func runBatcher(ctx context.Context, c *RoleConfig, log *slog.Logger, ready func(string)) error {
	identity, err := c.edge(c.Node)
	if err != nil {
		return err
	}
	b, err := batcher.New(batcher.Config{
		Config:    consumer.Config{LaneDir: c.LaneDir, Every: batchEvery, Log: log},
		Collector: c.CollectorAddr, Edge: identity,
		BootFile: filepath.Join(c.Dir, "boot"), Salt: newSalt(), Now: time.Now,
		Acked: c.Composition.Uplink == UplinkUDPAcked,
	})
	if err != nil {
		return err
	}
	if err := serveCounts(ctx, c.Control, func(context.Context) (any, error) { return b.Counts(), nil }); err != nil {
		return err
	}
	ready(c.Control)
	return b.Run(ctx)
}

// newSalt makes the keys of this boot unlike those of every other.
func newSalt() (salt [16]byte) {
	_, _ = rand.Read(salt[:]) // never fails, see crypto/rand
	return salt
}

// serveCounts answers nothing but the process's counts.
func serveCounts(ctx context.Context, socket string, counts func(context.Context) (any, error)) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /counts", answerJSON(counts))
	_, err := serveControl(ctx, socket, mux)
	return err
}

// runRedis stands in for a redis-server.
func runRedis(ctx context.Context, c *RoleConfig, _ *slog.Logger, ready func(string)) error {
	if err := serveCounts(ctx, c.Control, func(context.Context) (any, error) { return struct{}{}, nil }); err != nil {
		return err
	}
	return redisbuf.ServeEmbedded(ctx, c.Redis, 1, func(string) { ready(c.Redis) })
}

// replicatorCounts are a replicator's counts and what its Redis still holds.
type replicatorCounts struct {
	redisbuf.Counts
	Backlog int64 `json:"backlog"`
}

// runReplicator hands the edge's Redis over to central.
func runReplicator(ctx context.Context, c *RoleConfig, log *slog.Logger, ready func(string)) (err error) {
	central, end, err := c.centralOverUplink()
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, end()) }()
	ttl := time.Duration(c.RedisTTLNs)
	keep := ttl
	if c.Composition.Buffer == BufferRedisConfirmed {
		ttl = 0
	}
	r, err := redisbuf.NewReplicator(redisbuf.ReplicatorConfig{
		Socket: c.Redis, TTL: ttl, KeepAfterConfirm: keep, Now: time.Now, Log: log,
		Send: func(ctx context.Context, records [][]byte) error {
			ctx, cancel := context.WithTimeout(ctx, replicateTimeout)
			defer cancel()
			var body []byte
			for _, record := range records {
				body = datagram.AppendFrame(body, record)
			}
			return central.post(ctx, "/ingest", bytes.NewReader(body))
		},
	})
	if err != nil {
		return err
	}
	counts := func(ctx context.Context) (any, error) {
		backlog, err := r.Backlog(ctx)
		return replicatorCounts{r.Counts(), backlog}, err
	}
	if err := serveCounts(ctx, c.Control, counts); err != nil {
		return err
	}
	ready(c.Control)
	return r.Run(ctx)
}

// runCollector is central: it decides and keeps the books.
func runCollector(ctx context.Context, c *RoleConfig, log *slog.Logger, ready func(string)) (err error) {
	edges, err := c.edges()
	if err != nil {
		return err
	}
	books, err := pebbledb.Open(ctx, pebbledb.Options{Dir: c.Dir, Now: time.Now})
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, books.Close()) }()
	stages, err := c.stages()
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, stages.Close()) }()
	collector, err := collect.New(ctx, collect.Config{
		UDPAddr: c.Addr, Edges: edges, Store: books, ReceiveBufferBytes: receiveBufferBytes, Costs: stages, Now: time.Now, Log: log,
	})
	if err != nil {
		return err
	}
	counts := func() any {
		return centralCounts{collector.Counts(), books.Committed(), stages.Report()}
	}
	judge, err := admin.New(admin.Config{
		Books: books, Population: books, Keys: books, Backlog: collector.Backlog, Counts: counts,
		Components: []admin.Component{{Role: "central", Implementation: "pebble", Version: books.Version()}},
		Now:        time.Now, BootID: c.BootID, Log: log,
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/", judge)
	mux.Handle("POST /ingest", collector.Ingest())
	mux.HandleFunc("GET /counts", answerJSON(func(context.Context) (any, error) { return counts(), nil }))
	mux.HandleFunc("GET /keys", answerJSON(func(ctx context.Context) (any, error) {
		keys, err := books.Keys(ctx)
		stored := make([]storedKey, len(keys))
		for i, k := range keys {
			stored[i] = storedKey(k)
		}
		return stored, err
	}))
	// Nobody is answered any more when the collector has given up: a process that
	// lives on without it would not be started again.
	serving, stop := context.WithCancel(ctx)
	defer stop()
	far, err := c.serveFar(serving, collector, log)
	if err != nil {
		return err
	}
	closed, err := serveControl(serving, c.Control, mux)
	if err != nil {
		return err
	}
	ready(collector.UDPAddr())
	err = collector.Run(ctx)
	stop()
	<-closed // the store is closed after the last hand-over is answered
	<-far
	return err
}

// centralCounts are the collector's counts and what its store has committed
// ever, over all its lives.
type centralCounts struct {
	collect.Counts
	CommittedEver int64             `json:"committed_ever"`
	Stages        []cost.StageTruth `json:"stages,omitempty"`
}
