//go:build !race

// The race detector makes sync.Pool drop items at random.

package edge

import (
	"io"
	"testing"

	"github.com/postbench/postbench/refserver/accesslog"
)

func exchanger(t testing.TB) func() {
	t.Helper()
	config := testConfig(FrontPlain, nowhere{})
	config.AccessLog = accesslog.New(io.Discard, accesslog.Options{Background: true})
	t.Cleanup(func() { _ = config.AccessLog.Close() })
	e, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	target, ctx := []byte("/pb?"+plainPart), t.Context()
	return func() {
		if status, _ := e.Exchange(ctx, nil, target, nil); status != 200 {
			t.Fatal(status)
		}
	}
}

// The reply is the caller's own.
func TestExchangeAllocatesItsReply(t *testing.T) {
	if allocs := testing.AllocsPerRun(1_000, exchanger(t)); allocs > 1 {
		t.Errorf("%v allocations a message", allocs)
	}
}

func BenchmarkExchange(b *testing.B) {
	exchange := exchanger(b)
	b.ReportAllocs()
	for b.Loop() {
		exchange()
	}
}
