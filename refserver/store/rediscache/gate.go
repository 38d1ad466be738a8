package rediscache

import (
	"context"
	"fmt"
	"hash/maphash"

	"github.com/postbench/postbench/refserver/store"
)

const (
	// gateCount spreads the offers; two that meet at a gate only wait for each
	// other.
	gateCount = 256
	// gatePlaces bounds the conversions of a gate that are written at once. It
	// is more than the connections of any of our databases.
	gatePlaces = 64
)

// gates keep apart, offer by offer, what is being written and what is read to be
// kept.
type gates struct {
	seed maphash.Seed
	all  [gateCount]gate
}

// gate lets many share it, or one be alone. It is a lock whose wait has an end.
type gate struct {
	places chan struct{} // one token for each who shares, all for who is alone
	turn   chan struct{} // two who want all would wait for each other
}

func newGates() *gates {
	g := &gates{seed: maphash.MakeSeed()}
	for i := range g.all {
		g.all[i] = gate{places: make(chan struct{}, gatePlaces), turn: make(chan struct{}, 1)}
	}
	return g
}

func (g *gates) of(offerID string) *gate { return &g.all[maphash.String(g.seed, offerID)%gateCount] }

// share waits until nobody is alone. store.ErrBusy when ctx ends first.
func (g *gate) share(ctx context.Context) (leave func(), err error) {
	if err := enter(ctx, g.places); err != nil {
		return nil, err
	}
	return func() { <-g.places }, nil
}

// alone waits until everybody has left. Nobody enters meanwhile for longer than
// those who are in need to leave: the places are kept as they become free.
func (g *gate) alone(ctx context.Context) (leave func(), err error) {
	if err := enter(ctx, g.turn); err != nil {
		return nil, err
	}
	taken := 0
	leave = func() {
		for range taken {
			<-g.places
		}
		<-g.turn
	}
	for ; taken < gatePlaces; taken++ {
		if err := enter(ctx, g.places); err != nil {
			leave()
			return nil, err
		}
	}
	return leave, nil
}

func enter(ctx context.Context, places chan struct{}) error {
	select {
	case places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the offer in the cache: %w: %w", store.ErrBusy, ctx.Err())
	}
}
