package pebbledb

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
)

// What Pebble may use, and how.
const (
	// memTableBytes holds some 40,000 conversions: small enough to stay near
	// the core, since every new identity is looked up and inserted there. Half
	// of it exceeds the largest batch, so no commit ever takes Pebble's slow
	// path for large batches.
	memTableBytes = 16 << 20
	// maxMemTables may wait for their flush before writers have to.
	maxMemTables = 4
	// cacheBytes includes the tables in memory, which Pebble takes out of it.
	// The rest holds the filters of some 80 million identities: a filter that has
	// to be read again for each lookup makes commits a hundred times slower.
	cacheBytes   = 192 << 20
	maxOpenFiles = 512
	// bloomBitsPerKey lets one in a hundred lookups of a new identity read a
	// block in vain.
	bloomBitsPerKey = 10
	// l0StopWrites lets a burst run ahead of the compactions: a further table
	// costs a lookup in its filter, a stop costs everything.
	l0StopWrites   = 32
	baseLevelBytes = 256 << 20
	blockBytes     = 16 << 10
	// maxCompactions leaves a core of two to the work.
	maxCompactions = 1
)

func openEngine(dir string, log *slog.Logger) (*pebble.DB, error) {
	options := &pebble.Options{
		CacheSize:                   cacheBytes,
		MaxOpenFiles:                maxOpenFiles,
		MemTableSize:                memTableBytes,
		MemTableStopWritesThreshold: maxMemTables,
		L0StopWritesThreshold:       l0StopWrites,
		LBaseMaxBytes:               baseLevelBytes,
		CompactionConcurrencyRange:  func() (lower, upper int) { return 1, maxCompactions },
		// Named, so that a newer Pebble does not change the files silently.
		FormatMajorVersion: pebble.FormatValueSeparation,
		Logger:             newLogger(log),
	}
	for i := range options.Levels {
		options.Levels[i].BlockSize = blockBytes
		options.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBitsPerKey)
		options.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.SnappyCompression }
	}
	// Nearly all lookups are for identities that are not there: nothing is
	// learnt from them about what should be compacted.
	options.Experimental.ReadSamplingMultiplier = -1
	return pebble.Open(dir, options)
}

// engineLogger forwards what Pebble has to say.
type engineLogger struct{ log *slog.Logger }

func newLogger(log *slog.Logger) engineLogger {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return engineLogger{log}
}

// Infof implements pebble.Logger. Pebble tells each flush and compaction.
func (l engineLogger) Infof(format string, args ...any) { l.write(slog.LevelDebug, format, args) }

// Errorf implements pebble.Logger.
func (l engineLogger) Errorf(format string, args ...any) { l.write(slog.LevelError, format, args) }

// Fatalf implements pebble.Logger, which must not return: Pebble calls it
// when its state in memory can no longer be that of the disk, often on a
// goroutine of its own, where no error can be returned to anybody.
func (l engineLogger) Fatalf(format string, args ...any) {
	l.write(slog.LevelError, format, args)
	panic("pebbledb: the storage engine cannot go on: " + fmt.Sprintf(format, args...))
}

func (l engineLogger) write(level slog.Level, format string, args []any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, "pebble: "+fmt.Sprintf(format, args...))
	}
}
