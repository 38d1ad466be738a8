// Package refserver is the reference postback server: it reads a composition,
// wires its parts and runs them until it is told to stop.
package refserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"syscall"
	"time"

	"github.com/postbench/postbench/refserver/admin"
	"github.com/postbench/postbench/refserver/cost"
	"github.com/postbench/postbench/refserver/monolith"
)

// Limits of the HTTP front.
const (
	readHeaderLimit = 2 * time.Second
	readLimit       = 5 * time.Second // a whole request; population loads extend it as they go
	writeLimit      = 10 * time.Second
	idleLimit       = 60 * time.Second
	maxHeaderBytes  = 8 << 10

	// anyPort is a free one that only this machine reaches.
	anyPort = "127.0.0.1:0"

	// drainLimit is how long the end waits for requests in work. It is longer
	// than any of them may take.
	drainLimit = 10 * time.Second
)

// ErrAddrInUse is wrapped by Serve's error when another program listens there.
var ErrAddrInUse = errors.New("address already in use")

// Serve runs the server until ctx ends. It calls ready once, with the addresses
// that it listens on. At the end it stops accepting, finishes the requests in
// work, closes the store and returns nil; everything acked is on the disk.
func Serve(ctx context.Context, config Config, ready func(Addresses)) error {
	if err := config.Validate(); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	// Children may work in directories of their own.
	for _, dir := range []*string{&config.DataDir, &config.LaneDir, &config.TLSCertFile, &config.TLSKeyFile} {
		if *dir == "" {
			continue
		}
		absolute, err := filepath.Abs(*dir)
		if err != nil {
			return fmt.Errorf("serve: %w", err)
		}
		*dir = absolute
	}
	start := serve
	if config.Composition.Uplink != None {
		start = supervise
	}
	err := start(ctx, config.withDefaults(), ready)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil // told to stop while still starting
	}
	return err
}

func serve(ctx context.Context, config Config, ready func(Addresses)) (err error) {
	// Listen first: a taken port must not touch the data.
	listener, err := listen(ctx, config.Addr)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	defer listener.Close()
	owned, err := ownDataDir(config.DataDir, &config.Composition)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	defer owned.Close()
	databases, err := openDatabases(ctx, &config)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	defer func() { err = cmp.Or(err, databases.close(ctx)) }()
	if config.Composition.Front == FrontPHP {
		if err := listener.Close(); err != nil { // nginx listens there
			return fmt.Errorf("serve: %w", err)
		}
		return servePHP(ctx, &config, databases, listener.Addr().String(), ready)
	}
	access, err := openAccessLog(config.DataDir, &config.Composition)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	defer func() { err = cmp.Or(err, access.Close()) }()
	stages, err := cost.New(config.Costs, config.Seed, nil)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	defer func() { err = cmp.Or(err, stages.Close()) }()
	handler, err := monolith.New(ctx, monolith.Config{
		Conversions: databases.conversions(), Books: databases.books, Population: databases.population(), Keys: databases.books,
		Components: append([]admin.Component{frontComponent(FrontPlain)}, databases.components...), SignedOnly: config.SignedOnly, MaxInFlight: config.MaxInFlight,
		Now: config.Now, BootID: config.BootID, Log: config.Log, AccessLog: access.log,
		Dialects: config.Dialects, Costs: stages,
	})
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	one := &single{config: config, databases: databases, handler: handler, stages: stages, front: limitConnections(listener, maxConnections)}
	if err := one.run(ctx, ready); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("listen on %s: %w; stop the other program or choose another port, 0 takes a free one", addr, ErrAddrInUse)
	}
	return listener, err
}
