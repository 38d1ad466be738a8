package refserver

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"

	"github.com/postbench/postbench/internal/gostats"
	"github.com/postbench/postbench/refserver/accept"
	"github.com/postbench/postbench/refserver/cost"
	"github.com/postbench/postbench/refserver/monolith"
)

// single is a server in one process, ready to serve.
type single struct {
	config    Config
	databases *databases
	handler   *monolith.Server
	stages    *cost.Stages
	front     *limitedListener
}

// run serves until ctx ends and then drains.
func (s *single) run(ctx context.Context, ready func(Addresses)) error {
	at := Addresses{Front: s.front.Addr().String()}
	listeners := []net.Listener{s.front}
	secure, err := loadTLS(s.config.TLSCertFile, s.config.TLSKeyFile, alpnHTTP2, alpnHTTP1)
	if err != nil {
		return err
	}
	if secure != nil {
		inner, err := listen(ctx, anyPort)
		if err != nil {
			return err
		}
		defer inner.Close()
		at.TLS, listeners = inner.Addr().String(), append(listeners, tls.NewListener(s.front.beside(inner), secure))
	}
	admin, err := listen(ctx, s.config.AdminAddr)
	if err != nil {
		return err
	}
	defer admin.Close()
	at.Admin = admin.Addr().String()
	server, judge := s.server(s.handler), s.server(s.adminHandler())
	failed := make(chan error, len(listeners)+1)
	for _, l := range listeners {
		go func() { failed <- server.Serve(l) }()
	}
	go func() { failed <- judge.Serve(admin) }()
	died, stopWatching := s.databases.died(ctx)
	defer stopWatching()
	ready(at)
	select {
	case err := <-died:
		return errors.Join(err, server.Close(), judge.Close())
	case err := <-failed:
		return errors.Join(err, server.Close(), judge.Close())
	case <-ctx.Done():
	}
	return s.drain(ctx, server, judge)
}

func (s *single) server(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderLimit,
		ReadTimeout:       readLimit,
		WriteTimeout:      writeLimit + 2*accept.StageLimit, // which a postback may wait for first
		IdleTimeout:       idleLimit,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.config.Log.Handler(), slog.LevelWarn),
	}
}

// drain finishes what is in work, postbacks first.
func (s *single) drain(ctx context.Context, server, judge *http.Server) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainLimit)
	defer cancel()
	err := s.stages.Slow(0, 0)
	if late := cmp.Or(server.Shutdown(ctx), judge.Shutdown(ctx)); late != nil { // what is still in work was not acked
		err = cmp.Or(fmt.Errorf("requests still in work after %s: %w", drainLimit, late), errors.Join(server.Close(), judge.Close()))
	}
	s.config.Log.Info("stopped", "counts", s.handler.Counts(), "connections_refused", s.front.refused.Load())
	return err
}

// adminHandler answers what the front answers, and what no partner may ask.
func (s *single) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", s.handler)
	mux.HandleFunc("/pb", http.NotFound)
	mux.HandleFunc("/pb/", http.NotFound)
	mux.HandleFunc("/p/", http.NotFound)
	mux.HandleFunc("GET /stages", answerJSON(func(context.Context) (any, error) { return s.stages.Report(), nil }))
	mux.HandleFunc("GET /runtime", answerJSON(func(context.Context) (any, error) {
		return []ProcessRuntime{{Process: "server", Pid: os.Getpid(), Runtime: gostats.Read()}}, nil
	}))
	mux.HandleFunc("GET /queries", answerJSON(s.databases.report))
	mux.HandleFunc("POST /chaos", takeFault(s.inject))
	return mux
}

// inject slows the process down; its end would be the server's.
func (s *single) inject(_ context.Context, f *Fault) error {
	if f.Do != FaultSlow {
		return fmt.Errorf("%q: %w in a server of one process; want %s", f.Do, errFault, FaultSlow)
	}
	return s.stages.Slow(f.AddNs, f.ForNs)
}
