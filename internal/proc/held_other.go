//go:build !linux

package proc

import "syscall"

// dieWithParent does nothing here: only the lifeline ends an orphaned child, and
// one that hangs outlives its parent.
func dieWithParent(*syscall.SysProcAttr) {}

// awaitExit cannot be done here: darwin's waitid returns for a merely stopped
// process too (golang/go#19314).
func awaitExit(int) bool { return false }

// lowerPriority has no effect here: priorities belong to processes.
func lowerPriority(int) {}
