package refserver

import (
	"cmp"
	"context"
	"log/slog"

	"github.com/postbench/postbench/refserver/edge"
	"github.com/postbench/postbench/refserver/grpcin"
)

// edgeFront is the HTTP front of the composition's edges: beside gRPC, and
// behind a Worker, it is the ordinary one.
func (c *Composition) edgeFront() string {
	if c.Front == FrontZerocopy {
		return edge.FrontZerocopy
	}
	return edge.FrontPlain
}

// serveStreams takes streams at GRPCAddr, if that is asked for. end finishes the
// postbacks in work; it must be called.
func (c *RoleConfig) serveStreams(ctx context.Context, e *edge.Edge, log *slog.Logger) (end func(context.Context) error, err error) {
	if c.GRPCAddr == "" {
		return func(context.Context) error { return nil }, nil
	}
	secure, err := loadTLS(c.TLSCertFile, c.TLSKeyFile, alpnHTTP2)
	if err != nil {
		return nil, err
	}
	server, err := grpcin.New(grpcin.Config{Edge: e, TLS: secure, Log: log})
	if err != nil {
		return nil, err
	}
	listener, err := listenShared(ctx, c.GRPCAddr)
	if err != nil {
		return nil, err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(limitConnections(listener, maxConnections)) }()
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainLimit)
		defer cancel()
		return cmp.Or(server.Shutdown(ctx), <-served)
	}, nil
}
