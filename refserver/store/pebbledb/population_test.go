package pebbledb_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/store"
	"github.com/postbench/postbench/refserver/store/pebbledb"
	"github.com/postbench/postbench/refserver/store/storetest"
)

// generation is n clicks "click-0" and so on, all of one second.
func generation(n int, clickedUnixS int64) iter.Seq2[store.Click, error] {
	return func(yield func(store.Click, error) bool) {
		for i := range n {
			if !yield(store.Click{ClickID: fmt.Sprintf("click-%d", i), OfferID: storetest.FreeOffer, ClickedUnixS: clickedUnixS}, nil) {
				return
			}
		}
	}
}

// readGeneration is the second that all of n clicks carry, 0 if there are
// none; a mixture is an error.
func readGeneration(t *testing.T, s *pebbledb.Store, n int) int64 {
	t.Helper()
	first, err := s.Attribute(t.Context(), "click-0")
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if got, err := s.Attribute(t.Context(), fmt.Sprintf("click-%d", i)); err != nil || got != first {
			t.Fatalf("click %d: %+v, %v; click 0: %+v", i, got, err, first)
		}
	}
	return first.ClickedUnixS
}

func TestLoadClicksTwice(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for generationS := int64(1); generationS <= 2; generationS++ {
		if n, err := s.LoadClicks(t.Context(), generation(5_000, generationS)); n != 5_000 || err != nil {
			t.Fatal(n, err)
		}
	}
	for range 2 {
		if got := readGeneration(t, s, 5_000); got != 2 {
			t.Errorf("generation %d", got)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// A load whose sequence breaks or whose caller gives up leaves nothing, also
// not after the store is opened again.
func TestBrokenLoad(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := s.LoadClicks(t.Context(), generation(100, 1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	given := 0
	givesUp := func(yield func(store.Click, error) bool) {
		for c := range generation(5_000, 2) {
			if given++; given == 3_000 {
				cancel()
			}
			if !yield(c, nil) {
				return
			}
		}
	}
	if _, err := s.LoadClicks(ctx, givesUp); !errors.Is(err, store.ErrBusy) || given > 4_200 {
		t.Errorf("given up: %v after %d rows", err, given)
	}
	long := []store.Click{{ClickID: "click-0"}, {ClickID: strings.Repeat("x", postback.MaxClickIDBytes+1)}}
	if _, err := s.LoadClicks(t.Context(), storetest.Rows(long, nil)); !errors.Is(err, pebbledb.ErrTooLarge) {
		t.Errorf("too long: %v", err)
	}
	keys := []store.Key{{KID: "k", Secret: []byte("s")}}
	if _, err := s.LoadKeys(t.Context(), storetest.Rows(keys, errors.New("line 2"))); err == nil {
		t.Error("a broken load of keys went through")
	}
	if _, err := s.LoadKeys(ctx, storetest.Rows(keys, nil)); !errors.Is(err, store.ErrBusy) {
		t.Errorf("keys, given up: %v", err)
	}
	for range 2 {
		if got := readGeneration(t, s, 100); got != 1 {
			t.Errorf("generation %d", got)
		}
		if keys, err := s.Keys(t.Context()); len(keys) != 0 || err != nil {
			t.Errorf("keys %v, %v", keys, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// What a killed load left beside the database goes away.
func TestLeftoverTables(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "loading"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "loading", "000001.sst"), []byte("half a table"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	defer s.Close()
	if _, err := os.Stat(filepath.Join(dir, "loading")); !os.IsNotExist(err) {
		t.Errorf("still there: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	held := t.TempDir()
	s := open(t, held)
	defer s.Close()
	for name, dir := range map[string]string{"a file in the way": file, "open already": held} {
		_, err := pebbledb.Open(t.Context(), pebbledb.Options{Dir: dir, Now: time.Now})
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: want an error of one line, got %v", name, err)
		}
	}
}
