// Package buildinfo tells what this program was built from.
package buildinfo

import "runtime/debug"

// ModuleVersion is the version of a library in this build, "v2.1.7"; "unknown"
// for one that is not in it, and in test binaries, which list none.
func ModuleVersion(path string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == path {
				return module.Version
			}
		}
	}
	return "unknown"
}
