package cli

import (
	"context"
	"net"
	"slices"
	"time"

	"github.com/postbench/postbench/internal/netem"
	"github.com/postbench/postbench/profiles"
	"github.com/postbench/postbench/refserver"
)

// ways are the emulated network paths of one measurement, by the name of their
// network. Without any, nothing is shaped.
type ways struct {
	at      place // of what answers
	network *netem.Network
	paths   map[string]*netem.Path
	names   []string // in order of first use
	partner []string // name of each partner's path, "" for none
}

// place is where the process stands that answers partners.
type place int

const (
	atCentral place = iota
	atEdge          // the nearest to the partner
	atPartner       // a proxy in the partner's own data centre
)

// placeOf is where the composition answers partners.
func placeOf(c *refserver.Composition) place {
	switch {
	case c == nil || c.External != nil || c.Uplink == refserver.None:
		return atCentral
	case c.Place == refserver.PlacePartner:
		return atPartner
	}
	return atEdge
}

// openWays opens the paths of the plan's partners to what answers them.
func (p *plan) openWays(at place, round uint32) (*ways, error) {
	w := &ways{at: at, paths: map[string]*netem.Path{}}
	for i := range p.scenario.Partners {
		network, ok := p.networkOf(i, at)
		if !ok {
			w.partner = append(w.partner, "")
			continue
		}
		w.partner = append(w.partner, network.Name)
		if w.paths[network.Name] != nil {
			continue
		}
		if w.network == nil {
			w.network = netem.NewNetwork(p.spec.Seed ^ uint64(p.spec.RunNumber+round+1)<<32)
		}
		path, err := w.network.Path(network.Spec())
		if err != nil {
			w.close()
			return nil, err
		}
		w.paths[network.Name] = path
		w.names = append(w.names, network.Name)
	}
	return w, nil
}

// networkOf is the network between a partner and the server; false when the
// profile shapes nothing.
func (p *plan) networkOf(partner int, at place) (profiles.Network, bool) {
	paths, ok := p.profile.Region(p.scenario.Partners[partner].Region)
	switch {
	case at == atCentral:
		return paths.CentralNetwork, ok
	case at == atPartner && p.profile.Proxy != nil:
		return p.profile.Proxy.PartnerNetwork, ok
	}
	return paths.EdgeNetwork, ok
}

// uplinkOf is the network between edges and central; false when nothing is
// shaped or there is no way between them.
func (p *plan) uplinkOf(c *refserver.Composition) (profiles.Network, bool) {
	switch at := placeOf(c); {
	case at == atCentral:
		return profiles.Network{}, false
	case at == atPartner && p.profile.Proxy != nil:
		return p.profile.Proxy.UplinkNetwork, true
	}
	return p.profile.UplinkNetwork, p.profile.Uplink != ""
}

// close ends what is left of the connections.
func (w *ways) close() {
	if w.network != nil {
		w.network.Close() // what it cannot end is gone with the run
	}
}

// dial is what a partner connects by; nil without a path.
func (w *ways) dial(partner int) func(ctx context.Context, network, address string) (net.Conn, error) {
	if path := w.paths[w.partner[partner]]; path != nil {
		return path.Dial
	}
	return nil
}

// resolve is a partner's DNS cache; nil without a path.
func (w *ways) resolve(partner int, ttl time.Duration) func(ctx context.Context) (looked bool, err error) {
	if path := w.paths[w.partner[partner]]; path != nil {
		return path.Resolver(ttl).Resolve
	}
	return nil
}

// truths is what the paths did, in the order of names.
func (w *ways) truths() []netem.Truth {
	var list []netem.Truth
	for _, name := range w.names {
		list = append(list, w.paths[name].Truth())
	}
	return list
}

// on lists the partners of a path.
func (w *ways) on(name string) []int {
	var list []int
	for i, n := range w.partner {
		if n == name {
			list = append(list, i)
		}
	}
	return slices.Clip(list)
}
