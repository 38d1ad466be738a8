package profiles

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/postbench/postbench/internal/dist"
	"github.com/postbench/postbench/internal/strictyaml"
)

// Limits of a stage.
const (
	MaxStageWorkers = 8_192
	MaxStageQueue   = 65_536
	// DefaultStageQueue is the queue of a stage that names none.
	DefaultStageQueue = 1_024
)

// Stage is a queueing resource that a request passes in the server: Workers
// serve one request each at a time, Queue more wait in order of arrival (0:
// DefaultStageQueue), and the next one is answered 503.
type Stage struct {
	Name           string // one of StageNames
	Workers, Queue int
	// Time is how long a worker serves one request.
	Time Percentiles
}

// Waiting is how many may wait.
func (s Stage) Waiting() int { return cmp.Or(s.Queue, DefaultStageQueue) }

// Dist returns the distribution of Time. Errors wrap dist.ErrPoints and cannot
// occur after loading.
func (s Stage) Dist() (dist.Dist, error) { return s.Time.Dist() }

// StageNames lists the stages that a server has: those of the request's path,
// then those behind the answer. A variant enters some of them.
func StageNames() []string {
	return []string{"nginx", "php", "mysql", "clickhouse", "edge", "redis", "log", "central"}
}

func checkStages(problems *strictyaml.Problems, stages []Stage) {
	first := map[string]int{}
	for i, s := range stages {
		path := fmt.Sprintf("stages[%d].", i)
		if names := StageNames(); !slices.Contains(names, s.Name) {
			problems.Add(path+"name", "%s", strictyaml.Unknown("stage", s.Name, names))
		} else if j, taken := first[s.Name]; taken {
			problems.Add(path+"name", "stage %q is stages[%d] already", s.Name, j)
		} else {
			first[s.Name] = i
		}
		if s.Workers < 1 || s.Workers > MaxStageWorkers {
			problems.Add(path+"workers", "want 1 to %d, got %d", MaxStageWorkers, s.Workers)
		}
		if s.Queue < 0 || s.Queue > MaxStageQueue {
			problems.Add(path+"queue", "want 0 to %d, got %d", MaxStageQueue, s.Queue)
		}
		if len(s.Time) == 0 {
			problems.Add(path+"time", "want one percentile or more, such as {p50: 5ms, p95: 8ms}")
		}
		s.Time.check(problems, path+"time")
	}
}
