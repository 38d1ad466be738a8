package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/postbench/postbench/internal/proc"
	"github.com/postbench/postbench/reports"
)

// outDir is where a run keeps its files: the user's --out, or a private
// directory that is removed.
type outDir struct {
	path string
	temp *proc.RunDir
	own  bool // path is the user's
	made bool // and was not there before
	kept bool
}

// openOut makes a new directory; an old run is never written over.
func openOut(path string) (*outDir, error) {
	temp, err := proc.NewRunDir(os.TempDir())
	if err != nil {
		return nil, fmt.Errorf("make a run directory: %w", err)
	}
	proc.Sweep(memoryDir) // lanes of a killed predecessor
	d := &outDir{path: temp.Path(), temp: temp}
	if path == "" {
		return d, nil
	}
	for _, name := range []string{resultFile, manifestFile, stateFile} {
		if _, err := os.Stat(filepath.Join(path, name)); err == nil {
			temp.Close()
			return nil, fmt.Errorf("--out: %s already holds a run (%s); name another directory", path, name)
		}
	}
	_, err = os.Stat(path)
	made := errors.Is(err, os.ErrNotExist)
	if err := os.MkdirAll(path, 0o755); err != nil {
		temp.Close()
		return nil, fmt.Errorf("--out: %w", err)
	}
	d.path, d.own, d.made = path, true, made
	return d, nil
}

func (d *outDir) statePath() string { return filepath.Join(d.path, stateFile) }

// scratch makes a directory for one measurement.
func (d *outDir) scratch() (string, error) { return os.MkdirTemp(d.temp.Path(), "round-") }

// keep writes the result whole, or nothing.
func (d *outDir) keep(p *plan, m *measurement, result reports.Result) error {
	if !d.own {
		return nil
	}
	if p.replay != nil {
		// Whose rows recorded postbacks cause cannot be told: nothing to audit.
		os.Remove(d.statePath())
	} else if err := saveManifest(d.path, p, m); err != nil {
		return err
	}
	if err := reports.WriteFile(filepath.Join(d.path, resultFile), result); err != nil {
		return err
	}
	d.kept = true
	return nil
}

// discard removes everything that was not kept.
func (d *outDir) discard() {
	if d.own && !d.kept {
		os.Remove(d.statePath())
		os.Remove(filepath.Join(d.path, manifestFile))
	}
	if d.made && !d.kept {
		os.Remove(d.path) // only if it is empty
	}
	d.temp.Close()
}

// keepResult writes the result of a comparison, which has no state to keep.
func (d *outDir) keepResult(result reports.Result) error {
	if !d.own {
		return nil
	}
	if err := reports.WriteFile(filepath.Join(d.path, resultFile), result); err != nil {
		return err
	}
	d.kept = true
	return nil
}
