package refserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/postbench/postbench/internal/proc"
	"github.com/postbench/postbench/refserver/admin"
	"github.com/postbench/postbench/refserver/monolith"
	"github.com/postbench/postbench/refserver/parts"
	"github.com/postbench/postbench/refserver/redisbuf"
	"github.com/postbench/postbench/refserver/store"
	"github.com/postbench/postbench/refserver/store/clickhouse"
	"github.com/postbench/postbench/refserver/store/rediscache"
)

// databases are what a server without edges keeps its books in: MariaDB and
// ClickHouse, and Redis before them where the composition has a cache. Where a
// program is not installed a stand-in inside this process takes its place.
type databases struct {
	config *Config
	runDir *proc.RunDir

	books      *store.SQL
	clicks     *clickhouse.Clicks // nil: they are in books
	cache      *rediscache.Cache  // nil: there is none
	components []admin.Component

	mariadb     *parts.MariaDB    // nil unless this process started it
	clickserver *parts.ClickHouse // likewise
	running     []*parts.Process
	needed      []*parts.Process              // of those, the ones that nothing works without
	closers     []func(context.Context) error // in the order in which they were opened
}

// databasesStopLimit bounds the end of all databases together.
const databasesStopLimit = 30 * time.Second

// openDatabases starts or reaches what the composition names.
func openDatabases(ctx context.Context, config *Config) (_ *databases, err error) {
	d := &databases{config: config}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close(ctx))
		}
	}()
	if config.Composition.Front == FrontPHP {
		config.Real.Require = append(slices.Clone(config.Real.Require), PartMySQL, PartClickHouse) // its code knows no other
	}
	if d.runDir, err = proc.NewRunDir(""); err != nil {
		return nil, err
	}
	clicks, err := d.openClicks(ctx)
	if err != nil {
		return nil, err
	}
	if err := d.openBooks(ctx, clicks); err != nil {
		return nil, err
	}
	if config.Composition.Attribution == AttributionRedisCache {
		if err := d.openCache(ctx); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (d *databases) runtime() parts.Runtime {
	return parts.Runtime{Dir: d.runDir.Path(), Log: d.config.ChildLog, Guard: d.config.Guard, GuardSweep: d.config.GuardSweep}
}

// started keeps a database until the end; without it the server ends.
func (d *databases) started(p *parts.Process) {
	d.needed = append(d.needed, p)
	d.startedCache(p)
}

// startedCache keeps a program until the end, and does without it when it dies.
func (d *databases) startedCache(p *parts.Process) {
	d.running = append(d.running, p)
	d.closers = append(d.closers, p.Stop)
}

// openClicks returns nil where clicks stay in the SQL database.
func (d *databases) openClicks(ctx context.Context) (store.Clicks, error) {
	real := &d.config.Real
	options := clickhouse.Options{Database: "postbench"}
	switch {
	case real.ClickHouse != "":
		native, http, err := real.clickHouseAddresses()
		if err != nil {
			return nil, err
		}
		options.Native, options.HTTP = native, http
		if options.Database, err = d.config.databaseName(); err != nil {
			return nil, err
		}
	case real.Embedded:
		return nil, real.missing(PartClickHouse, parts.ErrMissing)
	default:
		server, err := parts.StartClickHouse(ctx, d.runtime(), filepath.Join(d.config.DataDir, "clickhouse"))
		if errors.Is(err, parts.ErrMissing) {
			return nil, real.missing(PartClickHouse, err)
		}
		if err != nil {
			return nil, err
		}
		d.clickserver = server
		d.started(server.Process)
		options.Native, options.HTTP = server.Native, server.HTTP
	}
	clicks, err := clickhouse.Open(ctx, options)
	if err != nil {
		return nil, err
	}
	d.clicks = clicks
	d.closers = append(d.closers, func(context.Context) error { return clicks.Close() })
	if real.ClickHouse != "" && d.config.ThrowAway {
		d.closers = append(d.closers, clicks.Drop)
	}
	d.components = append(d.components, admin.Component{Role: "clicks", Implementation: "clickhouse", Version: clicks.Version()})
	return clicks, nil
}

func (d *databases) openBooks(ctx context.Context, clicks store.Clicks) (err error) {
	real, atomic := &d.config.Real, d.config.Composition.Caps == CapsAtomic
	dsn := ""
	switch {
	case real.MySQL != "":
		if dsn, err = d.ownDatabase(ctx); err != nil {
			return err
		}
	case real.Embedded:
		err = real.missing(PartMySQL, parts.ErrMissing)
	default:
		d.mariadb, err = parts.StartMariaDB(ctx, d.runtime(), filepath.Join(d.config.DataDir, "mariadb"))
		if errors.Is(err, parts.ErrMissing) {
			err = real.missing(PartMySQL, err)
		} else if err == nil {
			dsn = d.mariadb.DSN
			d.started(d.mariadb.Process)
		}
	}
	if err != nil {
		return err
	}
	component := admin.Component{Role: "sql", Embedded: true}
	if dsn == "" {
		d.books, err = store.Open(ctx, store.Options{Dir: d.config.DataDir, AtomicCaps: atomic, Clicks: clicks, Now: d.config.Now})
	} else {
		component.Embedded = false
		d.books, err = store.OpenMariaDB(ctx, store.MariaDBOptions{DSN: dsn, AtomicCaps: atomic, Clicks: clicks, Now: d.config.Now})
	}
	if err != nil {
		return err
	}
	d.closers = append(d.closers, func(context.Context) error { return d.books.Close() })
	component.Implementation, component.Version = d.books.Engine(), d.books.Version()
	d.components = append([]admin.Component{component}, d.components...)
	if clicks == nil {
		component.Role = "clicks"
		d.components = append(d.components, component)
	}
	return nil
}

// ownDatabase makes a database of this server's own at the address that was
// given.
func (d *databases) ownDatabase(ctx context.Context) (dsn string, err error) {
	name, err := d.config.databaseName()
	if err != nil {
		return "", err
	}
	dsn, err = store.CreateDatabase(ctx, d.config.Real.MySQL, name)
	if err == nil && d.config.ThrowAway {
		d.closers = append(d.closers, func(ctx context.Context) error { return store.DropDatabase(ctx, d.config.Real.MySQL, name) })
	}
	return dsn, err
}

func (d *databases) openCache(ctx context.Context) error {
	real := &d.config.Real
	options := rediscache.Options{Books: d.books, Now: d.config.Now}
	component := admin.Component{Role: "cache", Implementation: "redis-server"}
	var err error
	switch {
	case real.Redis != "":
		options.Socket = real.Redis
	case real.Embedded:
		err = real.missing(PartRedis, parts.ErrMissing)
	default:
		var server *parts.Redis
		server, err = parts.StartRedis(ctx, d.runtime())
		if errors.Is(err, parts.ErrMissing) {
			err = real.missing(PartRedis, err)
		} else if err == nil {
			options.Socket = server.Socket
			d.startedCache(server.Process)
		}
	}
	if err != nil {
		return err
	}
	if options.Socket == "" {
		options.Socket = filepath.Join(d.runDir.Path(), "cache.sock")
		component.Implementation, component.Embedded = "miniredis", true
		if err := d.serveEmbedded(ctx, options.Socket); err != nil {
			return err
		}
	}
	if d.cache, err = rediscache.New(ctx, options); err != nil {
		return err
	}
	d.closers = append(d.closers, func(context.Context) error { return d.cache.Close() })
	if component.Version, err = redisbuf.Version(ctx, options.Socket); err != nil {
		return err
	}
	d.components = append(d.components, component)
	return nil
}

// serveEmbedded runs a Redis inside this process until the end.
func (d *databases) serveEmbedded(ctx context.Context, socket string) error {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended, ready := make(chan error, 1), make(chan struct{})
	go func() { ended <- redisbuf.ServeEmbedded(serving, socket, 1, func(string) { close(ready) }) }()
	select {
	case err := <-ended:
		stop()
		return err
	case <-ready:
	}
	d.closers = append(d.closers, func(context.Context) error { stop(); return <-ended })
	return nil
}

// conversions is where postbacks go: through the cache where there is one.
func (d *databases) conversions() monolith.Conversions {
	if d.cache != nil {
		return d.cache
	}
	return d.books
}

// population is the books' own; what a cache knows of offers is dropped with
// every load.
func (d *databases) population() admin.Population {
	if d.cache == nil {
		return d.books
	}
	return d.cache.Population(d.books)
}

// died tells when a database has ended by itself; stop ends the watching. The
// cache is none: without it the databases are asked.
func (d *databases) died(ctx context.Context) (failed <-chan error, stop func()) {
	ctx, stop = context.WithCancel(ctx)
	report := make(chan error, len(d.needed))
	for _, p := range d.needed {
		go func() {
			select {
			case <-ctx.Done():
			case <-p.Done():
				report <- fmt.Errorf("a database has ended: %w", cmp.Or(p.Err(), errors.New("nobody asked it to")))
			}
		}()
	}
	return report, stop
}

// DatabaseReport is what the databases of a server have done so far.
type DatabaseReport struct {
	// CPUNs is the CPU time of those that the server has started.
	CPUNs int64 `json:"cpu_ns"`
	// Queries are the statements that postbacks have cost the SQL database,
	// begin and commit of transactions left out; nil where nobody counts them.
	Queries *int64        `json:"queries"`
	SQL     store.Queries `json:"sql"`
}

func (d *databases) report(context.Context) (any, error) {
	var r DatabaseReport
	for _, p := range d.running {
		r.CPUNs += int64(p.CPUTime())
	}
	if d.config.Composition.Front != FrontPHP { // whose queries are its own
		r.SQL = d.books.Queries()
		n := r.SQL.Selects + r.SQL.Writes
		r.Queries = &n
	}
	return r, nil
}

// close ends everything, last opened first.
func (d *databases) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), databasesStopLimit)
	defer cancel()
	var errs []error
	for _, end := range slices.Backward(d.closers) {
		errs = append(errs, end(ctx))
	}
	d.closers = nil
	if d.runDir != nil {
		errs = append(errs, d.runDir.Close())
	}
	return errors.Join(errs...)
}
