package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/postbench/postbench/reports"
)

// The exit codes of every command (DESIGN §7).
const (
	exitFine         = 0
	exitFailed       = 1 // a gate, an SLO or an expectation failed
	exitUsage        = 2 // bad input or usage; nothing was measured
	exitInconclusive = 3
	exitInvalid      = 4 // the measurement cannot be trusted
)

// exitError carries an exit code with an error.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// invalid makes an error that ends the program with exit code 4.
func invalid(format string, args ...any) error {
	return &exitError{code: exitInvalid, err: fmt.Errorf(format, args...)}
}

// untrusted is the end of a measurement that says nothing about the server.
func untrusted(v *reports.Variant) error {
	return invalid("%s cannot be trusted: %s", v.Name, strings.Join(v.Validity.Reasons, "; "))
}

// exitCode is the program's exit code for an error. Errors are bad input
// unless they say otherwise: everything that can fail later is marked.
func exitCode(err error) int {
	var e *exitError
	switch {
	case err == nil:
		return exitFine
	case errors.As(err, &e):
		return e.code
	}
	return exitUsage
}
