package cli

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/postbench/postbench/internal/proc"
	"github.com/postbench/postbench/refserver"
)

const (
	serverReadyTimeout = 90 * time.Second // databases recover from a kill first
	// serverStopTimeout is longer than a server takes to drain its processes.
	serverStopTimeout = 35 * time.Second
	// serverNice gives the generator precedence where both want the same core:
	// its lateness would otherwise be charged to the server.
	serverNice = 5
	// memoryDir is where shared memory lives on Linux.
	memoryDir = "/dev/shm"
)

// server is a reference server that runs as a child process.
type server struct {
	spec  proc.Spec
	lanes *proc.RunDir // nil without shared memory

	mu      sync.Mutex // guards what a restart changes
	child   *proc.Child
	pastCPU time.Duration // of the children before
}

// startServer runs the composition in a process of its own, with everything
// that it writes below dir but its lanes, which live in memory.
func startServer(ctx context.Context, composition refserver.Composition, dir string, set *settings, seed uint64, extras serverExtras) (*server, *target, error) {
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
	s := &server{}
	args := []string{"serve", "--variant", file, "--addr", "127.0.0.1:0", "--data", filepath.Join(dir, "data"), "--as-child"}
	args = append(args, set.disturb.serverArgs(&composition, seed)...)
	args = append(args, set.parts.serverArgs()...)
	more, roots, err := extras.write(dir)
	if err != nil {
		return nil, nil, err
	}
	args = append(args, more...)
	if composition.Buffer == refserver.BufferShm {
		if s.lanes, err = laneDir(); err != nil {
			return nil, nil, err
		}
		args = append(args, "--lanes", s.lanes.Path())
	}
	s.spec = proc.Spec{
		Name: "server " + composition.Name, Path: program, Log: set.stderr, Args: args, Env: set.parts.serverEnv(),
		Nice: serverNice, ReadyTimeout: serverReadyTimeout, StopTimeout: serverStopTimeout,
	}
	if s.child, err = proc.Start(ctx, s.spec); err != nil {
		return nil, nil, errors.Join(err, s.removeLanes())
	}
	to, err := s.target(ctx, &composition, set)
	if err == nil {
		to.secure(s.child, extras.TLS, roots)
	}
	if err != nil {
		return nil, nil, errors.Join(err, s.stop(context.WithoutCancel(ctx)))
	}
	return s, to, nil
}

// laneDir is a directory in memory, or an ordinary one where there is none.
func laneDir() (*proc.RunDir, error) {
	base := memoryDir
	if _, err := os.Stat(base); err != nil {
		base = ""
	}
	return proc.NewRunDir(base)
}

// target is the server as a measurement's target. The caps are asked of an
// edge, as a router would; the books of whoever answers while no edge lives.
func (s *server) target(ctx context.Context, composition *refserver.Composition, set *settings) (*target, error) {
	front, admin := "http://"+s.child.Addr(), "http://"+s.child.Also(adminName)
	to := &target{
		connection: connection{origin: front}, ledger: admin + "/ledger", caps: front, clock: admin + "/clock",
		populate: admin + "/population", client: newHTTPClient(nil), cpu: s.cpuTime,
		chaos: admin + "/chaos", stages: admin + "/stages", gc: admin + "/runtime", place: placeOf(composition),
	}
	if err := getJSON(ctx, to.client, admin+"/components", &to.components); err != nil {
		return nil, fmt.Errorf("ask the server for its components: %w", err)
	}
	if composition.Uplink == refserver.None {
		to.databases = admin + "/queries"
		to.cpu = to.cpuWithDatabases(ctx, s.cpuTime)
		to.faults, to.restart = set.disturb.serverFaults(), s.restart
	} else {
		to.cpu = func() time.Duration {
			var path serverPath
			if err := getJSON(context.WithoutCancel(ctx), to.client, admin+"/path", &path); err != nil {
				return -1
			}
			return s.cpuTime() + path.cpu()
		}
		to.path = admin + "/path"
		to.faults = set.disturb.faultsOf(composition)
		to.crash = set.disturb.crashOf(composition)
	}
	return to, nil
}

// secure fills in where the server speaks TLS and gRPC, if it does.
func (to *target) secure(child *proc.Child, tls bool, roots *x509.CertPool) {
	scheme := "http://"
	if tls {
		scheme = "https://"
		to.tlsOrigin, to.roots = scheme+child.Also(tlsName), roots
	}
	if addr := child.Also(grpcName); addr != "" {
		to.grpcOrigin = scheme + addr
	}
}

// getJSON reads what url answers into answer.
func getJSON(ctx context.Context, client *http.Client, url string, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, httpTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, maxReasonBytes))
		return fmt.Errorf("%s: %s: %s", url, response.Status, text)
	}
	return json.NewDecoder(response.Body).Decode(answer)
}

// maxReasonBytes is how much of a refusal an error repeats.
const maxReasonBytes = 200

// stop ends the server in order.
func (s *server) stop(ctx context.Context) error {
	err := s.current().Stop(ctx)
	if err != nil {
		proc.Sweep(os.TempDir()) // a server that was killed leaves its sockets behind
		err = fmt.Errorf("stop the server: %w", err)
	}
	return errors.Join(err, s.removeLanes())
}

func (s *server) removeLanes() error {
	if s.lanes == nil {
		return nil
	}
	return s.lanes.Close()
}
