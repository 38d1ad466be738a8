//go:build !race

package loadgen

import (
	"testing"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/loadgen/transport"
)

func TestRenderDoesNotAllocate(t *testing.T) {
	generator := everyKind(t)
	templates := map[string]postback.Template{
		"plain": postback.PlainTemplate(), "signed": postback.SignedTemplate(), "own": ownTemplate(t),
	}
	for _, d := range dialectsOf(generator) {
		template, err := d.Template()
		if err != nil {
			t.Fatal(err)
		}
		templates[d.Target] = template
	}
	for name, template := range templates {
		renderer := NewRenderer(generator, 0, &template)
		var it intent.Intent
		var req transport.Request
		index := uint64(0)
		render := func() {
			generator.At(index%100, &it)
			renderer.Render(&it, 1_700_000_000, &req)
			index++
		}
		for range 100 {
			render()
		}
		if allocs := testing.AllocsPerRun(200, render); allocs != 0 {
			t.Errorf("%s: %v allocations per request", name, allocs)
		}
	}
}
