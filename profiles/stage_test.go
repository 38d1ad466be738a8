package profiles

import (
	"slices"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/dist"
)

func TestStageFactors(t *testing.T) {
	p, err := parseProfile("p.yaml", []byte("name: a\nstages:\n  - {name: mysql, workers: 1, time: {p50: 10ms, p95: 20ms}, "+
		"times: {attribution=redis-cache: 0.5, front=php: 3, log=capnp: 0}, fitted: monolith}\n"), LoadNetwork)
	if err != nil {
		t.Fatal(err)
	}
	s := &p.Stages[0]
	for _, test := range []struct {
		choices []string
		p50     time.Duration // 0: the stage is not there
	}{
		{nil, 10 * time.Millisecond},
		{[]string{"front=plain", "attribution=redis-cache"}, 5 * time.Millisecond},
		{[]string{"front=php", "attribution=redis-cache"}, 15 * time.Millisecond},
		{[]string{"front=php", "log=capnp"}, 0},
	} {
		var want []dist.Point
		if test.p50 > 0 {
			want = []dist.Point{{Percentile: 50, Ns: int64(test.p50)}, {Percentile: 95, Ns: int64(2 * test.p50)}}
		}
		if got := s.PointsWith(test.choices); !slices.Equal(got, want) {
			t.Errorf("%v: %v, want %v", test.choices, got, want)
		}
	}
	if s.Time.Points()[0].Ns != int64(10*time.Millisecond) {
		t.Error("a factor has changed the profile")
	}
}

// Three figures of the post's profile are fitted, and no more.
func TestPostIsFittedThrice(t *testing.T) {
	p, err := Load("post")
	if err != nil {
		t.Fatal(err)
	}
	var fitted []string
	for _, s := range p.Stages {
		if s.Fitted != "" {
			fitted = append(fitted, s.Name)
		}
	}
	if !slices.Equal(fitted, []string{"edge", "redis", "log"}) {
		t.Errorf("fitted: %v", fitted)
	}
}
