// Package redisbuf is the edge's buffer in a Redis of its own, and the
// replicator that hands it over to central: the I/O around the state machine
// and the formats of package replicate. It also runs the Redis that an edge
// gets: arguments for a real redis-server, or miniredis in its place.
//
// The address of a Redis is a string: "unix:/path", an absolute path, or
// "host:port".
package redisbuf

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Every wait of a client has its limit here: a Redis that hangs must cost a
// partner a quick 503, not the partner's own timeout.
const (
	dialTimeout  = 500 * time.Millisecond
	readTimeout  = time.Second
	writeTimeout = time.Second
	poolTimeout  = time.Second // for a free connection

	// putConns bounds the puts on their way at once; more wait for poolTimeout.
	putConns = 32
	// replicatorConns: one for the loop, one for whoever asks for the backlog.
	replicatorConns = 2

	// clientBufferBytes holds a batch's commands and most of its replies.
	clientBufferBytes = 16 << 10

	// maxSocketBytes is what a unix socket's path may have on every system.
	maxSocketBytes = 103
)

// ErrAddress says that a string is not the address of a Redis.
var ErrAddress = errors.New(`not the address of a Redis, expected "unix:/path", "/path" or "host:port"`)

func splitAddress(address string) (network, addr string, err error) {
	if path, isUnix := strings.CutPrefix(address, "unix:"); isUnix || filepath.IsAbs(address) {
		switch {
		case !filepath.IsAbs(path):
			return "", "", fmt.Errorf("%.200q: %w", address, ErrAddress)
		case len(path) > maxSocketBytes:
			return "", "", fmt.Errorf("socket %.200q: %d bytes, at most %d: choose a directory with a shorter name: %w",
				path, len(path), maxSocketBytes, ErrAddress)
		}
		return "unix", path, nil
	}
	if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
		return "", "", fmt.Errorf("%.200q: %w", address, ErrAddress)
	}
	return "tcp", address, nil
}

// clientOptions leaves nothing to go-redis that could wait or repeat without
// being told here: a command that got no answer may have been carried out, so
// nothing is ever sent twice.
func clientOptions(address string, conns int) (*redis.Options, error) {
	network, addr, err := splitAddress(address)
	if err != nil {
		return nil, err
	}
	return &redis.Options{
		Network: network, Addr: addr,
		Dialer:     dialOrFail,
		MaxRetries: -1, DialerRetries: 1,
		DialTimeout: dialTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		ContextTimeoutEnabled: true,
		PoolSize:              conns, MaxActiveConns: conns, MaxIdleConns: conns, PoolTimeout: poolTimeout,
		PipelinePoolSize: -1, // pipelines use the pool above, not one beside it
		ConnMaxIdleTime:  -1,
		ReadBufferSize:   clientBufferBytes, WriteBufferSize: clientBufferBytes,
		// Nothing of protocol 3 is used; the rest would cost round trips.
		Protocol: 2, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}, nil
}

// dialOrFail connects; if it cannot, the connection is one that fails with the
// reason. Told of a failed dial, go-redis would write it to stderr and, after a
// few, try again only once a second, from a goroutine that outlives the client.
func dialOrFail(ctx context.Context, network, addr string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, network, addr)
	if err != nil {
		return failedConn{reason: err}, nil
	}
	return conn, nil
}

// failedConn is what a dial without success gives.
type failedConn struct{ reason error }

func (c failedConn) Read([]byte) (int, error)       { return 0, c.reason }
func (c failedConn) Write([]byte) (int, error)      { return 0, c.reason }
func (failedConn) Close() error                     { return nil }
func (failedConn) LocalAddr() net.Addr              { return &net.UnixAddr{} }
func (failedConn) RemoteAddr() net.Addr             { return &net.UnixAddr{} }
func (failedConn) SetDeadline(time.Time) error      { return nil }
func (failedConn) SetReadDeadline(time.Time) error  { return nil }
func (failedConn) SetWriteDeadline(time.Time) error { return nil }

// transact carries out the commands in one MULTI and returns nil if all of them
// succeeded; after any error they may have been carried out or not. It is not
// go-redis's TxPipeline: when MULTI itself is refused, that leaves the other
// answers unread, and the connection's next user takes them for its own.
func transact(ctx context.Context, client *redis.Client, commands [][]any) error {
	pipe := client.Pipeline()
	pipe.Do(ctx, "MULTI")
	for _, command := range commands {
		pipe.Do(ctx, command...)
	}
	exec := pipe.Do(ctx, "EXEC")
	sent, err := pipe.Exec(ctx)
	for _, command := range sent {
		var refused redis.Error
		if errors.As(command.Err(), &refused) {
			return command.Err() // what Redis said first is the reason of the rest
		}
	}
	if err != nil {
		return err
	}
	results, err := exec.Slice()
	if err != nil {
		return err
	}
	if len(results) != len(commands) {
		return fmt.Errorf("%d results of %d commands", len(results), len(commands))
	}
	for _, result := range results {
		if err, failed := result.(error); failed {
			return err
		}
	}
	return nil
}

// Version asks the Redis at the address what it is: "7.0.15", or "v2.40.0" of
// miniredis if it is the embedded one. An error means that it does not serve
// yet: a real one tells its version while it still reads its log, so it is
// asked for a sign of life first. No wait is longer than readTimeout.
func Version(ctx context.Context, address string) (string, error) {
	options, err := clientOptions(address, 1)
	if err != nil {
		return "", err
	}
	client := redis.NewClient(options)
	defer func() { _ = client.Close() }()
	if err := client.Ping(ctx).Err(); err != nil {
		return "", fmt.Errorf("ask the Redis at %s whether it serves: %w", address, err)
	}
	info, err := client.Info(ctx, "server").Result()
	if err != nil {
		return "", fmt.Errorf("ask the Redis at %s for its version: %w", address, err)
	}
	for line := range strings.Lines(info) {
		for _, field := range []string{"redis_version:", embeddedVersionField} {
			if version, found := strings.CutPrefix(strings.TrimSpace(line), field); found {
				return version, nil
			}
		}
	}
	return "", fmt.Errorf("the Redis at %s does not tell its version", address)
}
