//go:build !race

package accesslog_test

import (
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/refserver/accesslog"
)

// The count takes in the background writer: it runs meanwhile.
func TestNoAllocations(t *testing.T) {
	for name, o := range map[string]accesslog.Options{
		"request":          {},
		"background":       {Background: true, FlushEvery: time.Millisecond},
		"background, full": {Background: true, FlushEvery: time.Hour, MaxPendingBytes: 100},
	} {
		l := accesslog.New(discard{}, o)
		e := entry("/pb/signed?click_id=c-1\x00\xff&sig=" + strings.Repeat("0", 64))
		if allocs := testing.AllocsPerRun(10_000, func() { l.Log(e) }); allocs != 0 {
			t.Errorf("%s: %v allocations an entry", name, allocs)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}
