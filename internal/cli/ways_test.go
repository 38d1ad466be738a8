package cli

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/profiles"
	"github.com/postbench/postbench/refserver"
	"github.com/postbench/postbench/refserver/cost"
)

func TestWaysLeadToCentralOrToAnEdge(t *testing.T) {
	p := planOf(t, "--scenario", "month-2026", "--profile", "post")
	for _, at := range []place{atCentral, atEdge} {
		w, err := p.openWays(at, 0)
		if err != nil {
			t.Fatal(err)
		}
		for i := range p.scenario.Partners {
			paths, _ := p.profile.Region(p.scenario.Partners[i].Region)
			want := paths.Central
			if at == atEdge {
				want = paths.Edge
			}
			if w.partner[i] != want || !slices.Contains(w.on(want), i) || w.dial(i) == nil || w.resolve(i, time.Minute) == nil {
				t.Errorf("place %v: %s takes %q, want %q", at, p.scenario.Partners[i].Name, w.partner[i], want)
			}
		}
		if truths := w.truths(); len(truths) != len(w.paths) || truths[0].Name != w.names[0] {
			t.Errorf("%+v", truths)
		}
		w.close()
	}
}

func TestNothingIsShapedWithoutPaths(t *testing.T) {
	p := planOf(t, "--scenario", "mixed")
	w, err := p.openWays(atEdge, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	if w.network != nil || w.dial(0) != nil || w.resolve(0, 0) != nil || w.partner[0] != "" || len(w.truths()) != 0 {
		t.Errorf("%+v", w)
	}
}

// A profile knows the stages that the server has, and no others.
func TestStagesAreTheServers(t *testing.T) {
	if got, want := slices.Sorted(slices.Values(profiles.StageNames())), slices.Sorted(slices.Values(cost.Names())); !slices.Equal(got, want) {
		t.Errorf("profiles know %q, the server %q", got, want)
	}
	if profiles.MaxStageWorkers > cost.MaxWorkers || profiles.MaxStageQueue > cost.MaxQueue {
		t.Errorf("a profile may ask for %d workers and a queue of %d, the server takes %d and %d", profiles.MaxStageWorkers, profiles.MaxStageQueue, cost.MaxWorkers, cost.MaxQueue)
	}
}

func TestTransportsThatCannotWork(t *testing.T) {
	partner := func(transport string) string {
		return file(t, transport+".yaml", "name: mine\nabout: x\ntemplate: signed\ntransport: "+transport+"\n")
	}
	plain, zerocopy := refserver.Composition{Name: "p", Front: refserver.FrontPlain}, refserver.Composition{Name: "z", Front: refserver.FrontZerocopy}
	for _, c := range []struct {
		args, want string
		variant    *refserver.Composition
	}{
		{"--partner " + partner("http2") + " --profile post", "", &plain},
		{"--partner " + partner("http2") + " --profile post", "front plain", &zerocopy},
		{"--partner " + partner("http2"), "over TLS only", &plain},
		{"--partner " + partner("grpc") + " --profile post", "use one with front grpc", &plain},
		{"--partner signed", "", &zerocopy},
	} {
		if err := planOf(t, strings.Fields(c.args)...).servable(c.variant); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s at front %s: %v, want %q", c.args, c.variant.Front, err, c.want)
		}
	}
	for _, c := range []struct {
		args, engine string
		replayed     bool
		want         string
	}{
		{"--partner signed", engineVegeta, false, ""},
		{"--partner " + partner("http2"), engineVegeta, false, "HTTP/1.1 only"},
		{"--partner signed --profile post", engineVegeta, false, "--profile bare"},
		{"--partner " + partner("grpc"), engineNative, true, "--replay"},
		{"--partner " + partner("grpc"), engineNative, false, ""},
	} {
		if err := planOf(t, strings.Fields(c.args)...).playableBy(c.engine, c.replayed); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s by %s, replayed %v: %v, want %q", c.args, c.engine, c.replayed, err, c.want)
		}
	}
}
