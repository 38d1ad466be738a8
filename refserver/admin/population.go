package admin

import (
	"context"
	"io"
	"iter"
	"net/http"
	"time"

	"github.com/postbench/postbench/refserver/store"
)

const (
	// maxPopulationBytes bounds one upload: some 40 million clicks.
	maxPopulationBytes = 2 << 30
	// maxDrainBytes is how much of a refused upload is read on: a client that
	// is still sending would otherwise see a reset instead of the reason.
	maxDrainBytes = 64 << 20
)

func (a *Admin) loadClicks(w http.ResponseWriter, r *http.Request) error {
	return populate(w, r, clickTable(), a.config.Population.LoadClicks)
}

func (a *Admin) loadOffers(w http.ResponseWriter, r *http.Request) error {
	return populate(w, r, offerTable(), a.config.Population.LoadOffers)
}

func (a *Admin) loadKeys(w http.ResponseWriter, r *http.Request) error {
	return populate(w, r, keyTable(), func(ctx context.Context, keys iter.Seq2[store.Key, error]) (int64, error) {
		loaded, err := a.config.Keys.LoadKeys(ctx, keys)
		if err != nil {
			return 0, err
		}
		if a.config.OnKeys == nil {
			return loaded, nil
		}
		return loaded, a.config.OnKeys(ctx)
	})
}

// populate streams a file into the store and answers how many rows it had. A
// bad line is answered 400 with its number, and nothing is loaded.
func populate[T any](w http.ResponseWriter, r *http.Request, t table[T], load func(context.Context, iter.Seq2[T, error]) (int64, error)) error {
	control := http.NewResponseController(w)
	rows := t.rows(http.MaxBytesReader(w, r.Body, maxPopulationBytes))
	loaded, err := load(r.Context(), keepAlive(control, rows))
	if err != nil {
		_, _ = io.CopyN(io.Discard, r.Body, maxDrainBytes)
		return err
	}
	if err := control.SetWriteDeadline(time.Now().Add(stallLimit)); err != nil { // the commit took its time
		return err
	}
	writeJSON(w, struct {
		Loaded int64 `json:"loaded"`
	}{loaded})
	return nil
}

// keepAlive moves the connection's deadlines on while rows keep coming: the
// server's own would cut off a large population.
func keepAlive[T any](control *http.ResponseController, rows iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		n := 0
		for row, err := range rows {
			if n%progressRows == 0 && err == nil {
				deadline := time.Now().Add(stallLimit)
				if err = control.SetReadDeadline(deadline); err == nil {
					err = control.SetWriteDeadline(deadline)
				}
			}
			n++
			if !yield(row, err) {
				return
			}
		}
	}
}
