package pebbledb

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/store"
)

// clicksPerTable bounds one table of a load: about 50 MB.
const clicksPerTable = 1 << 20

// LoadClicks stores all clicks or, at the first error of the sequence, none;
// it returns the number of rows. A click that is loaded again is replaced.
//
// Millions of clicks fit no single write, so they are collected in memory,
// where they are needed anyhow, written as sorted tables beside the database,
// and taken in all at once: killed at any moment, the store has all or none.
func (s *Store) LoadClicks(ctx context.Context, clicks iter.Seq2[store.Click, error]) (int64, error) {
	n, err := s.loadClicks(ctx, clicks)
	if err != nil {
		return 0, fmt.Errorf("load clicks: %w", err)
	}
	return n, nil
}

func (s *Store) loadClicks(ctx context.Context, clicks iter.Seq2[store.Click, error]) (n int64, err error) {
	leave, err := s.enter()
	if err != nil {
		return 0, err
	}
	defer leave()
	if err := s.loads.takeWithin(ctx); err != nil {
		return 0, err
	}
	defer s.loads.give()
	// Only loads write these maps, and this is the only one.
	staged, offers := map[string]click{}, map[string]*offer{}
	n, err = each(ctx, clicks, func(c store.Click) error {
		if err := stage(staged, offers, s.offers, &c); err != nil {
			return err
		}
		if len(staged)+len(s.clicks) > MaxClicks {
			return fmt.Errorf("more than %d clicks: %w", MaxClicks, ErrTooLarge)
		}
		return nil
	})
	if err != nil || n == 0 {
		return 0, err
	}
	if err := s.ingest(ctx, staged); err != nil {
		return 0, err
	}
	s.showClicks(staged, offers)
	return n, nil
}

func stage(staged map[string]click, fresh, known map[string]*offer, c *store.Click) error {
	if err := checkID("click_id", c.ClickID, postback.MaxClickIDBytes); err != nil {
		return err
	}
	if err := checkID("offer_id", c.OfferID, postback.MaxOfferIDBytes); err != nil {
		return err
	}
	o := known[c.OfferID]
	if o == nil {
		o = fresh[c.OfferID]
	}
	if o == nil {
		o = &offer{id: c.OfferID}
		fresh[c.OfferID] = o
	}
	staged[c.ClickID] = click{o, c.ClickedUnixS}
	return nil
}

// showClicks lets the readers see the staged clicks. Merging goes on aside, so
// that nobody waits for more than the exchange of a map.
func (s *Store) showClicks(staged map[string]click, offers map[string]*offer) {
	if len(s.clicks) > 0 {
		merged := maps.Clone(s.clicks)
		maps.Copy(merged, staged)
		staged = merged
	}
	s.population.Lock()
	defer s.population.Unlock()
	maps.Copy(s.offers, offers)
	s.clicks = staged
}

// ingest writes the clicks as tables and has the database take them in.
func (s *Store) ingest(ctx context.Context, staged map[string]click) (err error) {
	dir := filepath.Join(s.options.Dir, loadingDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ids := slices.Sorted(maps.Keys(staged))
	var paths []string
	for part := range slices.Chunk(ids, clicksPerTable) {
		if ctx.Err() != nil {
			return busy(ctx)
		}
		path := filepath.Join(dir, fmt.Sprintf("%06d.sst", len(paths)+1))
		if err := s.writeTable(path, part, staged); err != nil {
			return err
		}
		paths = append(paths, path)
	}
	// From here on it is done, whether or not the caller still waits.
	return s.db.Ingest(context.WithoutCancel(ctx), paths)
}

func (s *Store) writeTable(path string, ids []string, staged map[string]click) (err error) {
	file, err := vfs.Default.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	options := sstable.WriterOptions{TableFormat: s.db.TableFormat(), BlockSize: blockBytes}
	table := sstable.NewWriter(objstorageprovider.NewFileWritable(file), options)
	defer func() { // syncs and closes the file
		if closed := table.Close(); err == nil {
			err = closed
		}
	}()
	var key, value []byte
	for _, id := range ids {
		c := staged[id]
		key, value = appendText(key[:0], prefixClick, id), appendClick(value[:0], c.offer.id, c.clickedUnixS)
		if err := table.Set(key, value); err != nil {
			return err
		}
	}
	return nil
}
