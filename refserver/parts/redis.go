package parts

import (
	"context"
	"fmt"
	"strconv"

	"github.com/postbench/postbench/refserver/redisbuf"
)

const (
	redisPackage = "redis-server"
	// redisMaxMemoryBytes is what the cache may take: about a million clicks.
	// Beyond it the least recently used go; they are in the database as well.
	redisMaxMemoryBytes = 256 << 20
	// redisMaxClients is more than all that one server's processes open.
	redisMaxClients = 1024
)

// Redis is a running Redis that is a cache: it listens on nothing but a unix
// socket, writes nothing to the disk and forgets what does not fit.
type Redis struct {
	*Process
	Socket  string // its path
	Version string // "7.0.15"
}

// StartRedis starts a Redis, which is empty.
func StartRedis(ctx context.Context, rt Runtime) (*Redis, error) {
	socket, err := rt.socket("redis.sock")
	if err != nil {
		return nil, fmt.Errorf("start Redis: %w", err)
	}
	r := &Redis{Socket: socket}
	r.Process, err = Start(ctx, rt, Spec{
		Name: "redis-server", Programs: []string{"redis-server"}, Package: redisPackage,
		Args: []string{
			"--port", "0", "--unixsocket", socket, "--unixsocketperm", "700",
			"--dir", rt.Dir, "--daemonize", "no", "--databases", "1", "--loglevel", "warning",
			"--save", "", "--appendonly", "no",
			"--maxmemory", strconv.Itoa(redisMaxMemoryBytes), "--maxmemory-policy", "allkeys-lru",
			"--maxclients", strconv.Itoa(redisMaxClients), "--timeout", "0",
		},
		Probe: func(ctx context.Context) (err error) {
			r.Version, err = redisbuf.Version(ctx, socket)
			return err
		},
	})
	if err != nil {
		return nil, fmt.Errorf("start Redis: %w", err)
	}
	return r, nil
}
