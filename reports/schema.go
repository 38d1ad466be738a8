package reports

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
)

//go:embed schema/result.v1.json
var resultV1 string

// SchemaNames returns the names that Schema knows, sorted.
func SchemaNames() []string { return []string{"result"} }

// Schema returns the published JSON Schema (draft 2020-12) of that name. The
// error of an unknown name lists the known ones.
func Schema(name string) ([]byte, error) {
	if !slices.Contains(SchemaNames(), name) {
		return nil, fmt.Errorf("no schema %q; there is: %s", name, strings.Join(SchemaNames(), ", "))
	}
	return []byte(resultV1), nil
}
