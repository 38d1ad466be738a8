package dist_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/postbench/postbench/internal/dist"
)

func TestJSONGivesTheSameDraws(t *testing.T) {
	two, err := dist.New([]dist.Point{{50, 5 * ms}, {95, 8 * ms}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []dist.Dist{two, dist.Constant(7), {}} {
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got dist.Dist
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		for u := 0.0; u < 1; u += 1.0 / 64 {
			if got.At(u) != want.At(u) {
				t.Errorf("%s: At(%v) is %d, was %d", text, u, got.At(u), want.At(u))
			}
		}
	}
}

func TestJSONRefusesWhatIsNoDistribution(t *testing.T) {
	for _, text := range []string{
		`{"z":[0],"log_ns":[]}`, `{"z":[1,0],"log_ns":[1,2]}`, `{"z":[1,1],"log_ns":[1,2]}`, `{"z":[0,1],"log_ns":[2,1]}`, `{"z":[0],"log_ns":[99]}`,
	} {
		var d dist.Dist
		if err := json.Unmarshal([]byte(text), &d); !errors.Is(err, dist.ErrPoints) || !d.Zero() {
			t.Errorf("%s: %v, %+v", text, err, d)
		}
	}
}
