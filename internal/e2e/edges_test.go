package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	manyEdges  = 50
	edgesRate  = 1_000 // postbacks/s of all edges together
	edgesPlayS = 4
)

// A new connection for each postback spreads them over all edges.
const newEachTime = "name: new-each-time\nabout: of a test\ntemplate: plain\nconnections: 0\ntimeout: 10s\nkeep_alive: false\n"

// edgesPath is what the server of many edges says of its processes.
type edgesPath struct {
	Edges []struct {
		Node   int
		Counts *struct{ Accepted int64 }
	}
	Batchers []struct {
		Counts *struct{ Acked int64 }
	}
}

// 50 edges, 50 batchers and one central take 1,000/s in all: every edge has its
// share, and the books balance.
func TestManyEdges(t *testing.T) {
	variant := write(t, "fifty.yaml", fmt.Sprintf(`name: fifty
summary: of a test
front: zerocopy
answer: after-buffer
buffer: shm
uplink: udp-acked
attribution: memory
caps: atomic
log: capnp
log_write: mapped
edges: %d
`, manyEdges))
	began := time.Now()
	// Small lanes: all of them fit into any container's shared memory.
	server, front, admin := serveVariant(t, variant, t.TempDir(), "--buffer-for", "20ms")
	startedIn := time.Since(began)
	p := play(t, "run", "--target", front, "--partner", write(t, "new-each-time.yaml", newEachTime), "--rate", fmt.Sprint(edgesRate),
		"--duration", fmt.Sprintf("%ds", edgesPlayS), "--warmup", "1s", "--settle", "500ms", "--populate", admin+"/population", "--ledger", admin+"/ledger", "--clock", admin+"/clock")
	v := &p.result.Variants[0]
	got := sheet(t, v)
	if got["recorded"] != edgesRate*edgesPlayS || got["lost_after_ack"]+got["lost_at_partner"]+got["double_counted"]+got["wrong_verdict"] != 0 {
		t.Errorf("%v", got)
	}
	var path edgesPath
	if err := json.Unmarshal([]byte(fetch(t, admin+"/path")), &path); err != nil {
		t.Fatal(err)
	}
	least, most := path.shares(t)
	t.Logf("%d processes, started in %v, %s of memory; %d to %d postbacks an edge; response p50 %.0f µs, p95 %.0f µs; %s %v",
		len(childrenOf(t, server.cmd.Process.Pid)), startedIn.Round(time.Millisecond), memoryOf(t, server.cmd.Process.Pid), least, most,
		known(t, "p50", v.Latency.Response.P50Us), known(t, "p95", v.Latency.Response.P95Us), v.Validity.Verdict, v.Validity.Reasons)
	stop(t, server)
}

// shares wants a share of the postbacks at every edge, and nothing left over.
func (path *edgesPath) shares(t *testing.T) (least, most int64) {
	t.Helper()
	if len(path.Edges) != manyEdges || len(path.Batchers) != manyEdges {
		t.Fatalf("%d edges and %d batchers", len(path.Edges), len(path.Batchers))
	}
	var accepted, acked int64
	least = edgesRate * edgesPlayS
	for i, edge := range path.Edges {
		if edge.Counts == nil || edge.Counts.Accepted == 0 || path.Batchers[i].Counts == nil {
			t.Fatalf("edge %d took nothing: %+v", edge.Node, edge.Counts)
		}
		n := edge.Counts.Accepted
		least, most, accepted, acked = min(least, n), max(most, n), accepted+n, acked+path.Batchers[i].Counts.Acked
	}
	if accepted != edgesRate*edgesPlayS || acked != accepted {
		t.Errorf("the edges took %d postbacks, and central acked %d", accepted, acked)
	}
	return least, most
}

// memoryOf is what a process and its children have in memory; pages that they
// share count once.
func memoryOf(t *testing.T, pid int) string {
	t.Helper()
	kib := 0
	for _, pid := range append(childrenOf(t, pid), pid) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return "an unknown amount"
		}
		_, after, _ := strings.Cut(string(text), "\nPss:")
		if fields := strings.Fields(after); len(fields) > 0 {
			n, _ := strconv.Atoi(fields[0])
			kib += n
		}
	}
	return fmt.Sprintf("%d MiB", kib>>10)
}
