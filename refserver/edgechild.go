package refserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/postbench/postbench/refserver/accept"
	"github.com/postbench/postbench/refserver/cost"
	"github.com/postbench/postbench/refserver/edge"
)

// edgeCounts are an edge's counts and its stages'.
type edgeCounts struct {
	edge.Counts
	Stages []cost.StageTruth `json:"stages,omitempty"`
}

// runEdge takes postbacks and puts them into the buffer.
func runEdge(ctx context.Context, c *RoleConfig, log *slog.Logger, ready func(string)) (err error) {
	buffer, err := openBuffer(c)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, buffer.Close()) }()
	access, err := openAccessLog(c.Dir, &c.Composition)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, access.Close()) }()
	stages, err := c.stages()
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, stages.Close()) }()
	maxInFlight := 0
	if len(c.Costs) > 0 { // their own queues say what is too much
		maxInFlight = maxConnections
	}
	e, err := edge.New(edge.Config{
		Front: c.Composition.edgeFront(), Answer: c.Composition.Answer, Buffer: buffer, SignedOnly: c.SignedOnly, MaxInFlight: maxInFlight,
		Now: time.Now, Log: log, AccessLog: access.log, Admin: adminProxy(c.Admin), Crash: crashPoint(c.Crash),
		Dialects: c.Dialects, Costs: stages, BufferStage: c.Composition.bufferStage(), Verified: c.Verified,
	})
	if err != nil {
		return err
	}
	mux, err := edgeControl(e, stages, c.KeysFile)
	if err != nil {
		return err
	}
	listener, err := c.edgeListener(ctx)
	if err != nil {
		return err
	}
	endStreams, err := c.serveStreams(ctx, e, log)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	if _, err := serveControl(ctx, c.Control, mux); err != nil {
		return errors.Join(err, listener.Close(), endStreams(ctx))
	}
	ready(listener.Addr().String())
	defer context.AfterFunc(ctx, func() { _ = stages.Slow(0, 0) })() // the end is not slow
	// Streams end first: what they have read goes through the edge.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	streams := make(chan error, 1)
	go func() {
		<-ctx.Done()
		streams <- endStreams(ctx)
		stop()
	}()
	err = e.Serve(serving, listener)
	if ctx.Err() == nil {
		return cmp.Or(err, endStreams(ctx))
	}
	return cmp.Or(err, <-streams)
}

// bufferStage is the stage that a record enters on its way into the buffer: a
// lane in memory has none.
func (c *Composition) bufferStage() string {
	if c.Buffer == BufferShm {
		return ""
	}
	return accept.StageRedis
}

// edgeControl is what the supervisor may ask of an edge, which has read its
// keys for the first time when it returns.
func edgeControl(e *edge.Edge, stages *cost.Stages, keysFile string) (*http.ServeMux, error) {
	reload := func() error {
		keys, err := readKeys(keysFile)
		if err != nil {
			return err
		}
		return e.SetKeys(keys)
	}
	if err := reload(); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /counts", answerJSON(func(context.Context) (any, error) {
		return edgeCounts{e.Counts(), stages.Report()}, nil
	}))
	mux.HandleFunc("GET /runtime", answerJSON(ownRuntime))
	mux.HandleFunc("POST /reload", answerJSON(func(context.Context) (any, error) { return struct{}{}, reload() }))
	mux.HandleFunc("POST /chaos", takeFault(func(_ context.Context, f *Fault) error {
		if f.Do != FaultSlow {
			return fmt.Errorf("%q: %w of an edge; want %s", f.Do, errFault, FaultSlow)
		}
		return stages.Slow(f.AddNs, f.ForNs)
	}))
	return mux, nil
}

// edgeListener listens where all edges do: at Addr, and for TLS at TLSAddr.
func (c *RoleConfig) edgeListener(ctx context.Context) (net.Listener, error) {
	protocols := []string{alpnHTTP2, alpnHTTP1}
	if c.Composition.Front == FrontZerocopy {
		protocols = []string{alpnHTTP1} // fasthttp knows no other
	}
	secure, err := loadTLS(c.TLSCertFile, c.TLSKeyFile, protocols...)
	if err != nil {
		return nil, err
	}
	inner, err := listenShared(ctx, c.Addr)
	if err != nil {
		return nil, err
	}
	front := limitConnections(inner, maxConnections)
	if secure == nil {
		return front, nil
	}
	second, err := listenShared(ctx, c.TLSAddr)
	if err != nil {
		return nil, errors.Join(err, front.Close())
	}
	return joinListeners(front, edge.OverTLS(front.beside(second), secure)), nil
}
