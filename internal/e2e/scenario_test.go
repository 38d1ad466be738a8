package e2e

import "fmt"

// partnerFile is a partner profile: plain and patient unless lines say else.
func partnerFile(name, lines string) string {
	return fmt.Sprintf("name: %s\nabout: of a test\ntemplate: plain\nkeep_alive: true\n%s\n", name, lines)
}
