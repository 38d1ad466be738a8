package refserver

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"log/slog"
	"net/http"

	"github.com/postbench/postbench/refserver/collect"
)

// tokenHeader carries what tells central that it is its own replicator which
// hands over: a network path needs a port, and a port is open to everybody on
// the machine.
const tokenHeader = "Postbench-Ingest"

// reserveIngest keeps a port where central takes what comes over a stream or
// over a network path; none where neither does.
func (s *supervisor) reserveIngest(keep func(addr string) (string, error)) (err error) {
	c := &s.config.Composition
	if c.Uplink != UplinkGRPC && (s.config.Uplink == nil || c.Uplink != UplinkReplicate) {
		return nil
	}
	s.ingestToken = rand.Text()
	s.ingestAddr, err = keep(anyPort)
	return err
}

// serveFar takes what comes over a stream or a network path until ctx ends; done
// is closed when the last of it is answered.
func (c *RoleConfig) serveFar(ctx context.Context, collector *collect.Collector, log *slog.Logger) (done <-chan struct{}, err error) {
	if c.Composition.Uplink == UplinkGRPC {
		return c.serveUplink(ctx, collector, log)
	}
	return c.serveIngest(ctx, collector.Ingest())
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
	dial, end, err := c.dialUplink()
	if err != nil {
		return nil, nil, err
	}
	central = newControlOver(dial, "tcp", c.IngestAddr)
	central.token = c.IngestToken
	return central, end, nil
}
