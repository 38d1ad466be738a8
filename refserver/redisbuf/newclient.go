package redisbuf

import "github.com/redis/go-redis/v9"

// NewClient is a client for others that talk to a Redis of ours: at most conns
// connections, every wait limited, nothing ever sent twice, nothing written to
// stderr. It does not connect.
func NewClient(address string, conns int) (*redis.Client, error) {
	options, err := clientOptions(address, conns)
	if err != nil {
		return nil, err
	}
	return redis.NewClient(options), nil
}
