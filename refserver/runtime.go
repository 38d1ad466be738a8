package refserver

import (
	"context"

	"github.com/postbench/postbench/internal/gostats"
)

// ProcessRuntime is what the Go runtime of a process that answers partners has
// counted.
type ProcessRuntime struct {
	Process string           `json:"process"` // "edge 0", "server"
	Pid     int              `json:"pid"`
	Runtime gostats.Snapshot `json:"runtime"`
}

// runtimes asks the edges. One that does not answer is left out.
func (s *supervisor) runtimes(ctx context.Context) (any, error) {
	list := []ProcessRuntime{}
	for _, p := range s.of(RoleEdge) {
		child := p.running()
		if child == nil {
			continue
		}
		of := ProcessRuntime{Process: p.name(), Pid: child.Pid()}
		if err := p.control.get(ctx, "/runtime", &of.Runtime); err == nil {
			list = append(list, of)
		}
	}
	return list, nil
}

// ownRuntime answers for this process alone.
func ownRuntime(context.Context) (any, error) { return gostats.Read(), nil }
