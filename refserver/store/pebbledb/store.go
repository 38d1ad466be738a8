package pebbledb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/postbench/postbench/internal/buildinfo"
	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/store"
)

// Limits of the store.
const (
	// MaxBatchRecords is the most that one CommitBatch takes.
	MaxBatchRecords = 4_096
	// MaxBatchStates bounds the states of one batch, MaxStateBytes their keys
	// and values together.
	MaxBatchStates = 1_024
	MaxStateBytes  = 1 << 20
	// MaxInFlight bounds the commits that wait for the writer or for their
	// sync; further ones get store.ErrBusy at once. It stays below the
	// number of syncs that Pebble queues (4,095), so that nobody waits for a
	// place in that queue with the writer in hand.
	MaxInFlight = 2_048
	// MaxClicks bounds the clicks in memory, about 150 bytes each.
	MaxClicks = 16 << 20
	// MaxOffers and MaxKeys bound what one write of a load holds.
	MaxOffers = 1 << 20
	MaxKeys   = 1 << 16
	// maxSecretBytes bounds a signing key.
	maxSecretBytes = 4 << 10

	databaseDir = "pebble"
	loadingDir  = "loading"
)

// Errors of the store, beside store.ErrBusy. None of them leaves anything written.
var (
	ErrTooLarge = errors.New("above a limit of the Pebble store")
	ErrInvalid  = errors.New("not a value that the Pebble store keeps")
	ErrCorrupt  = errors.New("the Pebble store's data is damaged or of another program; use another data directory or restore it")
	ErrClosed   = errors.New("the Pebble store is closed")
	// ErrFailed means that the disk refused a write. What is in memory may not
	// be on the disk: nothing can be committed until the store is opened anew.
	ErrFailed = errors.New("the Pebble store has failed and must be opened anew")
)

// Options says where to keep the data.
type Options struct {
	// Dir is created if missing. One process at a time may have it open.
	Dir string
	// Now is the clock that stamps rows and times stages.
	Now func() time.Time
	// Log takes the engine's complaints; nil drops them.
	Log *slog.Logger
}

// Store is safe for concurrent use.
type Store struct {
	options Options
	db      *pebble.DB

	life   sync.RWMutex // held for writing by Close only
	closed bool

	loads  turn // one load at a time
	writer turn // one decision at a time; guards totals and the offers' counters
	totals totals
	failed atomic.Pointer[error]

	inFlight chan struct{}
	refused  atomic.Int64
	rounds   sync.Pool // *round

	population sync.RWMutex // guards the maps and the offers' definitions
	clicks     map[string]click
	offers     map[string]*offer

	counters sync.Mutex // lets readers see offer.counters while the writer changes them

	syncedMu sync.Mutex
	synced   totals // of what is on the disk
}

// click is what a conversion needs of its click.
type click struct {
	offer        *offer
	clickedUnixS int64
}

// offer is an offer and its cap counters. One that clicks name and nobody has
// loaded has no definition, but it counts.
type offer struct {
	id         string
	loaded     bool
	definition store.Offer

	counters []*counter // those in memory, see counterAt
}

// totals counts everything ever committed. Each row's number is the count before it.
type totals struct {
	committed uint64 // conversions, duplicates included
	rows      uint64
	conflicts uint64
}

// turn is a mutex that can be waited for within a deadline.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

func (t turn) take() { t <- struct{}{} }

func (t turn) give() { <-t }

// takeWithin takes the turn, or returns store.ErrBusy when ctx ends before.
func (t turn) takeWithin(ctx context.Context) error {
	if ctx.Err() == nil {
		select {
		case t <- struct{}{}:
			return nil
		case <-ctx.Done():
		}
	}
	return busy(ctx)
}

// busy is store.ErrBusy with the reason why ctx ended.
func busy(ctx context.Context) error { return fmt.Errorf("%w: %w", store.ErrBusy, ctx.Err()) }

// Open opens the store in options.Dir, creates it if missing, and reads clicks
// and offers into memory. A store that was killed is as good as one that was
// closed.
func Open(ctx context.Context, options Options) (*Store, error) {
	s := &Store{
		options: options, loads: newTurn(), writer: newTurn(),
		inFlight: make(chan struct{}, MaxInFlight),
		rounds:   sync.Pool{New: func() any { return new(round) }},
		clicks:   map[string]click{}, offers: map[string]*offer{},
	}
	if err := s.open(ctx); err != nil {
		err = fmt.Errorf("open store %s: %w", options.Dir, err)
		if s.db != nil {
			err = cmp.Or(err, s.db.Close())
		}
		return nil, err
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) (err error) {
	if err := os.MkdirAll(s.options.Dir, 0o700); err != nil {
		return err
	}
	// First the lock, which comes with the database: the tables of a load may
	// be those of a process that is alive.
	if s.db, err = openEngine(filepath.Join(s.options.Dir, databaseDir), s.options.Log); err != nil {
		return fmt.Errorf("one process at a time, on a directory of its own: %w", err)
	}
	if err := os.RemoveAll(filepath.Join(s.options.Dir, loadingDir)); err != nil {
		return err
	}
	if err := s.checkSchema(); err != nil {
		return err
	}
	if err := s.readTotals(); err != nil {
		return err
	}
	return s.readPopulation(ctx)
}

func (s *Store) checkSchema() error {
	version, err := s.get(keySchema)
	if err != nil {
		return err
	}
	if version != nil {
		if got, ok := readUint32(version); !ok || got != schemaVersion {
			return fmt.Errorf("%w: schema version %d, this program knows %d", ErrCorrupt, got, schemaVersion)
		}
		return nil
	}
	iter, err := s.db.NewIter(nil)
	if err != nil {
		return err
	}
	if iter.First() {
		return cmp.Or(iter.Close(), fmt.Errorf("%w: no schema version, yet not empty", ErrCorrupt))
	}
	return cmp.Or(iter.Close(), s.db.Set(keySchema, appendUint32(nil, schemaVersion), pebble.Sync))
}

// readTotals reads the counts and makes sure that the ledger ends where they say.
func (s *Store) readTotals() error {
	value, err := s.get(keyTotals)
	if err != nil {
		return err
	}
	if value != nil {
		if err := s.totals.decode(value); err != nil {
			return err
		}
	}
	for prefix, want := range map[byte]uint64{prefixRow: s.totals.rows, prefixConflict: s.totals.conflicts} {
		got, err := s.countNumbered(prefix)
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("%w: %d rows under %q, the totals say %d", ErrCorrupt, got, prefix, want)
		}
	}
	s.synced = s.totals
	return nil
}

// countNumbered is the number after the last one under the prefix.
func (s *Store) countNumbered(prefix byte) (uint64, error) {
	iter, err := s.db.NewIter(within(prefix))
	if err != nil {
		return 0, err
	}
	next := uint64(0)
	if iter.Last() {
		number, ok := readNumber(iter.Key()[1:])
		if !ok {
			return 0, cmp.Or(iter.Close(), fmt.Errorf("%w: key %x", ErrCorrupt, iter.Key()))
		}
		next = number + 1
	}
	return next, iter.Close()
}

// get is a copy of the value under key, nil if there is none.
func (s *Store) get(key []byte) ([]byte, error) {
	value, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	copied := append(make([]byte, 0, len(value)), value...)
	return copied, closer.Close()
}

// enter keeps the store open until the function that it returns is called.
func (s *Store) enter() (leave func(), err error) {
	s.life.RLock()
	if s.closed {
		s.life.RUnlock()
		return nil, ErrClosed
	}
	return s.life.RUnlock, nil
}

// Close waits for what runs and closes the database. Without a Close nothing
// that was acknowledged is lost.
func (s *Store) Close() error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// Version is the version of the Pebble module, "v2.1.7".
func (s *Store) Version() string { return buildinfo.ModuleVersion("github.com/cockroachdb/pebble/v2") }

// Refused is how many commits got store.ErrBusy because MaxInFlight were in work.
func (s *Store) Refused() int64 { return s.refused.Load() }

// checkID refuses texts that the keys and rows of FORMAT.md have no room for.
func checkID(field, value string, maxBytes int) error {
	if len(value) > maxBytes {
		return fmt.Errorf("%s of %d bytes, at most %d: %w", field, len(value), maxBytes, ErrTooLarge)
	}
	return nil
}

func checkCurrency(c postback.Currency) error {
	if c == (postback.Currency{}) {
		return nil
	}
	if _, err := postback.ParseCurrency(c[:]); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}
