// Package php is the 2022 server as it was: nginx in front of php-fpm, which
// runs a Laravel application that asks ClickHouse for the click and MariaDB for
// everything else before it answers. It answers, decides and records as
// package monolith does. What no partner asks, such as the ledger, nginx passes
// on to the program that has started it.
//
// The application lies in laravel; it is written into a private directory and
// run there, on the framework that Debian's php-laravel-framework installs.
package php

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/internal/proc"
	"github.com/postbench/postbench/refserver/admin"
	"github.com/postbench/postbench/refserver/parts"
	"github.com/postbench/postbench/refserver/store"
)

// DefaultDatabase is where ClickHouse has the clicks unless told otherwise.
const DefaultDatabase = "postbench"

const (
	// workersPerCPU is how many PHP workers there are: each waits for the
	// databases most of its time.
	workersPerCPU = 4
	// maxWorkers keeps the connections to MariaDB, one a worker, below what it takes.
	maxWorkers = 400
	// cacheTimeout is how long Laravel may take to write its caches.
	cacheTimeout = 30 * time.Second
	// readyTimeout is how long the first request may take, the framework's
	// compilation included.
	readyTimeout = 30 * time.Second

	laravelPackage = "php-laravel-framework"
	fpmPackage     = "php8.2-fpm php8.2-mysql"
	nginxPackage   = "nginx-light"
)

// errWorkers says that the number of workers is out of range.
var errWorkers = fmt.Errorf("PHP workers: want 0 (%d a CPU) to %d", workersPerCPU, maxWorkers)

// Config is what a Stack is made of. TLSAddr with its files, Dialects,
// Keys, SignedOnly, Workers, LogFile, ClickHouseDatabase and NewConnections may be
// left out.
type Config struct {
	Runtime parts.Runtime
	// Addr and TLSAddr are "host:port" to listen at; nginx cannot be given a
	// listener. A port that somebody else has makes Start fail: see
	// parts.PortTaken.
	Addr, TLSAddr           string
	TLSCertFile, TLSKeyFile string // needed with TLSAddr
	// Admin is the "host:port" that answers what no partner asks.
	Admin string
	// MariaDB has the tables of store.OpenMariaDB in its database.
	MariaDB *parts.MariaDB
	// ClickHouseHTTP is the "host:port" of its HTTP interface; ClickHouseDatabase
	// has the table clicks, "" means DefaultDatabase.
	ClickHouseHTTP, ClickHouseDatabase string
	Dialects                           []postback.Dialect
	Keys                               []store.Key // in force from the first postback on; see KeysChanged
	SignedOnly                         bool
	Workers                            int    // of PHP; 0 means some for each CPU
	LogFile                            string // takes a line of JSON for each postback; "" means that nothing is logged
	// NewConnections makes PHP connect to MariaDB anew with each request, as it
	// does unless told otherwise.
	NewConnections bool

	fixedUnixS int64 // what a test's clock says; 0 means the system's
}

// Stack is nginx and php-fpm at work. Its methods may be called at any time.
type Stack struct {
	dir        string
	nginx, fpm *parts.Process
	versions   versions
	done       chan struct{}

	mu         sync.Mutex // of the keys
	generation int
}

// Start starts both and returns when the first request has been answered
// through all of the stack. The error wraps parts.ErrMissing when a program is
// not installed.
func Start(ctx context.Context, config Config) (*Stack, error) {
	s, err := start(ctx, &config)
	if err != nil {
		return nil, fmt.Errorf("start nginx and PHP: %w", err)
	}
	return s, nil
}

func start(ctx context.Context, config *Config) (_ *Stack, err error) {
	if config.Workers < 0 || config.Workers > maxWorkers {
		return nil, fmt.Errorf("%d %w", config.Workers, errWorkers)
	}
	if config.Workers == 0 {
		config.Workers = min(workersPerCPU*runtime.NumCPU(), maxWorkers)
	}
	if _, err := postback.NewDialects(config.Dialects); err != nil {
		return nil, err
	}
	l, err := newLayout(config.Runtime.Dir)
	if err != nil {
		return nil, err
	}
	if err := l.write(config); err != nil {
		return nil, err
	}
	s := &Stack{dir: l.dir, done: make(chan struct{})}
	if err := s.KeysChanged(config.Keys); err != nil {
		return nil, err
	}
	if err := l.warm(ctx, config.Runtime); err != nil {
		return nil, err
	}
	if s.fpm, err = l.startFPM(ctx, config); err != nil {
		return nil, err
	}
	if s.nginx, err = l.startNginx(ctx, config, &s.versions); err != nil {
		// The request's context may have ended: that must not cut this short.
		return nil, errors.Join(err, s.fpm.Stop(context.WithoutCancel(ctx)))
	}
	go s.watch()
	return s, nil
}

// warm lets Laravel write its configuration and routes as one file each.
func (l *layout) warm(ctx context.Context, rt parts.Runtime) error {
	path, err := parts.Look(laravelPackage, "php")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cacheTimeout)
	defer cancel()
	return proc.Run(ctx, proc.Spec{
		Name: "php artisan optimize", Path: path, Args: []string{"artisan", "optimize", "--quiet", "--no-interaction"},
		Dir: l.app, Log: rt.Log, Guard: rt.Guard, GuardSweep: rt.GuardSweep,
	})
}

func (l *layout) startFPM(ctx context.Context, config *Config) (*parts.Process, error) {
	args := []string{"--nodaemonize", "--fpm-config", l.fpmConfig, "--prefix", l.dir}
	if l.asRoot {
		args = append(args, "--allow-to-run-as-root")
	}
	for _, setting := range l.phpSettings() {
		args = append(args, "-d", setting)
	}
	return parts.Start(ctx, config.Runtime, parts.Spec{
		Name: "php-fpm", Programs: []string{"php-fpm8.2", "php-fpm"}, Package: fpmPackage, Args: args, Dir: l.dir,
		StopSignal: syscall.SIGQUIT, Probe: l.dialFPM, ReadyTimeout: readyTimeout,
	})
}

func (l *layout) startNginx(ctx context.Context, config *Config, v *versions) (*parts.Process, error) {
	return parts.Start(ctx, config.Runtime, parts.Spec{
		Name: "nginx", Programs: []string{"nginx"}, Package: nginxPackage, Dir: l.dir,
		Args:       []string{"-e", "stderr", "-p", l.dir, "-c", l.nginxConfig},
		StopSignal: syscall.SIGQUIT, ReadyTimeout: readyTimeout,
		Probe: func(ctx context.Context) error { return l.ask(ctx, config.Addr, v) },
	})
}

// watch closes done when one of the two has ended: without the other it is of
// no use.
func (s *Stack) watch() {
	select {
	case <-s.nginx.Done():
	case <-s.fpm.Done():
	}
	close(s.done)
}

// Stop ends both in order, nginx first: what is in work is answered. What takes
// too long is killed when ctx ends, which is an error.
func (s *Stack) Stop(ctx context.Context) error {
	if err := errors.Join(s.nginx.Stop(ctx), s.fpm.Stop(ctx)); err != nil {
		return fmt.Errorf("stop nginx and PHP: %w", err)
	}
	return nil
}

// Done is closed when nginx or php-fpm has ended.
func (s *Stack) Done() <-chan struct{} { return s.done }

// CPUTime is the CPU time, user and system, of both and of their workers.
func (s *Stack) CPUTime() time.Duration { return s.nginx.CPUTime() + s.fpm.CPUTime() }

// Components says what runs, the databases not included.
func (s *Stack) Components() []admin.Component {
	return []admin.Component{
		{Role: "http", Implementation: "nginx", Version: s.versions.Nginx},
		{Role: "php", Implementation: "php-fpm", Version: s.versions.PHP},
		{Role: "framework", Implementation: "laravel", Version: s.versions.Laravel},
	}
}

// KeysChanged puts other signing keys in force, all that there are: the next
// postback is verified by them.
func (s *Stack) KeysChanged(keys []store.Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := replaceKeys(s.dir, s.generation+1, keys); err != nil {
		return fmt.Errorf("give PHP the keys: %w", err)
	}
	s.generation++
	return nil
}

// Refused is how many postbacks nginx has answered itself, by status: 503 when
// no PHP worker took one in time, 413 and 414 when one was too long for it.
func (s *Stack) Refused() (map[int]int64, error) { return countRefused(s.dir) }
