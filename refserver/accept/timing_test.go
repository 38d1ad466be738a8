package accept_test

import (
	"testing"
	"time"

	"github.com/postbench/postbench/refserver/accept"
)

func TestTiming(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	timing := accept.NewTiming(now, func() time.Time { return now })
	if got := timing.String(); got != "" {
		t.Errorf("without a stage: %q", got)
	}
	now = now.Add(1_500 * time.Microsecond)
	timing.Mark("parse")
	now = now.Add(2 * time.Microsecond)
	timing.Mark("verify")
	timing.Add("cap", 12_345_678)
	now = now.Add(time.Hour) // no stage's
	if got := timing.Begin(); got != now {
		t.Errorf("Begin: %v, want %v", got, now)
	}
	now = now.Add(time.Second)
	timing.Mark("buffer")
	const want = "parse;dur=1.500, verify;dur=0.002, cap;dur=12.346, buffer;dur=1000.000"
	if got := timing.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
