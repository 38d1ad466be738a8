// Package worker runs a Cloudflare-style Worker in workerd in front of an edge
// process: the front "worker". Its JavaScript, beside this file, verifies the
// signatures of postbacks with WebCrypto and hands every request over to the
// edge, with a token where it has verified (edge.Config.Verified). The edge does
// everything else, and verifies for itself what comes without the token: a
// Worker that does not know a key yet refuses nobody, and all refusals are one
// process's, in its words and its counts.
package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/postbench/postbench/refserver/admin"
	"github.com/postbench/postbench/refserver/parts"
	"github.com/postbench/postbench/refserver/store"
)

const (
	program = "workerd"

	// readyLimit is how long workerd may take to start.
	readyLimit = 30 * time.Second
	// stopLimit is how long it may take to finish what it has begun.
	stopLimit = 5 * time.Second
	// controlLimit bounds a question to the Worker, 100,000 keys included.
	controlLimit = 10 * time.Second
	// versionLimit bounds the question for workerd's version.
	versionLimit = 10 * time.Second
	// maxControlBytes bounds the Worker's answers.
	maxControlBytes = 64 << 10
	// maxVersionBytes bounds what is believed of a version.
	maxVersionBytes = 64
	// maxSocketBytes is what a unix socket's path may have everywhere.
	maxSocketBytes = 103
)

var errControl = errors.New("the Worker refuses")

// Worker is a running workerd. Its methods may be called from any goroutine, and
// at any time.
type Worker struct {
	*parts.Process
	version string
	control http.Client
}

// Start writes the Worker into Runtime.Dir, starts workerd on it and returns when
// it serves. ctx limits only the waiting. The edge need not run yet: until it
// does, requests are answered 5xx. The error wraps parts.ErrMissing where workerd
// is not installed. After the end of workerd (Done), Start may be called again.
func Start(ctx context.Context, config Config) (*Worker, error) {
	w, err := start(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("start the edge worker: %w", err)
	}
	return w, nil
}

func start(ctx context.Context, config Config) (*Worker, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	path, err := parts.Look("", program)
	if err != nil {
		return nil, fmt.Errorf("%w (npm install --global workerd)", err)
	}
	socket, err := filepath.Abs(filepath.Join(config.Runtime.Dir, socketFile))
	if err != nil {
		return nil, err
	}
	if len(socket) > maxSocketBytes {
		return nil, fmt.Errorf("the path %s is too long for a socket: set TMPDIR to a directory with a shorter name", socket)
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) { // of a workerd before us
		return nil, err
	}
	if err := config.write(); err != nil {
		return nil, err
	}
	w := &Worker{control: http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
		DisableKeepAlives: true, // nothing is left open when workerd ends
	}}}
	if w.version, err = versionOf(ctx, path); err != nil {
		return nil, err
	}
	w.Process, err = parts.Start(ctx, config.Runtime, parts.Spec{
		Name: program, Programs: []string{program}, Args: []string{"serve", configFile, "config"},
		ReadyTimeout: readyLimit, StopTimeout: stopLimit,
		Probe: func(ctx context.Context) error {
			_, err := w.Counts(ctx)
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// versionOf asks a workerd for its version, such as "2026-11-17".
func versionOf(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, versionLimit)
	defer cancel()
	text, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", path, err)
	}
	version := strings.TrimSpace(strings.TrimPrefix(string(text), program))
	return version[:min(len(version), maxVersionBytes)], nil
}

// Component names what really runs.
func (w *Worker) Component() admin.Component {
	return admin.Component{Role: "worker", Implementation: program, Version: w.version}
}

// SetKeys replaces all keys at once: a request that begins after its return is
// verified with these. A key that postback.CheckKey refuses is an error, and
// leaves the keys as they were; so is a Worker that does not answer in time.
func (w *Worker) SetKeys(keys []store.Key) error {
	if err := checkKeys(keys); err != nil {
		return fmt.Errorf("edge worker: set keys: %w", err)
	}
	text, err := json.Marshal(wireKeys(keys))
	if err != nil {
		return fmt.Errorf("edge worker: set keys: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), controlLimit)
	defer cancel()
	if _, err := w.ask(ctx, http.MethodPut, "/keys", text); err != nil {
		return fmt.Errorf("edge worker: set keys: %w", err)
	}
	return nil
}

// Counts is what a Worker has handed over since its start, in requests.
type Counts struct {
	Verified   int64 `json:"verified"`   // the edge believes it
	Unverified int64 `json:"unverified"` // left for the edge to verify; partners without authentication, too
	Other      int64 `json:"other"`      // nothing to verify: unsigned postbacks and all other paths
	Failed     int64 `json:"failed"`     // of all these: the edge did not answer, or the Worker threw
}

// Counts asks the Worker.
func (w *Worker) Counts(ctx context.Context) (c Counts, err error) {
	ctx, cancel := context.WithTimeout(ctx, controlLimit)
	defer cancel()
	text, err := w.ask(ctx, http.MethodGet, "/counts", nil)
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		return Counts{}, fmt.Errorf("edge worker: counts: %w", err)
	}
	return c, nil
}

// ask asks on the Worker's own socket.
func (w *Worker) ask(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://worker"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	response, err := w.control.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxControlBytes))
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= http.StatusBadRequest {
		return nil, fmt.Errorf("%w %s %s: %s", errControl, method, path, response.Status)
	}
	return text, nil
}
