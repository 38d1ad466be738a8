package refserver

import (
	"embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/postbench/postbench/internal/strictyaml"
)

// Choices of the axes, as far as they are built.
const (
	FrontPlain          = "plain"             // net/http, maps, one allocation after another
	AnswerAfterCommit   = "after-commit"      // 200 means: synced to the disk
	AttributionSQL      = "sql+clickhouse"    // click and offer from SQL, on the request path
	CapsCheckThenInsert = "check-then-insert" // the counter is read before the transaction
	CapsAtomic          = "atomic"            // the counter is read inside the transaction
	None                = "none"
)

// Composition is an architecture as a choice on every axis. Its JSON holds the
// axes alone: a result names the variant beside them.
type Composition struct {
	Name        string `yaml:"name" json:"-"`
	Summary     string `yaml:"summary" json:"-"`
	Front       string `yaml:"front" json:"front"`
	Answer      string `yaml:"answer" json:"answer"`
	Buffer      string `yaml:"buffer" json:"buffer"`
	Uplink      string `yaml:"uplink" json:"uplink"`
	Attribution string `yaml:"attribution" json:"attribution"`
	Caps        string `yaml:"caps" json:"caps"`
	Log         string `yaml:"log" json:"log"`
	Edges       int    `yaml:"edges" json:"edges"`
}

// ErrComposition is wrapped by every error about a composition that cannot run.
var ErrComposition = errors.New("impossible composition")

//go:embed variants/*.yaml
var presetFiles embed.FS

const (
	presetDir = "variants"
	// maxNameBytes keeps a variant's name within a table's column.
	maxNameBytes = 40
)

// presets are the compositions that come with the program.
func presets() strictyaml.Presets {
	return strictyaml.Presets{What: "variant", FS: presetFiles, Dir: presetDir}
}

// Variants lists the names of the presets, sorted.
func Variants() []string { return presets().Names() }

// LoadVariant reads a preset by its name or a user's own file by its path.
// Mistakes are reported with file, line and column, combinations that cannot
// run with the reason.
func LoadVariant(nameOrPath string) (Composition, error) {
	file, data, err := presets().Read(nameOrPath)
	if err != nil {
		return Composition{}, err
	}
	return parseComposition(file, data)
}

func parseComposition(file string, data []byte) (Composition, error) {
	var c Composition
	if err := strictyaml.Decode(file, data, &c); err != nil {
		return Composition{}, err
	}
	if axis, reason := c.problem(); reason != "" {
		return Composition{}, strictyaml.At(file, data, "$."+axis, axis+": "+reason)
	}
	return c, nil
}

// With returns the composition with another choice on one axis, validated.
func (c Composition) With(axis, value string) (Composition, error) {
	if axis == "edges" {
		n, err := strconv.Atoi(value)
		if err != nil {
			return Composition{}, fmt.Errorf("variant %s: edges: %q is not a number", c.Name, value)
		}
		c.Edges = n
		return c, c.Validate()
	}
	for _, a := range axes() {
		if a.name == axis {
			*a.choice(&c) = value
			return c, c.Validate()
		}
	}
	return Composition{}, fmt.Errorf("variant %s: no axis %q; there are: %s", c.Name, axis, strings.Join(axisNames(), ", "))
}

// Validate refuses what cannot run, in one line with the reason.
func (c Composition) Validate() error {
	if axis, reason := c.problem(); reason != "" {
		return fmt.Errorf("variant %s: %s: %s (%w)", c.Name, axis, reason, ErrComposition)
	}
	return nil
}

// axis is one question about an architecture. Of the known choices only the
// built ones run; the others are refused as not built instead of as unknown.
type axis struct {
	name   string
	choice func(*Composition) *string
	built  []string
	coming []string
}

func axes() []axis {
	return []axis{
		{"front", func(c *Composition) *string { return &c.Front },
			[]string{FrontPlain}, []string{"zerocopy", "grpc", "worker", "php", "uring"}},
		{"answer", func(c *Composition) *string { return &c.Answer },
			[]string{AnswerAfterCommit}, []string{"before-buffer", "after-buffer"}},
		{"buffer", func(c *Composition) *string { return &c.Buffer },
			[]string{None}, []string{"redis-ttl", "redis-confirmed", "shm"}},
		{"uplink", func(c *Composition) *string { return &c.Uplink },
			[]string{None}, []string{"replicate", "udp", "udp-acked", "grpc"}},
		{"attribution", func(c *Composition) *string { return &c.Attribution },
			[]string{AttributionSQL}, []string{"redis-cache", "memory"}},
		{"caps", func(c *Composition) *string { return &c.Caps },
			[]string{CapsCheckThenInsert, CapsAtomic}, []string{"escrow"}},
		{"log", func(c *Composition) *string { return &c.Log },
			[]string{None}, []string{"json", "capnp"}},
	}
}

func axisNames() []string {
	var names []string
	for _, a := range axes() {
		names = append(names, a.name)
	}
	return append(names, "edges")
}

// problem names the first axis that stands against running c, and why; both
// are empty if nothing does.
func (c Composition) problem() (axis, reason string) {
	if c.Name == "" || len(c.Name) > maxNameBytes || strings.ContainsAny(c.Name, " \t\n,/\\") {
		return "name", fmt.Sprintf("%.60q, expected 1 to %d bytes without spaces, commas and slashes", c.Name, maxNameBytes)
	}
	for _, a := range axes() {
		choice := *a.choice(&c)
		known := slices.Concat(a.built, a.coming)
		switch {
		case choice == "":
			return a.name, "missing, expected one of: " + strings.Join(known, ", ")
		case !slices.Contains(known, choice):
			return a.name, fmt.Sprintf("unknown choice %.60q, expected one of: %s", choice, strings.Join(known, ", "))
		}
	}
	if axis, reason := c.impossible(); reason != "" {
		return axis, reason
	}
	for _, a := range axes() {
		if choice := *a.choice(&c); !slices.Contains(a.built, choice) {
			return a.name, fmt.Sprintf("%q is not built yet; built: %s", choice, strings.Join(a.built, ", "))
		}
	}
	return "", ""
}

// impossible refuses what can never run, whatever will be built.
func (c Composition) impossible() (axis, reason string) {
	switch {
	case c.Edges < 1:
		return "edges", fmt.Sprintf("%d, expected at least 1", c.Edges)
	case c.Uplink == None && c.Edges > 1:
		return "edges", fmt.Sprintf("%d edges without an uplink would be %d servers that know nothing of each other; expected 1", c.Edges, c.Edges)
	case c.Uplink == None && c.Buffer != None:
		return "buffer", fmt.Sprintf("%q without an uplink is never emptied", c.Buffer)
	case c.Buffer == None && c.Answer != AnswerAfterCommit:
		return "answer", fmt.Sprintf("%q needs a buffer", c.Answer)
	}
	return "", ""
}

// Durability is the class of DESIGN §2 that an answer promises: D3, synced to
// the disk before the answer, for what answers after the commit. Everything
// else is not built yet and promises nothing, D0.
func (c Composition) Durability() string {
	if c.Answer == AnswerAfterCommit {
		return "D3"
	}
	return "D0"
}

// Steps tells the way of a postback through the composition, one step an entry.
func (c Composition) Steps() []string {
	capAndInsert := []string{
		"cap: identity and counter, read in statements of their own",
		"insert: row and counter in one transaction, without a second look (concurrent requests can pass the cap)",
	}
	if c.Caps == CapsAtomic {
		capAndInsert = []string{
			"cap: identity and counter, read inside the transaction",
			"insert: row and counter in the same transaction (the cap holds)",
		}
	}
	steps := []string{
		"accept: net/http on TCP, a goroutine per connection",
		"parse: query into a map, or strictly if signed",
		"verify: HMAC-SHA256 and age, if signed",
		"attribution: click by its id from SQL",
	}
	return append(append(steps, capAndInsert...), "answer: 200 after the commit is synced to the disk")
}
