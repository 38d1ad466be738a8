package cli

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/refserver"
)

func TestDisturbances(t *testing.T) {
	d := disturbances{udpLoss: "0.001%", udpDrop: "3,17,40-42", timeScale: 60, bufferFor: 3 * time.Second,
		chaos: "kill:batcher@2s,stop:edge/1@1500ms+20s,kill:collector@3s+1s,crash:edge:answered-not-buffered#7"}
	if err := d.resolve(); err != nil {
		t.Fatal(err)
	}
	if d.udp.Loss != 0.00001 || !slices.Equal(d.drop, []uint64{3, 17, 40, 41, 42}) {
		t.Errorf("loss %v, drop %v", d.udp.Loss, d.drop)
	}
	want := []plannedFault{
		{2 * time.Second, refserver.Fault{Do: "kill", Role: "batcher"}},
		{1500 * time.Millisecond, refserver.Fault{Do: "stop", Role: "edge", Node: 1, ForNs: int64(20 * time.Second)}},
		{3 * time.Second, refserver.Fault{Do: "kill", Role: "collector", ForNs: int64(time.Second)}},
	}
	if !reflect.DeepEqual(d.faults, want) || *d.crash != (crashFault{"edge", 0, "answered-not-buffered#7"}) {
		t.Errorf("faults %+v, crash %+v", d.faults, d.crash)
	}
	c := refserver.Composition{Name: "x", Uplink: refserver.UplinkUDP, Edges: 2}
	got := strings.Join(d.serverArgs(&c, 5), " ")
	if want := "--time-scale 60 --seed 5 --udp-loss 0.001% --udp-duplicate 0% --udp-reorder 0% --udp-drop 3,17,40-42 --crash edge/0:answered-not-buffered#7"; got != want {
		t.Errorf("server arguments %s\nwant %s", got, want)
	}
	if got := d.faultsOf(&c); !reflect.DeepEqual(got, want) {
		t.Errorf("faults %+v", got)
	}
}

func TestDisturbancesRefused(t *testing.T) {
	for _, test := range []struct {
		d    disturbances
		want string
	}{
		{disturbances{udpLoss: "1", bufferFor: 1, timeScale: 1}, "--udp-loss"},
		{disturbances{udpLoss: "101%", bufferFor: 1, timeScale: 1}, "--udp-loss"},
		{disturbances{udpLoss: "NaN%", bufferFor: 1, timeScale: 1}, "--udp-loss"},
		{disturbances{udpDrop: "0", bufferFor: 1, timeScale: 1}, "--udp-drop"},
		{disturbances{udpDrop: "5-3", bufferFor: 1, timeScale: 1}, "--udp-drop"},
		{disturbances{udpDrop: "1-9223372036854775807", bufferFor: 1, timeScale: 1}, "names more than"},
		{disturbances{bufferFor: 1}, "--time-scale"},
		{disturbances{timeScale: 1}, "--buffer-for"},
		{disturbances{bufferFor: 1, timeScale: 1, chaos: "kill:edge"}, "want kill:ROLE"},
		{disturbances{bufferFor: 1, timeScale: 1, chaos: "kill:edge@soon"}, `time "soon"`},
		{disturbances{bufferFor: 1, timeScale: 1, chaos: "stop:edge@1s"}, "needs its length"},
		{disturbances{bufferFor: 1, timeScale: 1, chaos: "kill:edge/x@1s"}, `process "edge/x"`},
		{disturbances{bufferFor: 1, timeScale: 1, chaos: "crash:edge:here"}, "want crash:"},
		{disturbances{bufferFor: 1, timeScale: 1, chaos: "crash:edge:answered-not-buffered#1,crash:edge:answered-not-buffered#2"}, "only one"},
		{disturbances{bufferFor: 1, timeScale: 1, chaos: "burn:edge@1s"}, "want kill"},
		{disturbances{bufferFor: 1, timeScale: 1, chaos: "crash:edge:nowhere#1"}, "it has: answered-not-buffered"},
		{disturbances{bufferFor: 1, timeScale: 1, chaos: "crash:batcher:nowhere#1"}, "it has: none"},
	} {
		if err := test.d.resolve(); err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %v, want %s", test.d, err, test.want)
		}
	}
}

func TestDisturbancesFit(t *testing.T) {
	monolith, edge, udp := load(t, "monolith"), load(t, "edge-redis"), load(t, "udp-batch")
	for _, test := range []struct {
		chaos, loss string
		c           refserver.Composition
		want        string
	}{
		{"kill:batcher@1s", "1%", udp, ""},
		{"kill:redis@1s", "", edge, ""},
		{"kill:redis@1s", "", udp, "has no process redis/0; its roles are edge, batcher, collector"},
		{"kill:edge/1@1s", "", udp, "has no process edge/1"},
		{"kill:collector@1s", "", monolith, "is one process"},
		{"", "1%", edge, "sends no datagrams"},
		{"", "1%", monolith, "sends no datagrams"},
	} {
		d := disturbances{chaos: test.chaos, udpLoss: test.loss, bufferFor: 1, timeScale: 1}
		if err := d.resolve(); err != nil {
			t.Fatal(err)
		}
		err := d.fits(&test.c)
		if test.want == "" && err == nil {
			continue
		}
		if err == nil || test.want == "" || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s %s at %s: %v, want %q", test.chaos, test.loss, test.c.Name, err, test.want)
		}
	}
}

func load(t *testing.T, variant string) refserver.Composition {
	t.Helper()
	c, err := refserver.LoadVariant(variant)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
