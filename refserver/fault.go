package refserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/postbench/postbench/refserver/cost"
)

// What a Fault does.
const (
	FaultKill = "kill" // SIGKILL
	FaultStop = "stop" // SIGSTOP
	FaultSlow = "slow" // answers come later
)

// Fault is something done to a process on purpose.
type Fault struct {
	Do string `json:"do"` // one of the Fault… above
	// Role and Node name the process. To slow down they may be left out, which
	// means all edges; a server in one process needs neither.
	Role Role `json:"role"`
	Node int  `json:"node"`
	// ForNs is how long a killed process is held down, a stopped one stands,
	// and for how long what comes to a slow one waits AddNs first, at most
	// cost.MaxSlow. Another slow replaces it; one of 0 ends it. A process that
	// was started again is not slow any more.
	ForNs int64 `json:"for_ns"`
	AddNs int64 `json:"add_ns,omitempty"`
}

// maxFaultBytes bounds the request that asks for a fault.
const maxFaultBytes = 4 << 10

var errFault = errors.New("no such fault")

// takeFault is the handler that does what a POST asks for.
func takeFault(inject func(context.Context, *Fault) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var f Fault
		if err := json.NewDecoder(io.LimitReader(r.Body, maxFaultBytes)).Decode(&f); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := inject(r.Context(), &f); err != nil {
			status := http.StatusConflict
			if errors.Is(err, errFault) || errors.Is(err, cost.ErrSlow) {
				status = http.StatusBadRequest
			}
			http.Error(w, err.Error(), status)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *supervisor) inject(ctx context.Context, f *Fault) error {
	if f.Do == FaultSlow {
		return s.slow(ctx, f)
	}
	for _, p := range s.of(f.Role) {
		if p.node != f.Node {
			continue
		}
		switch f.Do {
		case FaultKill:
			return p.kill(time.Duration(f.ForNs))
		case FaultStop:
			return p.pause(time.Duration(f.ForNs))
		}
		return fmt.Errorf("%q: %w; want %s, %s or %s", f.Do, errFault, FaultKill, FaultStop, FaultSlow)
	}
	var running []string
	for _, p := range s.processes {
		running = append(running, fmt.Sprintf("%s/%d", p.role, p.node))
	}
	return fmt.Errorf("%s/%d: %w; this server has %s", f.Role, f.Node, errFault, strings.Join(running, ", "))
}

// slow slows one edge down, or all of them.
func (s *supervisor) slow(ctx context.Context, f *Fault) error {
	if f.Role != "" && (f.Role != RoleEdge || f.Node < 0 || f.Node >= len(s.nodes)) {
		return fmt.Errorf("slow %s/%d: %w; only the %d edges answer partners", f.Role, f.Node, errFault, len(s.nodes))
	}
	if err := cost.CheckSlow(f.AddNs, f.ForNs); err != nil {
		return err
	}
	body, err := json.Marshal(f)
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range s.of(RoleEdge) {
		if f.Role == "" || p.node == f.Node {
			errs = append(errs, p.control.post(ctx, "/chaos", bytes.NewReader(body)))
		}
	}
	return errors.Join(errs...)
}
