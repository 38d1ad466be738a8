package dist

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
)

// knots are a distribution as it travels between processes: exactly, and not
// as the percentiles that people write.
type knots struct {
	Z     []float64 `json:"z"`
	LogNs []float64 `json:"log_ns"`
}

// MarshalJSON writes the distribution so that UnmarshalJSON makes the very
// same of it.
func (d Dist) MarshalJSON() ([]byte, error) { return json.Marshal(knots{d.z, d.logNs}) }

// UnmarshalJSON reads what MarshalJSON wrote. The error wraps ErrPoints, or is
// encoding/json's.
func (d *Dist) UnmarshalJSON(text []byte) error {
	var k knots
	if err := json.Unmarshal(text, &k); err != nil {
		return err
	}
	switch n := len(k.Z); {
	case n != len(k.LogNs) || n > MaxPoints:
		return fmt.Errorf("%w: %d quantiles with %d values, want as many and at most %d", ErrPoints, n, len(k.LogNs), MaxPoints)
	case len(slices.Compact(slices.Clone(k.Z))) != n || !slices.IsSorted(k.Z) || !slices.IsSorted(k.LogNs):
		return fmt.Errorf("%w: quantiles or values fall, want them in ascending order", ErrPoints)
	case n > 0 && (math.Abs(k.LogNs[n-1]) > math.Log(math.MaxInt64) || k.LogNs[0] < 0):
		return fmt.Errorf("%w: values beyond what a duration holds", ErrPoints)
	}
	d.z, d.logNs = k.Z, k.LogNs
	return nil
}
