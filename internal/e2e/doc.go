// Package e2e holds the end-to-end tests: they build postbench, run it as real
// processes against targets that misbehave in known ways, and hold what it
// reports against what the targets know they did.
package e2e
