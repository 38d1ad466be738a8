package profiles

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postbench/postbench/internal/dist"
	"github.com/postbench/postbench/internal/netem"
	"github.com/postbench/postbench/internal/strictyaml"
)

// MaxSpan is the longest duration of a percentile.
const MaxSpan = time.Minute

// Percentiles are a distribution of durations as a document writes it: the keys
// are "p50", "p99.9", … Nil is no time at all, one percentile a constant.
type Percentiles map[string]strictyaml.Duration

// Points returns the percentiles in ascending order, as dist.New takes them.
// Keys that are no percentile are left out; a loaded document has none.
func (p Percentiles) Points() []dist.Point {
	var points []dist.Point
	for key, value := range p {
		if percentile, err := parsePercentile(key); err == nil {
			points = append(points, dist.Point{Percentile: percentile, Ns: int64(value)})
		}
	}
	slices.SortFunc(points, func(a, b dist.Point) int { return cmp.Compare(a.Percentile, b.Percentile) })
	return points
}

// Dist returns the distribution; none are always 0. Errors wrap dist.ErrPoints
// and cannot occur after loading.
func (p Percentiles) Dist() (dist.Dist, error) {
	if len(p) == 0 {
		return dist.Dist{}, nil
	}
	return dist.New(p.Points())
}

// String returns "p50 5ms, p95 8ms", in order; "0s" for none.
func (p Percentiles) String() string {
	points := p.Points()
	if len(points) == 0 {
		return "0s"
	}
	words := make([]string, len(points))
	for i, point := range points {
		words[i] = fmt.Sprintf("p%v %s", point.Percentile, strictyaml.Duration(point.Ns))
	}
	return strings.Join(words, ", ")
}

func (p Percentiles) check(problems *strictyaml.Problems, path string) {
	before := ""
	for _, key := range p.inOrder(problems, path) {
		switch value := p[key]; {
		case value <= 0 || time.Duration(value) > MaxSpan:
			problems.Add(path+"."+key, "want more than 0s and at most %s, got %s", strictyaml.Duration(MaxSpan), value)
		case before != "" && value < p[before]:
			problems.Add(path+"."+key, "%s is less than %s of %s: a higher percentile is never shorter", value, p[before], before)
		}
		before = key
	}
	if len(p) > dist.MaxPoints {
		problems.Add(path, "%d percentiles, want at most %d", len(p), dist.MaxPoints)
	}
}

// inOrder returns the keys by percentile and refuses those that are none.
func (p Percentiles) inOrder(problems *strictyaml.Problems, path string) []string {
	var keys []string
	percentiles := map[string]float64{}
	for _, key := range slices.Sorted(maps.Keys(p)) {
		percentile, err := parsePercentile(key)
		if err != nil {
			problems.Add(path+"."+key, "%v", err)
			continue
		}
		keys = append(keys, key)
		percentiles[key] = percentile
	}
	slices.SortStableFunc(keys, func(a, b string) int { return cmp.Compare(percentiles[a], percentiles[b]) })
	for i := 1; i < len(keys); i++ {
		if percentiles[keys[i]] == percentiles[keys[i-1]] {
			problems.Add(path+"."+keys[i], "the same percentile as %s", keys[i-1])
		}
	}
	return keys
}

var errPercentile = errors.New("want a percentile such as p50, p95 or p99.9, above p0 and below p100")

func parsePercentile(key string) (float64, error) {
	digits, found := strings.CutPrefix(key, "p")
	percentile, err := strconv.ParseFloat(digits, 64)
	if !found || err != nil || strings.Trim(digits, "0123456789.") != "" || percentile <= 0 || percentile >= 100 {
		return 0, fmt.Errorf("%w, got %q", errPercentile, key)
	}
	return percentile, nil
}

// Bandwidth is bits per second, written with its unit: "10Mbit/s". 0 is no
// limit.
type Bandwidth float64

// The narrowest and the fastest path.
const (
	MinBandwidth = Bandwidth(netem.MinRateBitsPerS)
	MaxBandwidth = Bandwidth(1e12)
)

// bandwidthUnits are ordered so that the largest that fits is found first.
var bandwidthUnits = []struct {
	name string
	bits float64
}{{"Gbit/s", 1e9}, {"Mbit/s", 1e6}, {"kbit/s", 1e3}, {"bit/s", 1}}

// UnmarshalText reads "10Mbit/s" and refuses a bare number: bits or bytes?
func (b *Bandwidth) UnmarshalText(text []byte) error {
	s := string(text)
	for _, unit := range bandwidthUnits {
		digits, found := strings.CutSuffix(s, unit.name)
		if !found {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
		if err != nil || !(n*unit.bits >= float64(MinBandwidth) && n*unit.bits <= float64(MaxBandwidth)) {
			break
		}
		*b = Bandwidth(n * unit.bits)
		return nil
	}
	return fmt.Errorf("want a bandwidth such as 512kbit/s, 10Mbit/s or 1Gbit/s, from %s to %s, got %q", MinBandwidth, MaxBandwidth, s)
}

// String writes what UnmarshalText reads; "unlimited" for 0.
func (b Bandwidth) String() string {
	for _, unit := range bandwidthUnits {
		if float64(b) >= unit.bits {
			return strconv.FormatFloat(float64(b)/unit.bits, 'g', -1, 64) + unit.name
		}
	}
	return "unlimited"
}
