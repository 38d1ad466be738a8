package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/postbench/postbench/internal/proc"
	"github.com/postbench/postbench/refserver"
	"github.com/postbench/postbench/reports"
)

// current is the living child, or the last one.
func (s *server) current() *proc.Child {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.child
}

// cpuTime is that of the children that died on purpose and of the present one.
func (s *server) cpuTime() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pastCPU + s.child.CPUTime()
}

// restart kills the server as a whole, its databases included, and starts it
// again after a while on the same data, at the same addresses. It returns when
// the server serves again.
func (s *server) restart(ctx context.Context, down time.Duration) error {
	old := s.current()
	if err := old.Kill(); err != nil {
		return fmt.Errorf("kill the server: %w", err)
	}
	<-old.Done()
	timer := time.NewTimer(down)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	// Started even when the run has been cut short: the ledger is read next.
	child, err := proc.Start(context.WithoutCancel(ctx), s.again(old))
	if err != nil {
		return fmt.Errorf("start the server again: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pastCPU += old.CPUTime()
	s.child = child
	return nil
}

// forget drops what was counted across the death of the whole server: its
// counts, and those of its databases, began anew.
func (m *measurement) forget() {
	if slices.ContainsFunc(m.faults, func(f reports.Fault) bool {
		return f.Process == processName(roleServer, 0) && f.Do == refserver.FaultKill
	}) {
		m.sqlQueries, m.goWork, m.serverCPUS = nil, nil, -1
	}
}

// again is how the server is started where the old one was.
func (s *server) again(old *proc.Child) proc.Spec {
	spec := s.spec
	spec.Args = append([]string{}, spec.Args...)
	for i, arg := range spec.Args {
		if arg == "--addr" {
			spec.Args[i+1] = old.Addr()
		}
	}
	spec.Args = append(spec.Args, "--admin", old.Also(adminName))
	return spec
}
