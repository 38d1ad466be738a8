package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/postbench/postbench/internal/machine"
	"github.com/postbench/postbench/refserver"
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
	s, own, err := startServer(ctx, *c, scratch, set, p.spec.Seed)
	if err != nil {
		return nil, err
	}
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
