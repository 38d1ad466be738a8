package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/postbench/postbench/internal/machine"
	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver"
	"github.com/postbench/postbench/refserver/cost"
)

// measureAt measures the composition in a server of its own, or the target
// when there is none. The run's memory is kept at statePath, or nowhere for
// longer than the measurement when that is empty.
func measureAt(ctx context.Context, p *plan, round uint32, c *refserver.Composition, to *target, set *settings, dir *outDir, statePath string) (*measurement, error) {
	scratch, err := dir.scratch()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	if statePath == "" {
		statePath = filepath.Join(scratch, stateFile)
	}
	if c == nil {
		return p.measure(ctx, round, to, set, statePath)
	}
	if c.External != nil {
		return measureExternal(ctx, p, round, c, set, scratch, statePath)
	}
	extras, err := p.serverExtras(c)
	if err != nil {
		return nil, err
	}
	s, own, err := startServer(ctx, *c, scratch, set, p.spec.Seed, extras)
	if err != nil {
		return nil, err
	}
	own.faults = append(own.faults, p.slowPhase()...)
	m, err := p.measure(ctx, round, own, set, statePath)
	if m != nil {
		m.inMemory = machine.InMemory(scratch)
	}
	stopErr := s.stop(context.WithoutCancel(ctx))
	switch {
	case stopErr == nil:
		return m, err
	case err != nil:
		return nil, fmt.Errorf("%w; %w", err, stopErr)
	}
	m.doubts.server = append(m.doubts.server, stopErr.Error())
	return m, nil
}

// serverExtras are what the profile and the partners ask of a server of ours.
func (p *plan) serverExtras(c *refserver.Composition) (serverExtras, error) {
	extras := serverExtras{TLS: p.profile.TLS}
	var err error
	if extras.Dialects, err = p.dialects(); err != nil {
		return extras, err
	}
	choices := strings.Fields(c.Choices())
	for _, s := range p.profile.Stages {
		if points := s.PointsWith(choices); len(points) > 0 {
			extras.Costs = append(extras.Costs, cost.Spec{Stage: s.Name, Workers: s.Workers, Queue: s.Waiting(), Points: points})
		}
	}
	if network, ok := p.uplinkOf(c); ok {
		uplink := network.Spec()
		extras.Uplink = &uplink
	}
	return extras, nil
}

// dialects are what a server must know of the partners that write in their own
// way.
func (p *plan) dialects() ([]postback.Dialect, error) {
	secrets, err := p.generator(0)
	if err != nil {
		return nil, err
	}
	list := []postback.Dialect{}
	for i := range p.scenario.Partners {
		partner := &p.scenario.Partners[i]
		if dialect, ok := partner.Habits.Dialect(partner.Name, secrets.Secret(partner.Name)); ok {
			list = append(list, dialect)
		}
	}
	return list, nil
}

// slowPhase is the scenario's: a fault of the reference server.
func (p *plan) slowPhase() []plannedFault {
	slow := p.scenario.ServerSlow
	if slow == nil {
		return nil
	}
	return []plannedFault{{at: time.Duration(slow.At),
		Fault: refserver.Fault{Do: refserver.FaultSlow, AddNs: int64(slow.Add), ForNs: int64(slow.For)}}}
}

// durability is what an ack of the composition promised in this measurement: a
// server whose data lay in memory survived nothing but its own processes' death.
func (m *measurement) durability(c *refserver.Composition) string {
	class := c.Durability()
	for _, component := range m.components {
		if component.Role == "redis" && component.Embedded && c.Answer == refserver.AnswerAfterBuffer {
			return "D0" // a stand-in keeps nothing on a disk
		}
	}
	if !m.inMemory || class < "D1" {
		return class
	}
	return "D1"
}
