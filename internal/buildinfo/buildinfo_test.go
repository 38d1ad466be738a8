package buildinfo

import "testing"

func TestModuleVersionOfAStranger(t *testing.T) {
	if got := ModuleVersion("example.com/not/in/this/build"); got != "unknown" {
		t.Errorf("version %q", got)
	}
}
