package refserver

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"net/http"

	"github.com/postbench/postbench/internal/netem"
)

// tokenHeader carries what tells central that it is its own replicator which
// hands over: a network path needs a port, and a port is open to everybody on
// the machine.
const tokenHeader = "Postbench-Ingest"

// reserveIngest keeps a port where central takes what comes over a network
// path; none where no replicator does.
func (s *supervisor) reserveIngest() (free func(), err error) {
	if s.config.Uplink == nil || s.config.Composition.Uplink != UplinkReplicate {
		return func() {}, nil
	}
	reserved, err := reserve(anyPort)
	if err != nil {
		return nil, err
	}
	s.ingestAddr, s.ingestToken = reserved.addr, rand.Text()
	return reserved.close, nil
}

// serveIngest takes hand-overs at IngestAddr until ctx ends; done is closed
// when the last one is answered.
func (c *RoleConfig) serveIngest(ctx context.Context, ingest http.Handler) (done <-chan struct{}, err error) {
	if c.IngestAddr == "" {
		nobody := make(chan struct{})
		close(nobody)
		return nobody, nil
	}
	listener, err := listenShared(ctx, c.IngestAddr)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /ingest", func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get(tokenHeader)), []byte(c.IngestToken)) != 1 {
			http.Error(w, "forbidden", http.StatusForbidden)
			return
		}
		ingest.ServeHTTP(w, r)
	})
	return serveUntil(ctx, limitConnections(listener, maxConnections), mux), nil
}

// centralOverUplink is how a replicator reaches central: over the network path
// that lies between them, or over its socket. end frees the path.
func (c *RoleConfig) centralOverUplink() (central *control, end func() error, err error) {
	if c.IngestAddr == "" {
		return newControl(c.Central), func() error { return nil }, nil
	}
	network := netem.NewNetwork(c.Seed + uint64(c.Node))
	path, err := network.Path(*c.Uplink)
	if err != nil {
		return nil, nil, errors.Join(err, network.Close())
	}
	central = newControlOver(path.Dial, "tcp", c.IngestAddr)
	central.token = c.IngestToken
	return central, network.Close, nil
}
