package redisbuf

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/postbench/postbench/refserver/replicate"
)

const (
	// SendTimeout bounds one hand-over to central, whatever Send itself allows.
	SendTimeout = 10 * time.Second
	// redisTimeout bounds one command, or one transaction, of the replicator.
	redisTimeout = replicate.BlockNs*time.Nanosecond + readTimeout
)

// Counts is what a replicator did since it started.
type Counts = replicate.Counts

// ReplicatorConfig says from where to where. All fields but KeepAfterConfirm
// (with a TTL) and DrainLimit are required.
type ReplicatorConfig struct {
	Socket string // the address of the edge's Redis
	// TTL is what the edge's Buffer was given; 0 means redis-confirmed.
	TTL time.Duration
	// KeepAfterConfirm is how long a key stays after central confirmed its
	// record. It matters only without a TTL, and is then at least a millisecond.
	KeepAfterConfirm time.Duration
	// Send hands the records over; nil means that central has committed all of
	// them. It ends with its context. Records may be sent again after any error
	// or crash: central must deduplicate.
	Send func(ctx context.Context, records [][]byte) error
	Now  func() time.Time
	Log  *slog.Logger
	// DrainLimit is how long Run goes on after its context's end; 0 means 5 s.
	DrainLimit time.Duration
}

// Replicator takes from an edge's Redis what central does not have yet.
type Replicator struct {
	config ReplicatorConfig
	client *redis.Client
	core   *replicate.Core
	cause  error // of the last failure

	mu     sync.Mutex
	counts Counts
}

// NewReplicator prepares a Replicator. It does not connect.
func NewReplicator(config ReplicatorConfig) (*Replicator, error) {
	options, err := clientOptions(config.Socket, replicatorConns)
	if err != nil {
		return nil, err
	}
	return newReplicator(config, options)
}

func newReplicator(config ReplicatorConfig, options *redis.Options) (*Replicator, error) {
	core := replicate.Options{BatchEntries: replicate.DefaultBatchEntries, DrainLimitNs: replicate.DefaultDrainLimitNs}
	switch {
	case config.TTL < 0 || config.DrainLimit < 0:
		return nil, fmt.Errorf("replicator: time to live %v, drain limit %v, expected none below 0", config.TTL, config.DrainLimit)
	case config.DrainLimit > 0:
		core.DrainLimitNs = config.DrainLimit.Nanoseconds()
	}
	if config.TTL == 0 {
		if config.KeepAfterConfirm < time.Millisecond {
			return nil, fmt.Errorf("replicator: keys are kept %v after confirmation, expected at least 1ms", config.KeepAfterConfirm)
		}
		core.KeepNs = config.KeepAfterConfirm.Nanoseconds()
	}
	config.DrainLimit = time.Duration(core.DrainLimitNs)
	return &Replicator{config: config, client: redis.NewClient(options), core: replicate.New(core)}, nil
}

// Close ends the connections, after Run.
func (r *Replicator) Close() error { return r.client.Close() }

// Counts returns the counts so far; it may be called at any time.
func (r *Replicator) Counts() Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts
}

// Backlog is the number of entries in the index: what central has not
// confirmed. It fails while Redis is away.
func (r *Replicator) Backlog(ctx context.Context) (int64, error) {
	n, err := r.client.XLen(ctx, replicate.Index).Result()
	if err != nil {
		return 0, fmt.Errorf("ask the Redis at %s for its backlog: %w", r.config.Socket, err)
	}
	return n, nil
}

// Run replicates until ctx ends, then drains: until the index is empty or for
// DrainLimit. What is left then is logged, stays in Redis for a successor and
// is no error; Run always returns nil. It runs once.
func (r *Replicator) Run(ctx context.Context) error {
	// Commands and sends outlive ctx, but not the drain.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		select {
		case <-time.After(r.config.DrainLimit):
			cancel()
		case <-work.Done():
		}
	})()

	start := r.config.Now()
	var event replicate.Event = replicate.Started{}
	for {
		nowNs := r.config.Now().Sub(start).Nanoseconds()
		if ctx.Err() != nil {
			r.core.Drain(nowNs)
		}
		if work.Err() != nil {
			nowNs = math.MaxInt64 // the limit is reached, whatever Now says
		}
		action := r.core.Step(nowNs, event)
		r.publish()
		switch a := action.(type) {
		case replicate.Stop:
			r.stopped(ctx, a)
			return nil
		case replicate.Wait:
			r.wait(ctx, work, a)
			event = replicate.Woke{}
		case replicate.Send:
			event = r.send(work, a)
		default:
			event = r.command(work, action)
		}
	}
}

// publish makes the counts visible and tells of what is over.
func (r *Replicator) publish() {
	r.mu.Lock()
	r.counts = r.core.Counts()
	r.mu.Unlock()
	if n := r.core.TakeBurst(); n > 0 {
		r.config.Log.Warn("lost: their keys had expired in Redis before central confirmed them",
			"records", n, "ttl", r.config.TTL, "redis", r.config.Socket)
	}
}

// stopped tells what was left behind.
func (r *Replicator) stopped(ctx context.Context, stop replicate.Stop) {
	if stop.Drained {
		return
	}
	left := []any{"redis", r.config.Socket, "limit", r.config.DrainLimit}
	if n, err := r.Backlog(context.WithoutCancel(ctx)); err == nil {
		left = append(left, "entries", n)
	}
	r.config.Log.Warn("not drained in time: the entries stay in Redis for the next start", left...)
}

// wait is cut short by ctx's end, when draining begins, and by the drain's.
func (r *Replicator) wait(ctx, work context.Context, a replicate.Wait) {
	if a.Failures == 1 {
		r.config.Log.Warn("replication stands still, tried again until it goes on", "redis", r.config.Socket, "error", r.cause)
	}
	pause := time.NewTimer(time.Duration(a.WaitNs))
	defer pause.Stop()
	ended := ctx.Done()
	if ctx.Err() != nil {
		ended = work.Done()
	}
	select {
	case <-pause.C:
	case <-ended:
	}
}

func (r *Replicator) send(work context.Context, a replicate.Send) replicate.Event {
	ctx, cancel := context.WithTimeout(work, SendTimeout)
	defer cancel()
	if err := r.config.Send(ctx, a.Records); err != nil {
		r.cause = fmt.Errorf("send to central: %w", err)
		return replicate.SendFailed{}
	}
	return replicate.Sent{}
}

// command carries out an action on Redis. The deadline matters for a read that
// waits: go-redis would give it ten seconds more than asked for.
func (r *Replicator) command(work context.Context, action replicate.Action) replicate.Event {
	ctx, cancel := context.WithTimeout(work, redisTimeout)
	defer cancel()
	var event replicate.Event
	var err error
	switch a := action.(type) {
	case replicate.CreateGroup:
		event, err = replicate.GroupReady{}, r.createGroup(ctx)
	case replicate.Read:
		event, err = r.read(ctx, a)
	case replicate.Fetch:
		event, err = r.fetch(ctx, a)
	case replicate.Confirm:
		event, err = replicate.Confirmed{}, r.confirm(ctx, a)
	default:
		panic(fmt.Sprintf("BUG: redisbuf: unknown action %T", action))
	}
	if err != nil {
		r.cause = fmt.Errorf("%T: %w", action, err)
		return replicate.RedisFailed{GroupLost: redis.HasErrorPrefix(err, "NOGROUP")}
	}
	return event
}

func (r *Replicator) createGroup(ctx context.Context) error {
	err := r.client.XGroupCreateMkStream(ctx, replicate.Index, replicate.Group, "0").Err()
	if redis.HasErrorPrefix(err, "BUSYGROUP") {
		return nil // it is there
	}
	return err
}

func (r *Replicator) read(ctx context.Context, a replicate.Read) (replicate.Event, error) {
	args := &redis.XReadGroupArgs{
		Group: replicate.Group, Consumer: replicate.Consumer, Streams: []string{replicate.Index, ">"},
		Count: int64(a.Max), Block: -1,
	}
	if a.Pending {
		args.Streams[1] = "0"
	} else if a.BlockNs > 0 {
		args.Block = time.Duration(a.BlockNs)
	}
	streams, err := r.client.XReadGroup(ctx, args).Result()
	if errors.Is(err, redis.Nil) {
		return replicate.ReadDone{}, nil
	}
	if err != nil {
		return nil, err
	}
	var done replicate.ReadDone
	for _, stream := range streams {
		for _, message := range stream.Messages {
			done.Entries = append(done.Entries, entryOf(message))
		}
	}
	return done, nil
}

// entryOf reads an entry of the index; one that is of another form, or that was
// deleted while it was pending, has no Key.
func entryOf(message redis.XMessage) replicate.Entry {
	entry := replicate.Entry{ID: message.ID}
	if key, isText := message.Values[replicate.KeyField].(string); isText && len(message.Values) == 1 {
		entry.Key = key
	}
	return entry
}

func (r *Replicator) fetch(ctx context.Context, a replicate.Fetch) (replicate.Event, error) {
	found, err := r.client.MGet(ctx, a.Keys...).Result()
	if err != nil {
		return nil, err
	}
	if len(found) != len(a.Keys) {
		return nil, fmt.Errorf("%d values for %d keys", len(found), len(a.Keys))
	}
	values := make([][]byte, len(found))
	for i, value := range found {
		if text, isThere := value.(string); isThere {
			values[i] = []byte(text)
		}
	}
	return replicate.Fetched{Values: values}, nil
}

func (r *Replicator) confirm(ctx context.Context, a replicate.Confirm) error {
	ack, del := []any{"XACK", replicate.Index, replicate.Group}, []any{"XDEL", replicate.Index}
	for _, id := range a.IDs {
		ack, del = append(ack, id), append(del, id)
	}
	commands := [][]any{ack, del}
	for _, key := range a.Keys {
		commands = append(commands, []any{"PEXPIRE", key, a.KeepNs / int64(time.Millisecond)})
	}
	return transact(ctx, r.client, commands)
}
