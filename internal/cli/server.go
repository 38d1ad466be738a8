package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/postbench/postbench/internal/proc"
	"github.com/postbench/postbench/refserver"
	"github.com/postbench/postbench/reports"
)

const (
	serverReadyTimeout = 20 * time.Second
	serverStopTimeout  = 10 * time.Second
	// serverNice gives the generator precedence where both want the same core:
	// its lateness would otherwise be charged to the server.
	serverNice = 5
)

// server is a reference server that runs as a child process.
type server struct{ child *proc.Child }

// startServer runs the composition in a process of its own, with everything
// that it writes below dir.
func startServer(ctx context.Context, composition refserver.Composition, dir string, log io.Writer) (*server, *target, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, nil, fmt.Errorf("find this program: %w", err)
	}
	document, err := yaml.Marshal(composition)
	if err != nil {
		return nil, nil, fmt.Errorf("write the composition: %w", err)
	}
	file := filepath.Join(dir, "variant.yaml")
	if err := os.WriteFile(file, document, 0o600); err != nil {
		return nil, nil, fmt.Errorf("write the composition: %w", err)
	}
	child, err := proc.Start(ctx, proc.Spec{
		Name: "server " + composition.Name, Path: program, Log: log,
		Args:         []string{"serve", "--variant", file, "--addr", "127.0.0.1:0", "--data", filepath.Join(dir, "data"), "--as-child"},
		Nice:         serverNice,
		ReadyTimeout: serverReadyTimeout, StopTimeout: serverStopTimeout,
	})
	if err != nil {
		return nil, nil, err
	}
	base := "http://" + child.Addr()
	to := &target{
		connection: connection{origin: base}, ledger: base + "/ledger", caps: base, clock: base + "/clock",
		populate: base + "/population", client: newHTTPClient(nil), cpu: child.CPUTime,
	}
	if to.components, err = to.askComponents(ctx); err != nil {
		return nil, nil, errors.Join(err, child.Stop(context.WithoutCancel(ctx)))
	}
	return &server{child: child}, to, nil
}

// askComponents asks a reference server what it really runs on.
func (to *target) askComponents(ctx context.Context) ([]reports.Component, error) {
	ctx, cancel := context.WithTimeout(ctx, httpTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, to.origin+"/components", nil)
	if err != nil {
		return nil, err
	}
	response, err := to.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask the server for its components: %w", err)
	}
	defer response.Body.Close()
	var list []reports.Component
	if err := json.NewDecoder(response.Body).Decode(&list); err != nil {
		return nil, fmt.Errorf("ask the server for its components: %w", err)
	}
	return list, nil
}

// stop ends the server in order.
func (s *server) stop(ctx context.Context) error {
	if err := s.child.Stop(ctx); err != nil {
		return fmt.Errorf("stop the server: %w", err)
	}
	return nil
}
