package profiles

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/dist"
	"github.com/postbench/postbench/internal/strictyaml"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (run with -update to accept)\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

// errorsOf parses documents with mistakes and lists what is said of each.
func errorsOf(t *testing.T, parse func(data []byte) error, documents ...string) string {
	t.Helper()
	var list strings.Builder
	for _, document := range documents {
		err := parse([]byte(document))
		var positioned *strictyaml.Error
		if !errors.As(err, &positioned) {
			t.Errorf("%q: %v is no error with a position", document, err)
		}
		fmt.Fprintf(&list, "%s\n%v\n\n", strings.TrimSpace(document), err)
	}
	return list.String()
}

func TestRunPresets(t *testing.T) {
	if got, want := Names(), []string{"bare", "post"}; !slices.Equal(got, want) {
		t.Fatalf("names %q, want %q", got, want)
	}
	words := ""
	for _, name := range Names() {
		p, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		if p.Name != name || p.About == "" || !strings.Contains(p.Source(), "\nname: "+name+"\n") || p.SHA256() == (Profile{}).SHA256() {
			t.Errorf("%s is %q: %q, or its source is not kept", name, p.Name, p.About)
		}
		words += p.Describe() + "\n"
	}
	golden(t, "profiles", words)
}

func TestBareAddsNothing(t *testing.T) {
	bare, err := Load("bare")
	if err != nil {
		t.Fatal(err)
	}
	if _, shaped := bare.Region(DefaultRegion); shaped || bare.TLS || bare.Uplink != "" || len(bare.Stages) > 0 {
		t.Errorf("bare adds something: %+v", bare)
	}
}

func TestRegions(t *testing.T) {
	post, err := Load("post")
	if err != nil {
		t.Fatal(err)
	}
	for region, want := range map[string][2]string{
		"": {"eu-eu", "metro"}, "default": {"eu-eu", "metro"}, "moon": {"eu-eu", "metro"},
		"us": {"eu-us-east", "metro"}, "cis": {"cis-bad-isp", "cis-edge"},
	} {
		paths, ok := post.Region(region)
		if got := [2]string{paths.CentralNetwork.Name, paths.EdgeNetwork.Name}; !ok || got != want {
			t.Errorf("%q: %v %v, want %v", region, got, ok, want)
		}
	}
	if got := post.RegionNames(); !slices.Equal(got, []string{"cis", "default", "eu", "us"}) || post.UplinkNetwork.Name != "edge-uplink" {
		t.Errorf("regions %q, uplink %q", got, post.UplinkNetwork.Name)
	}
}

// The post's figures are of a request at the p95 of the whole: each lies between
// the median and the p95 of its stage, and together they make that p95.
func TestPostHasThePostsFigures(t *testing.T) {
	post, err := Load("post")
	if err != nil {
		t.Fatal(err)
	}
	figures := map[string]time.Duration{"nginx": 8, "php": 110, "mysql": 45, "clickhouse": 38}
	paths, _ := post.Region("")
	if dns := paths.CentralNetwork.Spec().DNS.At(0.95); time.Duration(dns).Round(time.Millisecond) != 15*time.Millisecond {
		t.Errorf("a look-up has p95 %d ns, want 15 ms", dns)
	}
	seen := map[string]bool{}
	var request []dist.Dist
	for _, stage := range post.Stages {
		seen[stage.Name] = true
		d, err := stage.Dist()
		if err != nil {
			t.Fatal(err)
		}
		figure, told := figures[stage.Name]
		if !told {
			continue
		}
		request = append(request, d)
		if p50, p95 := time.Duration(d.At(0.5)), time.Duration(d.At(0.95)); figure*time.Millisecond < p50 || figure*time.Millisecond > p95 {
			t.Errorf("%s: p50 %s and p95 %s, the post says %d ms", stage.Name, p50, p95, figure)
		}
	}
	for _, name := range StageNames() {
		if !seen[name] {
			t.Errorf("no stage %s", name)
		}
	}
	// TCP, a full TLS 1.2 handshake and the request are four round trips.
	handshakes := 4 * time.Duration(paths.CentralNetwork.RTT)
	if p95 := handshakes + p95OfSum(request); p95 < 265*time.Millisecond || p95 > 285*time.Millisecond {
		t.Errorf("a new connection's p95 is %s, the post says 270 to 280 ms", p95)
	}
}

// p95OfSum draws the sum of independent distributions.
func p95OfSum(parts []dist.Dist) time.Duration {
	random := rand.New(rand.NewPCG(1, 1))
	sums := make([]int64, 20_000)
	for i := range sums {
		for _, d := range parts {
			sums[i] += d.At(random.Float64())
		}
	}
	slices.Sort(sums)
	return time.Duration(sums[len(sums)*95/100])
}

func TestProfileErrors(t *testing.T) {
	parse := func(data []byte) error {
		_, err := parseProfile("p.yaml", data, LoadNetwork)
		return err
	}
	golden(t, "profile-mistakes", errorsOf(t, parse,
		"about: x\ntls: maybe\n",
		"name: a\npaths: {us: {central: eu-eu, edge: metro}}\n",
		"name: a\npaths: {default: {central: eu-eu, edge: metr}, 'a b': {central: eu-eu}}\n",
		"name: a\nuplink: nowhere.yaml\n",
		"name: a\ntsl: true\npaths: {us: {centrl: eu-eu, edge: metr}, default: eu-eu}\nstages:\n  - {name: pph, workers: many, time: {p50: 1}}\n",
		"name: a\nstages:\n  - {name: ngnix, workers: 0, queue: -1}\n",
		"name: a\nstages:\n  - {name: php, workers: 1, time: {p50: 2ms, p95: 1ms, p99.9: 0s}}\n  - {name: php, workers: 70000, queue: 2000000, time: {p100: 1s, 95: 1s}}\n",
		"name: a\nsessions: nowhere\nproxy: {partner: metr, uplink: }\nstages:\n  - {name: php, workers: 1, time: {p50: 2ms}, times: {front=zerocpy: 1, fornt=plain: 1, log=capnp: -1, log=none: 1000}, fitted: 'a b'}\n",
		"name: a\nsessions: edge\n",
	))
}

func TestProfileNamesNetworksBesideItself(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("far.yaml", "name: far\nrtt: 1s\n")
	own := write("own.yaml", "name: own\npaths: {default: {central: far.yaml, edge: metro}}\n")
	p, err := Load(own)
	if err != nil {
		t.Fatal(err)
	}
	if paths, _ := p.Region(""); paths.CentralNetwork.Name != "far" || paths.EdgeNetwork.Name != "metro" {
		t.Errorf("got %+v", paths)
	}

	write("far.yaml", "name: far\nrtt: 1 s\n")
	write("own.yaml", "name: own\ntls: true\nuplink: mtro\npaths: {default: {central: far.yaml, edge: metro}}\n")
	_, err = Load(own)
	for _, want := range []string{own + ":3:9: uplink: unknown network", filepath.Join(dir, "far.yaml") + ":2:6: rtt: want a duration"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s…", err, want)
		}
	}
}

func TestUnknownNames(t *testing.T) {
	_, partnerErr := LoadPartner("singed")
	_, profileErr := Load("bear")
	_, networkErr := LoadNetwork("eu-us-eats")
	for _, test := range []struct {
		err  error
		want string
	}{
		{partnerErr, `unknown partner profile "singed"; allowed: ` + strings.Join(PartnerNames(), ", ") + `; did you mean "signed"?`},
		{profileErr, `unknown profile "bear"; allowed: bare, post`},
		{networkErr, `unknown network "eu-us-eats"; allowed: ` + strings.Join(NetworkNames(), ", ") + `; did you mean "eu-us-east"?`},
	} {
		var unknown *strictyaml.UnknownPresetError
		if !errors.As(test.err, &unknown) || !strings.HasPrefix(test.err.Error(), test.want) {
			t.Errorf("got %v, want %s…", test.err, test.want)
		}
	}
}
