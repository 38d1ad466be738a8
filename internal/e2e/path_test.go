package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postbench/postbench/reports"
)

// pathVariant is a variant with an edge in front of central. The lines of a
// later choice win.
func pathVariant(t *testing.T, name, answer, buffer, uplink string) string {
	t.Helper()
	return write(t, name+".yaml", fmt.Sprintf(`name: %s
summary: of a test
front: zerocopy
answer: %s
buffer: %s
uplink: %s
attribution: memory
caps: atomic
log: json
log_write: background
edges: 1
`, name, answer, buffer, uplink))
}

// inFlight bounds what a replicator hands over at once.
const inFlight = 512

// disturbed plays 3 s of plain traffic without repeats at a variant, so that
// records and postbacks can be counted alike.
func disturbed(t *testing.T, variant string, args ...string) (*reports.Variant, map[string]int64, played) {
	t.Helper()
	p := play(t, append([]string{"run", "--variant", variant, "--rate", "400", "--duration", "3s", "--warmup", "0s", "--settle", "1s"}, args...)...)
	v := &p.result.Variants[0]
	got := sheet(t, v)
	if n := got["double_counted"] + got["phantom"] + got["wrong_verdict"] + got["wrong_payload"] + got["forged_accepted"]; n != 0 {
		t.Errorf("the ledger is wrong besides what is lost: %v", got)
	}
	for _, c := range v.Components {
		if c.Version == "" || c.Version == "unknown" {
			t.Errorf("component without a version: %+v", c)
		}
	}
	return v, got, p
}

// Whoever dies between the answer and the datagram loses nothing that is in
// shared memory.
func TestKilledEdgeAndBatcher(t *testing.T) {
	t.Parallel()
	variant := pathVariant(t, "careful", "after-buffer", "shm", "udp")
	for _, fault := range []string{"kill:edge@1s", "kill:batcher@1s", "kill:batcher@1s+500ms", "stop:edge@1s+300ms"} {
		v, got, p := disturbed(t, variant, "--chaos", fault)
		if got["lost_after_ack"] != 0 || got["recorded"] == 0 {
			t.Errorf("%s: %v\n%s", fault, got, p.stdout)
		}
		if len(v.Faults) != 1 || strings.HasPrefix(fault, "kill") && v.Path.Restarts != 1 {
			t.Errorf("%s: faults %v, restarts %d", fault, v.Faults, v.Path.Restarts)
		}
	}
}

// What a dead collector costs is what was sent and not committed, no more.
func TestKilledCollector(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"kill:collector@1s", "kill:collector@1s+500ms"} {
		v, got, p := disturbed(t, "udp-batch", "--chaos", fault)
		lost := known(t, "sent and not committed", v.Path.Unaccounted())
		if got["lost_after_ack"] != lost || strings.HasSuffix(fault, "ms") && lost == 0 {
			t.Errorf("%s: %d lost after the ack, %d sent and not committed", fault, got["lost_after_ack"], lost)
		}
		if want := fmt.Sprintf("%d sent and not committed", lost); !strings.Contains(p.stdout, want) {
			t.Errorf("the report does not say %q:\n%s", want, p.stdout)
		}
	}
}

// A crash between answer and buffer loses what was answered and not buffered:
// with one connection that is one postback.
func TestAnsweredNotBuffered(t *testing.T) {
	t.Parallel()
	one := write(t, "one.yaml", partnerFile("one", "connections: 1\ntimeout: 5s\nqueue: 5000"))
	v, got, _ := disturbed(t, "udp-batch", "--partner", one, "--chaos", "crash:edge:answered-not-buffered#200")
	if got["lost_after_ack"] != 1 || len(v.Ledger.Worst) == 0 || v.Ledger.Worst[0].Index != 199 {
		t.Errorf("lost %v, worst %+v; want intent 199 alone", got, v.Ledger.Worst)
	}
}

// A crash that was armed and never came makes the run another one than the one
// that was asked for.
func TestCrashThatNeverComes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "out")
	o := postbench(t, "run", "--variant", "udp-batch", "--duration", "1s", "--warmup", "0s", "--settle", "1s", "--out", dir,
		"--chaos", "crash:edge:answered-not-buffered#100000")
	v := readResult(t, dir).Variants[0]
	if o.code != 4 || len(v.Faults) != 0 || !strings.Contains(o.stdout, "a fault was not injected") {
		t.Errorf("exit code %d, faults %v\n%s", o.code, v.Faults, o.stdout)
	}
}

func TestListedDatagramsVanish(t *testing.T) {
	t.Parallel()
	v, got, _ := disturbed(t, "udp-batch", "--udp-drop", "3,17,40-45")
	n := v.Netem
	if n == nil || n.Dropped != 8 || n.DroppedRecords == 0 || got["lost_after_ack"] != n.DroppedRecords {
		t.Errorf("lost %v, relay %+v", got, n)
	}
}

func TestLostDatagrams(t *testing.T) {
	t.Parallel()
	v, got, _ := disturbed(t, "udp-batch", "--udp-loss", "20%")
	n := v.Netem
	if n == nil || n.Dropped == 0 || got["lost_after_ack"] != n.DroppedRecords || n.Dropped == n.UDPSent {
		t.Errorf("lost %v, relay %+v", got, n)
	}
}

// Central may be down for as long as the edge's Redis remembers.
func TestCentralDown(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		variant, scale string
		loses          bool
	}{
		{"edge-redis", "50", false},       // 6 s
		{"edge-redis", "600", true},       // 500 ms
		{"redis-confirmed", "600", false}, // until central has it
	} {
		v, got, p := disturbed(t, test.variant, "--chaos", "kill:collector@500ms+2s", "--time-scale", test.scale)
		// What central took just before it was killed expired unconfirmed, too.
		if lost := got["lost_after_ack"]; (lost > 0) != test.loses || v.Path.RecordsExpired < lost || lost == 0 && v.Path.RecordsExpired > inFlight {
			t.Errorf("%s, times divided by %s: %d lost, %d expired", test.variant, test.scale, lost, v.Path.RecordsExpired)
		}
		if test.loses != strings.Contains(p.stdout, "central's outage outlived") {
			t.Errorf("%s: the report does not explain the loss:\n%s", test.variant, p.stdout)
		}
	}
}

// A Redis without a log forgets what the replicator had not handed over; one
// with a log does not.
func TestKilledRedis(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("redis-server"); err != nil {
		skip(t, "a Redis that is killed and remembers: %v", err)
	}
	for variant, class := range map[string]string{"edge-redis": "D0", "redis-confirmed": "D2"} {
		v, got, _ := disturbed(t, variant, "--chaos", "kill:collector@500ms+1s,kill:redis@1s")
		onDisk := v.Durability == class || v.Durability == "D1" && class == "D2" // D1: the run directory is in memory
		if lost := got["lost_after_ack"]; (lost > 0) != (class == "D0") || !onDisk {
			t.Errorf("%s: durability %s, want %s; %d lost", variant, v.Durability, class, lost)
		}
		for _, c := range v.Components {
			if c.Role == "redis" && (c.Embedded || c.Version == "") {
				t.Errorf("%s ran on %+v", variant, c)
			}
		}
	}
}

// A lane that nobody empties fills up: then the edge says so, and keeps what it
// has answered.
func TestFullLane(t *testing.T) {
	t.Parallel()
	variant := pathVariant(t, "careful", "after-buffer", "shm", "udp")
	v, got, _ := disturbed(t, variant, "--buffer-for", "10ms", "--chaos", "kill:batcher@500ms+2s")
	if got["lost_after_ack"] != 0 || got["lost_at_partner"] == 0 || got["recorded"] == 0 {
		t.Errorf("%v", got)
	}
	refused := map[int]int64{}
	for _, r := range v.Responses {
		refused[r.Status] = r.Count
	}
	if refused[503] != got["lost_at_partner"] {
		t.Errorf("answers %v, %d lost at the partner", refused, got["lost_at_partner"])
	}
}

// Three edges behind one address, one central.
func TestThreeEdges(t *testing.T) {
	t.Parallel()
	variant := pathVariant(t, "three", "after-buffer", "shm", "udp")
	text, err := os.ReadFile(variant)
	if err != nil {
		t.Fatal(err)
	}
	three := write(t, "three.yaml", strings.Replace(string(text), "edges: 1", "edges: 3", 1))
	p := play(t, "run", "--variant", three, "--scenario", "mixed", "--chaos", "kill:edge/2@1s")
	v := &p.result.Variants[0]
	got := sheet(t, v)
	if got["lost_after_ack"]+got["double_counted"]+got["forged_accepted"]+got["wrong_verdict"] != 0 || v.Path.Restarts != 1 {
		t.Errorf("%v, %+v", got, v.Path)
	}
	if v.Caps == nil || v.Caps.BilledOvershoot != 0 {
		t.Errorf("caps %+v", v.Caps)
	}
}

// Ctrl-C leaves nothing behind.
func TestInterruptOfManyProcesses(t *testing.T) {
	t.Parallel()
	for variant, processes := range map[string]int{"edge-redis": 4, "udp-batch": 3} {
		interruptedAmong(t, variant, processes)
	}
}

func interruptedAmong(t *testing.T, variant string, processes int) {
	t.Helper()
	p := start(t, "run", "--variant", variant, "--scenario", "smoke", "--duration", "40s", "--settle", "1s")
	server := theServer(t, p)
	playing(t, filepath.Join(p.tmp, "postbench-run-*", "state.bin"))
	children := childrenOf(t, server)
	if len(children) != processes {
		t.Errorf("%s: %d processes, want %d", variant, len(children), processes)
	}
	lanes := ""
	if variant == "udp-batch" {
		lanes = laneDirOf(t, server)
	}
	p.signal(syscall.SIGINT)
	p.wait()
	for _, pid := range append(children, server) {
		if !isGone(pid) {
			t.Errorf("process %d is left", pid)
		}
	}
	if left := runDirs(t, p.tmp); len(left) > 0 || lanes != "" && exists(lanes) {
		t.Errorf("%s: left behind: %v, lanes in %q", variant, left, lanes)
	}
}

// An edge answers the judge's questions as central does, and every process
// writes its access log.
func TestEdgeHandsOver(t *testing.T) {
	t.Parallel()
	for _, front := range []string{"plain", "zerocopy"} {
		data := t.TempDir()
		text := fmt.Sprintf("name: of-test\nsummary: of a test\nfront: %s\nanswer: after-buffer\nbuffer: shm\nuplink: udp\nattribution: memory\ncaps: atomic\nlog: json\nlog_write: background\nedges: 1\n", front)
		server, edge, admin := serveVariant(t, write(t, "v.yaml", text), data)
		play(t, "run", "--target", edge, "--scenario", "smoke", "--duration", "1s", "--populate", edge+"/population", "--ledger", edge+"/ledger", "--caps", edge)
		if at, behind := fetch(t, edge+"/ledger"), fetch(t, admin+"/ledger"); at != behind || at == "" {
			t.Errorf("%s: the edge's ledger has %d bytes, central's %d", front, len(at), len(behind))
		}
		if status, err := postJSON(edge+"/chaos", `{"do":"kill","role":"edge"}`); err != nil || status != 404 {
			t.Errorf("%s: an edge answers %d to whom wants to kill it, %v", front, status, err)
		}
		stop(t, server)
		lines, err := os.ReadFile(filepath.Join(data, "edge-0", "access.log"))
		if n := strings.Count(string(lines), "\n"); err != nil || n < 100 || strings.Contains(string(lines), "sig=0") {
			t.Errorf("%s: %d lines in the access log, %v", front, n, err)
		}
	}
}

// serveVariant starts a server with edges.
func serveVariant(t *testing.T, variant, data string, more ...string) (p *process, front, admin string) {
	t.Helper()
	p = start(t, append([]string{"serve", "--variant", variant, "--addr", "127.0.0.1:0", "--data", data}, more...)...)
	pattern := regexp.MustCompile(`http://127\.0\.0\.1:\d+`)
	eventually(t, "the server listens", func() bool {
		found := pattern.FindAllString(p.stdout.String(), -1)
		if len(found) == 2 {
			front, admin = found[0], found[1]
		}
		return len(found) == 2
	})
	return p, front, admin
}

// A lane that nobody has drained is drained at the next start.
func TestServeDrainsWhatItFinds(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	variant := pathVariant(t, "careful", "after-buffer", "shm", "udp")
	server, front, admin := serveVariant(t, variant, data)
	args := []string{"run", "--target", front, "--rate", "300", "--duration", "1s", "--warmup", "0s", "--populate", admin + "/population"}
	if response, err := postJSON(admin+"/chaos", `{"do":"kill","role":"batcher","node":0,"for_ns":60000000000}`); err != nil || response != 204 {
		t.Fatal(response, err)
	}
	dir := play(t, args...).dir
	if n := rows(t, admin); n != 0 {
		t.Fatalf("%d rows without a batcher", n)
	}
	server.signal(syscall.SIGKILL)
	server.wait()

	server, _, admin = serveVariant(t, variant, data)
	eventually(t, "the lane is drained", func() bool { return rows(t, admin) == 300 })
	postbench(t, "audit", dir, "--ledger", admin+"/ledger") // exit code 4 if the machine was busy
	if got := sheet(t, &readResult(t, dir).Variants[0]); got["recorded"] != 300 || got["lost_after_ack"] != 0 {
		t.Errorf("%v", got)
	}
	stop(t, server)
}

// laneDirOf is where a server was told to keep its lanes.
func laneDirOf(t *testing.T, server int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", server))
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(text), "--lanes\x00")
	dir, _, _ := strings.Cut(after, "\x00")
	if !found || !exists(dir) {
		t.Fatalf("no lanes in %q", text)
	}
	return dir
}

// Ctrl-C while the processes start leaves nothing behind.
func TestInterruptDuringTheStart(t *testing.T) {
	t.Parallel()
	for _, after := range []time.Duration{20 * time.Millisecond, 60 * time.Millisecond, 100 * time.Millisecond, 140 * time.Millisecond} {
		p := start(t, "run", "--variant", "udp-batch", "--scenario", "smoke", "--settle", "1s")
		time.Sleep(after) // the moment is the test
		children := childrenOf(t, p.cmd.Process.Pid)
		p.signal(syscall.SIGINT)
		p.wait()
		for _, pid := range children {
			if !isGone(pid) {
				t.Errorf("after %v: process %d is left", after, pid)
			}
		}
		if left := runDirs(t, p.tmp); len(left) > 0 {
			t.Errorf("after %v: left behind: %v", after, left)
		}
	}
}

// When the last process cannot start, those before it end, and the reason is
// said in one line. A relative --data is as good as any.
func TestProcessThatCannotStart(t *testing.T) {
	t.Parallel()
	variant := pathVariant(t, "careful", "after-buffer", "shm", "udp")
	data := filepath.Join(t.TempDir(), "data")
	if err := os.MkdirAll(filepath.Join(data, "lanes", "edge-0", "lane-0000.ring"), 0o700); err != nil {
		t.Fatal(err)
	}
	o := postbench(t, "serve", "--variant", variant, "--addr", "127.0.0.1:0", "--data", data)
	log, said, _ := strings.Cut(o.stderr, "postbench: ") // the batcher warns of the lane before
	if o.code != 2 || strings.Count(said, "\n") != 1 || !strings.Contains(said, "edge 0") || !strings.Contains(said, "lane-0000.ring") {
		t.Errorf("exit code %d, log %q, error %q", o.code, log, said)
	}

	for _, v := range []string{variant, "edge-redis"} {
		command := exec.Command(binary, "serve", "--variant", v, "--addr", "127.0.0.1:0", "--data", "data-"+filepath.Base(v))
		command.Dir = t.TempDir()
		server := startCommand(t, command)
		eventually(t, v+" listens", func() bool { return strings.Contains(server.stdout.String(), "http://") })
		stop(t, server)
	}
}

// No process outlives the program, and the next run tidies up after it.
func TestKilledParentOfManyProcesses(t *testing.T) {
	t.Parallel()
	p := start(t, "run", "--variant", "udp-batch", "--scenario", "smoke", "--duration", "40s")
	server := theServer(t, p)
	playing(t, filepath.Join(p.tmp, "postbench-run-*", "state.bin"))
	children, lanes := childrenOf(t, server), laneDirOf(t, server)
	if len(children) != 3 {
		t.Errorf("%d processes, want edge, batcher and collector", len(children))
	}
	p.signal(syscall.SIGKILL)
	p.wait()
	eventually(t, "all processes are gone", func() bool {
		for _, pid := range append(children, server) {
			if !isGone(pid) {
				return false
			}
		}
		return true
	})
	next := exec.Command(binary, "run", "--target", "http://127.0.0.1:1")
	next.Env = append(os.Environ(), "TMPDIR="+p.tmp)
	if out, err := next.CombinedOutput(); err == nil {
		t.Errorf("a target at port 1? %s", out)
	}
	if left := runDirs(t, p.tmp); len(left) > 0 || exists(lanes) {
		t.Errorf("left behind: %v, lanes %v", left, exists(lanes))
	}
}
