package refserver

import (
	"embed"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/postbench/postbench/internal/strictyaml"
	"github.com/postbench/postbench/refserver/edge"
)

// Choices of the axes.
const (
	FrontPlain    = edge.FrontPlain    // net/http, maps, one allocation after another
	FrontZerocopy = edge.FrontZerocopy // fasthttp, no allocation on the accept path
	FrontGRPC     = "grpc"             // a gRPC stream, HTTP as plain beside it
	FrontWorker   = "worker"           // a Worker in workerd, in front of plain
	FrontPHP      = "php"              // nginx, php-fpm and Laravel

	AnswerBeforeBuffer = edge.AnswerBeforeBuffer // 200 means: the postback was read
	AnswerAfterBuffer  = edge.AnswerAfterBuffer  // 200 means: it is in the edge's buffer
	AnswerAfterCommit  = "after-commit"          // 200 means: synced to the disk

	BufferShm            = "shm"             // a lane in shared memory
	BufferRedisTTL       = "redis-ttl"       // the edge's Redis, gone after RedisTTL
	BufferRedisConfirmed = "redis-confirmed" // the edge's Redis, kept until central has it

	UplinkReplicate = "replicate" // a process of the edge hands over to central, again and again
	UplinkUDP       = "udp"       // datagrams, fire and forget
	UplinkUDPAcked  = "udp-acked" // datagrams, sent again until central has acked them
	UplinkGRPC      = "grpc"      // a stream, whose batches central acks

	AttributionSQL        = "sql+clickhouse" // click and offer from SQL, on the request path
	AttributionRedisCache = "redis-cache"    // the same behind a cache in Redis
	AttributionMemory     = "memory"         // clicks in the memory of central

	CapsCheckThenInsert = "check-then-insert" // the counter is read before the transaction
	CapsAtomic          = "atomic"            // the counter is read inside the transaction

	LogJSON         = "json"       // an access log, one JSON object a line
	LogCapnp        = "capnp"      // an access log of Cap'n Proto messages
	LogOnRequest    = "request"    // written before the answer
	LogInBackground = "background" // written by somebody else, later
	LogMapped       = "mapped"     // stored into a memory-mapped file before the answer, without a system call

	PlaceRegion  = "region"  // edges stand near their partners
	PlacePartner = "partner" // the edge is a proxy in the partner's own data centre

	None = "none"
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
	LogWrite    string `yaml:"log_write" json:"log_write"`
	Edges       int    `yaml:"edges" json:"edges"`
	Place       string `yaml:"place,omitempty" json:"place,omitempty"` // "" means PlaceRegion

	// External is a server of the user's own instead of all the choices above.
	External *External `yaml:"external,omitempty" json:"-"`
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

// externalName is what lists call a server of the user's own.
const externalName = "external"

// Missing is an architecture of the post that does not run here.
type Missing struct{ Name, Reason string }

// Unavailable lists the architectures that no preset builds, and why.
func Unavailable() []Missing {
	return []Missing{{"frankenphp", "neither Debian nor npm has FrankenPHP, and the post rolled it back after a month; " +
		"run your own as a variant with external: (postbench show variant external)"}}
}

// Ladder lists the presets in the order of the post, then those of ours.
func Ladder() []string {
	return []string{"monolith-php", "monolith", "redis-cache", "edge-redis", "edge-worker", "grpc-stream", "udp-batch",
		"hot-path", "binary-log", "udp-acked", "partner-proxy", "redis-confirmed"}
}

// LoadVariant reads a preset by its name or a user's own file by its path.
// Mistakes are reported with file, line and column, combinations that cannot
// run with the reason.
func LoadVariant(nameOrPath string) (Composition, error) {
	for _, missing := range Unavailable() {
		if nameOrPath == missing.Name {
			return Composition{}, fmt.Errorf("variant %s is not available here: %s", missing.Name, missing.Reason)
		}
	}
	if nameOrPath == externalName {
		return Composition{}, fmt.Errorf("variant %s stands for a server of your own: name the YAML file that describes it, such as ./mine.yaml", externalName)
	}
	file, data, err := presets().Read(nameOrPath)
	if err != nil {
		return Composition{}, err
	}
	return parseComposition(file, data)
}

func parseComposition(file string, data []byte) (Composition, error) {
	var c Composition
	if err := strictyaml.DecodeChecked(file, data, &c, func(problems *strictyaml.Problems) { c.check(problems) }); err != nil {
		return Composition{}, err
	}
	return c, nil
}

// logWriteOf is how the composition's log is written, as it was before where
// that is possible: some logs leave no choice.
func (c Composition) logWriteOf() string {
	switch {
	case c.Log == None:
		return None
	case c.Log == LogCapnp:
		return LogMapped
	case c.Log == LogJSON && c.LogWrite != LogOnRequest && c.Uplink == None:
		return LogOnRequest
	case c.Log == LogJSON && c.LogWrite != LogOnRequest:
		return LogInBackground
	}
	return c.LogWrite
}

// With returns the composition with another choice on one axis, validated. Who
// chooses another log also changes how it is written, where that must be.
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
			if axis == "log" {
				c.LogWrite = c.logWriteOf()
			}
			return c, c.Validate()
		}
	}
	return Composition{}, fmt.Errorf("variant %s: no axis %q; there are: %s", c.Name, axis, strings.Join(axisNames(), ", "))
}

// Validate refuses what cannot run, in one line with the reasons.
func (c Composition) Validate() error {
	var problems strictyaml.Problems
	c.check(&problems)
	if err := problems.Err(); err != nil {
		return fmt.Errorf("variant %s: %s (%w)", c.Name, strings.ReplaceAll(err.Error(), "\n", "; "), ErrComposition)
	}
	return nil
}
