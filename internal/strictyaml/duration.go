package strictyaml

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Duration is a span of time of zero or more, written with its unit: "10s",
// "250ms", "24h", "1m30s".
type Duration time.Duration

// UnmarshalText reads "10s". It refuses a negative span and a bare number,
// whose unit everybody guesses differently; "0" needs no unit.
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	parsed, err := time.ParseDuration(s)
	switch {
	case err != nil && isNumber(s):
		return fmt.Errorf("%q has no unit: write %ss or %sms", s, s, s)
	case err != nil:
		return fmt.Errorf("want a duration such as 10s, 250ms or 24h, got %q", shorten(s, maxQuotedRunes))
	case parsed < 0:
		return errors.New("want a duration of zero or more, got " + strconv.Quote(s))
	}
	*d = Duration(parsed)
	return nil
}

// MarshalText writes what UnmarshalText reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String returns "10s", "250ms", "24h": without the zero minutes and seconds of
// time.Duration.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func isNumber(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil && decimal(s)
}
