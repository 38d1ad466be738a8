package refserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"

	"github.com/postbench/postbench/refserver/admin"
	"github.com/postbench/postbench/refserver/cost"
	"github.com/postbench/postbench/refserver/monolith/php"
)

// errOwnDatabases is the Laravel application's, which is configured for sockets
// that this process has made.
var errOwnDatabases = errors.New("the front php starts MariaDB and ClickHouse itself: leave out the addresses of others")

// phpServer is nginx and php-fpm in front of the databases, with the judge's
// endpoints in this process.
type phpServer struct {
	config    *Config
	databases *databases
	stack     *php.Stack
	at        Addresses
}

// servePHP serves at addr until ctx ends. The databases are open.
func servePHP(ctx context.Context, config *Config, d *databases, addr string, ready func(Addresses)) (err error) {
	s := &phpServer{config: config, databases: d, at: Addresses{Front: addr}}
	judge, err := listen(ctx, config.AdminAddr)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	defer judge.Close()
	s.at.Admin = judge.Addr().String()
	if config.TLSCertFile != "" {
		if s.at.TLS, err = choose(anyPort); err != nil {
			return fmt.Errorf("serve: %w", err)
		}
	}
	if err := s.start(ctx); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	defer func() {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainLimit)
		defer cancel()
		err = cmp.Or(err, s.stack.Stop(stopping))
	}()
	handler, err := s.handler()
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return s.run(ctx, judge, handler, ready)
}

// start starts the stack on the databases that were started for it.
func (s *phpServer) start(ctx context.Context) error {
	d := s.databases
	keys, err := d.books.Keys(ctx) // those of an earlier life, before the first postback
	if err != nil {
		return err
	}
	s.stack, err = php.Start(ctx, php.Config{
		Runtime: d.runtime(), Addr: s.at.Front, TLSAddr: s.at.TLS, TLSCertFile: s.config.TLSCertFile, TLSKeyFile: s.config.TLSKeyFile,
		Admin: s.at.Admin, MariaDB: d.mariadb, ClickHouseHTTP: d.clickserver.HTTP, Dialects: s.config.Dialects,
		Keys: keys, SignedOnly: s.config.SignedOnly, LogFile: filepath.Join(s.config.DataDir, accessLogName),
	})
	return err
}

// handler answers the judge; nginx passes to it what is no postback.
func (s *phpServer) handler() (http.Handler, error) {
	books := s.databases.books
	keysChanged := func(ctx context.Context) error {
		keys, err := books.Keys(ctx)
		return cmp.Or(err, s.stack.KeysChanged(keys))
	}
	judge, err := admin.New(admin.Config{
		Books: books, Population: books, Keys: books, OnKeys: keysChanged,
		Components: append(s.stack.Components(), s.databases.components...),
		Now:        s.config.Now, BootID: s.config.BootID, Log: s.config.Log,
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/", judge)
	mux.HandleFunc("GET /stages", answerJSON(func(context.Context) (any, error) { return []cost.StageTruth{}, nil }))
	mux.HandleFunc("GET /queries", answerJSON(func(ctx context.Context) (any, error) {
		report, err := s.databases.report(ctx)
		if of, ok := report.(DatabaseReport); ok {
			of.CPUNs += int64(s.stack.CPUTime())
			report = of
		}
		return report, err
	}))
	mux.HandleFunc("POST /chaos", takeFault(func(_ context.Context, f *Fault) error {
		return fmt.Errorf("%q: %w of the real stack", f.Do, errFault)
	}))
	return mux, nil
}

// run waits for the end.
func (s *phpServer) run(ctx context.Context, listener net.Listener, handler http.Handler, ready func(Addresses)) error {
	judging, stop := context.WithCancel(context.WithoutCancel(ctx))
	closed := serveUntil(judging, listener, handler)
	defer func() {
		stop()
		<-closed
	}()
	died, stopWatching := s.databases.died(ctx)
	defer stopWatching()
	ready(s.at)
	select {
	case <-ctx.Done():
		return nil
	case err := <-died:
		return err
	case <-s.stack.Done():
		return errors.New("nginx or php-fpm has ended")
	}
}
