//go:build !race

package accesslog_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/refserver/accesslog"
)

// The count takes in the background writer, or whoever makes the file grow: they
// run meanwhile.
func TestNoAllocations(t *testing.T) {
	logs := map[string]*accesslog.Log{
		"request":          accesslog.New(discard{}, accesslog.Options{}),
		"background":       accesslog.New(discard{}, accesslog.Options{Background: true, FlushEvery: time.Millisecond}),
		"background, full": accesslog.New(discard{}, accesslog.Options{Background: true, FlushEvery: time.Hour, MaxPendingBytes: 100}),
	}
	mapped, err := accesslog.OpenMapped(filepath.Join(t.TempDir(), "access.log.capnp"), accesslog.MappedOptions{})
	if err != nil {
		t.Fatal(err)
	}
	logs["mapped"] = mapped
	for name, l := range logs {
		e := entry("/pb/signed?click_id=c-1\x00\xff&sig=" + strings.Repeat("0", 64))
		if allocs := testing.AllocsPerRun(10_000, func() { l.Log(e) }); allocs != 0 {
			t.Errorf("%s: %v allocations an entry", name, allocs)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}
