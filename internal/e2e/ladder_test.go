package e2e

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postbench/postbench/refserver"
	"github.com/postbench/postbench/refserver/parts"
	"github.com/postbench/postbench/reports"
)

// realComponents are the programs that a variant must have run on, besides what
// is linked into postbench.
var realComponents = map[string][]string{
	"monolith-php": {"nginx", "php-fpm", "laravel", "mariadb", "clickhouse"},
	"monolith":     {"mariadb", "clickhouse"}, "redis-cache": {"mariadb", "clickhouse", "redis-server"},
	"edge-redis": {"redis-server"}, "redis-confirmed": {"redis-server"}, "edge-worker": {"workerd", "redis-server"},
	"grpc-stream": {"grpc-go"}, "udp-batch": {"shared memory"}, "hot-path": {"fasthttp"}, "binary-log": {"fasthttp"},
	"udp-acked": {"fasthttp"}, "partner-proxy": {"fasthttp"},
}

// short is a scenario's play that is long enough to see every verdict.
var short = []string{"--scenario", "smoke", "--rate", "100", "--duration", "1500ms", "--warmup", "0s", "--settle", "300ms"}

// realParts leaves a test out where not all real parts are installed.
func realParts(t *testing.T) {
	t.Helper()
	for _, found := range parts.Installed() {
		if found.Missing != nil {
			skip(t, "not all real parts are here: %v", found.Missing)
		}
	}
}

// faultless wants books without a fault.
func faultless(t *testing.T, v *reports.Variant) {
	t.Helper()
	got := sheet(t, v)
	for _, fault := range []string{"lost_after_ack", "double_counted", "lost_at_partner", "phantom", "wrong_verdict", "wrong_payload", "forged_accepted"} {
		if got[fault] != 0 {
			t.Errorf("%s: %d %s", v.Name, got[fault], fault)
		}
	}
	if got["recorded"] == 0 || got["rejected"] == 0 || got["recorded"]+got["rejected"] != v.Ledger.Intents {
		t.Errorf("%s: %d intents, %v", v.Name, v.Ledger.Intents, got)
	}
}

// atOnce are as many servers as run beside each other where books alone are judged.
const atOnce = 4

// playEach plays the short scenario at each of the variants.
func playEach(t *testing.T, variants []string, judge func(*testing.T, played), args ...string) {
	t.Helper()
	for batch := range slices.Chunk(variants, atOnce) {
		var runs []pending
		for _, variant := range batch {
			runs = append(runs, begin(t, slices.Concat([]string{"run", "--variant", variant}, args, short)...))
		}
		for i, run := range runs {
			t.Run(batch[i], func(t *testing.T) { judge(t, run.played(t)) })
		}
	}
}

// Every rung runs with its real parts, keeps its books and says what it ran on.
func TestLadder(t *testing.T) {
	t.Parallel()
	realParts(t)
	playEach(t, refserver.Ladder(), func(t *testing.T, p played) {
		v := &p.result.Variants[0]
		faultless(t, v)
		want := slices.Clone(realComponents[v.Name])
		if want == nil {
			t.Fatal("this test does not know what the variant runs on")
		}
		for _, c := range v.Components {
			if c.Version == "" || c.Version == "unknown" || c.Embedded {
				t.Errorf("component %+v", c)
			}
			want = slices.DeleteFunc(want, func(name string) bool { return name == c.Implementation })
		}
		if len(want) > 0 {
			t.Errorf("ran without %v: %+v", want, v.Components)
		}
		if left := runDirs(t, p.tmp); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}, "--require", "all")
}

// Stand-ins are named as such, and nothing is asked of what is installed.
func TestStandIns(t *testing.T) {
	t.Parallel()
	standIns := map[string]int{"monolith": 2, "redis-cache": 3, "edge-redis": 1, "redis-confirmed": 1}
	playEach(t, slices.Sorted(maps.Keys(standIns)), func(t *testing.T, p played) {
		v := &p.result.Variants[0]
		faultless(t, v)
		embedded := 0
		for _, c := range v.Components {
			if c.Embedded {
				embedded++
			}
		}
		if embedded != standIns[v.Name] {
			t.Errorf("%d stand-ins, want %d: %+v", embedded, standIns[v.Name], v.Components)
		}
	}, "--embedded")
	oneLine(t, postbench(t, "run", "--variant", "monolith-php", "--embedded"), 2, "monolith-php", "no stand-ins")
	oneLine(t, postbench(t, "run", "--variant", "monolith", "--embedded", "--require", "all"), 2, "is required and would be a stand-in")
}

// Without a part that is required nothing is measured, and one line says what
// to install. The parts are looked for in PATH, which is empty here, and where
// Debian keeps servers: those that lie there cannot be hidden from a child.
func TestRequiredPartIsMissing(t *testing.T) {
	t.Parallel()
	for variant, c := range map[string]struct{ require, program, install string }{
		"edge-redis":  {"all", "redis-server", "apt-get install redis-server"},
		"edge-worker": {"workerd", "workerd", "npm install --global workerd"},
		"redis-cache": {"all", "mariadb-install-db", "apt-get install mariadb-server-core"},
	} {
		command := exec.Command(binary, append([]string{"run", "--variant", variant, "--require", c.require}, short...)...)
		command.Env = append(os.Environ(), "PATH="+t.TempDir())
		if serverDirHas(c.program) {
			t.Logf("%s cannot be hidden: it lies where Debian keeps servers", c.program)
			continue
		}
		o := startCommand(t, command).wait()
		oneLine(t, o, 2, c.program+" is not installed", c.install)
		if left := runDirs(t, o.tmp); len(left) > 0 {
			t.Errorf("%s: left behind: %v", variant, left)
		}
	}
}

func serverDirHas(program string) bool {
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if exists(filepath.Join(dir, program)) {
			return true
		}
	}
	return false
}

// The uplink that is acked loses nothing and counts nothing twice, however bad
// the network, and says what that costs.
func TestAckedDatagrams(t *testing.T) {
	for _, loss := range []string{"1%", "30%"} {
		t.Run(loss, func(t *testing.T) {
			t.Parallel()
			v, got, p := disturbed(t, "udp-acked", "--udp-loss", loss, "--udp-duplicate", "50%", "--udp-reorder", "20%")
			if got["lost_after_ack"]+got["lost_at_partner"] != 0 || got["recorded"] != v.Ledger.Intents {
				t.Errorf("%v", got)
			}
			if v.Netem == nil || v.Netem.Dropped == 0 || v.Netem.Dropped == v.Netem.UDPSent {
				t.Errorf("relay %+v", v.Netem)
			}
			acked := v.Path.Acked
			if acked == nil || acked.Records < v.Ledger.Intents || acked.RecordsResent == 0 || acked.AckRTTUs == 0 {
				t.Fatalf("acked %+v", acked)
			}
			line := fmt.Sprintf("acked by central: %d records; %d sent again", acked.Records, acked.RecordsResent)
			if !strings.Contains(p.stdout, line) {
				t.Errorf("the report does not say %q:\n%s", line, p.stdout)
			}
			t.Logf("%d records, %d sent again, %d of %d bytes; acks after %v µs", acked.Records, acked.RecordsResent, acked.BytesResent, acked.Bytes, acked.AckRTTUs)
		})
	}
}

// What `make ladder` plays is the ladder.
func TestMakeLadder(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile(filepath.Join("..", "..", "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(makefile), "\nLADDER ")
	line, _, _ := strings.Cut(after, "\n")
	if want := strings.Join(refserver.Ladder(), ","); strings.TrimSpace(strings.TrimLeft(line, " =")) != want {
		t.Errorf("LADDER%s, want %s", line, want)
	}
}
