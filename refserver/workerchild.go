package refserver

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/postbench/postbench/internal/proc"
	"github.com/postbench/postbench/refserver/admin"
	"github.com/postbench/postbench/refserver/parts"
	"github.com/postbench/postbench/refserver/worker"
)

// workerCounts are what the supervisor asks a Worker's process for.
type workerCounts struct {
	Component admin.Component `json:"component"`
	CPUNs     int64           `json:"cpu_ns"` // of workerd alone
	worker.Counts
}

// runWorker runs workerd in front of the edges. When workerd ends, this process
// does, and is started again.
func runWorker(ctx context.Context, c *RoleConfig, log *slog.Logger, ready func(string)) (err error) {
	dir, err := proc.NewRunDir("")
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, dir.Close()) }()
	keys, err := readKeys(c.KeysFile)
	if err != nil {
		return err
	}
	w, err := worker.Start(ctx, worker.Config{
		Runtime: parts.Runtime{Dir: dir.Path(), Log: logWriter{log}, Guard: c.Guard, GuardSweep: c.GuardSweep},
		Addr:    c.Addr, TLSAddr: c.TLSAddr, TLSCertFile: c.TLSCertFile, TLSKeyFile: c.TLSKeyFile,
		Edge: c.EdgeAddr, Token: c.Verified, Dialects: c.Dialects, Keys: keys,
	})
	if err != nil {
		return err
	}
	stop := func() error {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainLimit)
		defer cancel()
		return w.Stop(stopping)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /counts", answerJSON(func(ctx context.Context) (any, error) {
		counts, err := w.Counts(ctx)
		return workerCounts{w.Component(), int64(w.CPUTime()), counts}, err
	}))
	mux.HandleFunc("POST /reload", answerJSON(func(context.Context) (any, error) {
		keys, err := readKeys(c.KeysFile)
		return struct{}{}, cmp.Or(err, w.SetKeys(keys))
	}))
	if _, err := serveControl(ctx, c.Control, mux); err != nil {
		return errors.Join(err, stop())
	}
	ready(c.Addr)
	select {
	case <-ctx.Done():
		return stop()
	case <-w.Done():
		return cmp.Or(w.Err(), errors.New("workerd has ended"))
	}
}

// logWriter hands what a program writes to the log, a line an entry.
type logWriter struct{ log *slog.Logger }

// Write implements io.Writer; it never fails.
func (w logWriter) Write(p []byte) (int, error) {
	w.log.Warn("workerd", "says", string(p))
	return len(p), nil
}
