package profiles

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postbench/postbench/internal/dist"
	"github.com/postbench/postbench/internal/strictyaml"
)

// Limits of a stage.
const (
	MaxStageWorkers = 8_192
	MaxStageQueue   = 65_536
	// DefaultStageQueue is the queue of a stage that names none.
	DefaultStageQueue = 1_024
	// MaxStageFactor is how many times longer a choice may make a stage.
	MaxStageFactor = 100
)

// Stage is a queueing resource that a request passes in the server: Workers
// serve one request each at a time, Queue more wait in order of arrival (0:
// DefaultStageQueue), and the next one is answered 503.
type Stage struct {
	Name           string // one of StageNames
	Workers, Queue int
	// Time is how long a worker serves one request.
	Time Percentiles
	// Times are factors on Time by what the server chose, one of
	// CompositionChoices: {front=zerocopy: 0.65}. With 0 the stage is not there.
	Times map[string]float64
	// Fitted names the variant whose p95 Time was fitted to; "" for a figure of
	// its own.
	Fitted string
}

// Waiting is how many may wait.
func (s Stage) Waiting() int { return cmp.Or(s.Queue, DefaultStageQueue) }

// Dist returns the distribution of Time. Errors wrap dist.ErrPoints and cannot
// occur after loading.
func (s Stage) Dist() (dist.Dist, error) { return s.Time.Dist() }

// Factor is what Time is multiplied by in a server that made these choices
// ("front=zerocopy", "log=capnp", …): the product of all Times that apply.
func (s Stage) Factor(choices []string) float64 {
	factor := 1.0
	for _, choice := range choices {
		if f, ok := s.Times[choice]; ok {
			factor *= f
		}
	}
	return factor
}

// PointsWith are the percentiles of Time in a server that made these choices;
// none where the stage is not there.
func (s Stage) PointsWith(choices []string) []dist.Point {
	factor := s.Factor(choices)
	if factor == 0 {
		return nil
	}
	points := s.Time.Points()
	for i := range points {
		points[i].Ns = int64(float64(points[i].Ns) * factor)
	}
	return points
}

// describe is the stage in words, without its name.
func (s Stage) describe() string {
	text := fmt.Sprintf("%s; %d at once, %d more wait", s.Time, s.Workers, s.Waiting())
	for _, choice := range slices.Sorted(maps.Keys(s.Times)) {
		if factor := s.Times[choice]; factor > 0 {
			text += fmt.Sprintf("; × %s with %s", strconv.FormatFloat(factor, 'g', -1, 64), choice)
		} else {
			text += "; not there with " + choice
		}
	}
	if s.Fitted != "" {
		text += "; fitted to " + s.Fitted
	}
	return text
}

// StageNames lists the stages that a server has: those of the request's path,
// then those behind the answer. A variant enters some of them.
func StageNames() []string {
	return []string{"nginx", "php", "mysql", "clickhouse", "edge", "redis", "log", "central"}
}

// CompositionChoices lists what a server may have chosen, as "axis=choice".
func CompositionChoices() []string {
	return []string{
		"front=plain", "front=zerocopy", "front=grpc", "front=worker", "front=php",
		"answer=before-buffer", "answer=after-buffer", "answer=after-commit",
		"buffer=none", "buffer=redis-ttl", "buffer=redis-confirmed", "buffer=shm",
		"uplink=none", "uplink=replicate", "uplink=udp", "uplink=udp-acked", "uplink=grpc",
		"attribution=sql+clickhouse", "attribution=redis-cache", "attribution=memory",
		"caps=check-then-insert", "caps=atomic",
		"log=none", "log=json", "log=capnp",
		"log_write=none", "log_write=request", "log_write=background", "log_write=mapped",
		"place=region", "place=partner",
	}
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
		s.checkTimes(problems, path+"times.")
		if s.Fitted != "" && !strictyaml.IsName(s.Fitted) {
			problems.Add(path+"fitted", "want the name of a variant, %s, got %q", strictyaml.NameRule, s.Fitted)
		}
	}
}

func (s Stage) checkTimes(problems *strictyaml.Problems, path string) {
	longest := time.Duration(0)
	for _, point := range s.Time.Points() {
		longest = max(longest, time.Duration(point.Ns))
	}
	for _, choice := range slices.Sorted(maps.Keys(s.Times)) {
		factor := s.Times[choice]
		switch {
		case !slices.Contains(CompositionChoices(), choice):
			problems.Add(path+choice, "%s", unknownChoice(choice))
		case !(factor >= 0 && factor <= MaxStageFactor): // NaN too
			problems.Add(path+choice, "want a factor from 0 (the stage is not there) to %d, got %v", MaxStageFactor, factor)
		case factor*float64(longest) > float64(MaxSpan):
			problems.Add(path+choice, "%v times %s is more than %s", factor, strictyaml.Duration(longest), strictyaml.Duration(MaxSpan))
		}
	}
}

// unknownChoice lists the choices of the axis that is meant, or the axes.
func unknownChoice(word string) string {
	axis, choice, found := strings.Cut(word, "=")
	if !found {
		return fmt.Sprintf("want axis=choice such as front=zerocopy, got %.60q", word)
	}
	var axes, choices []string
	for _, known := range CompositionChoices() {
		a, c, _ := strings.Cut(known, "=")
		if !slices.Contains(axes, a) {
			axes = append(axes, a)
		}
		if a == axis {
			choices = append(choices, c)
		}
	}
	if len(choices) == 0 {
		return strictyaml.Unknown("axis", axis, axes)
	}
	return strictyaml.Unknown("choice", choice, choices)
}
