package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/postbench/postbench/refserver"
	"github.com/postbench/postbench/refserver/cost"
	"github.com/postbench/postbench/reports"
)

// faultsOf are the faults that the composition has processes for.
func (d *disturbances) faultsOf(c *refserver.Composition) []plannedFault {
	var list []plannedFault
	roles := c.Roles()
	for _, f := range d.faults {
		if hasProcess(c, roles, f.Role, f.Node) == nil {
			list = append(list, f)
		}
	}
	return list
}

func (d *disturbances) crashOf(c *refserver.Composition) *crashFault {
	if d.crash == nil || hasProcess(c, c.Roles(), d.crash.role, d.crash.node) != nil {
		return nil
	}
	return d.crash
}

// injection is what was done to a server in a run.
type injection struct {
	faults []reports.Fault
	failed []string
}

// inject does what is planned, each at its time, until ctx ends.
func (to *target) inject(ctx context.Context, start time.Time) (done injection) {
	if c := to.crash; c != nil {
		done.faults = append(done.faults, reports.Fault{Do: "crash", Process: processName(c.role, c.node), Point: c.point})
	}
	slices.SortStableFunc(to.faults, func(a, b plannedFault) int { return cmp.Compare(a.at, b.at) })
	for _, f := range to.faults {
		timer := time.NewTimer(time.Until(start.Add(f.at)))
		select {
		case <-ctx.Done():
			timer.Stop()
			done.failed = append(done.failed, fmt.Sprintf("%s of %s at %v came after the end", f.Do, processName(f.Role, f.Node), f.at))
			continue
		case <-timer.C:
		}
		atNs := int64(time.Since(start))
		if err := to.do(ctx, &f.Fault); err != nil {
			done.failed = append(done.failed, fmt.Sprintf("%s of %s at %v: %v", f.Do, processName(f.Role, f.Node), f.at, err))
			continue
		}
		done.faults = append(done.faults, reports.Fault{Do: f.Do, Process: processName(f.Role, f.Node), AtNs: atNs, ForNs: f.ForNs, AddNs: f.AddNs})
	}
	return done
}

// do does a fault: the server's processes are its own to kill, the server as a
// whole is ours.
func (to *target) do(ctx context.Context, f *refserver.Fault) error {
	if f.Role == roleServer {
		return to.restart(ctx, time.Duration(f.ForNs))
	}
	return to.post(ctx, f)
}

func processName(role refserver.Role, node int) string {
	if role == "" || role == roleServer {
		return "server"
	}
	return fmt.Sprintf("%s/%d", role, node)
}

func (to *target) post(ctx context.Context, f *refserver.Fault) error {
	text, err := json.Marshal(f)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), httpTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to.chaos, bytes.NewReader(text))
	if err != nil {
		return err
	}
	response, err := to.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusNoContent {
		reason, _ := io.ReadAll(io.LimitReader(response.Body, maxReasonBytes))
		return fmt.Errorf("%s: %s", response.Status, bytes.TrimSpace(reason))
	}
	return nil
}

// disturbed notes what was done. A fault that could not be done makes the run
// another one than the one that was asked for.
func (m *measurement) disturbed(by injection) {
	m.faults = by.faults
	for _, reason := range by.failed {
		m.doubts.server = append(m.doubts.server, "a fault was not injected: "+reason)
	}
}

// The counts that the report needs of each role, see refserver.Path.
type (
	edgeCounts struct {
		DroppedAfterAnswer int64 `json:"dropped_after_answer"`
	}
	workerCounts struct {
		CPUNs int64 `json:"cpu_ns"` // of the program that the process runs
	}
	senderCounts struct {
		RecordsSent   int64 `json:"records_sent"`
		DatagramsSent int64 `json:"datagrams_sent"`
		Replicated    int64 `json:"replicated"`
		Expired       int64 `json:"expired"`
		BytesSent     int64 `json:"bytes_sent"`
		Acked         int64 `json:"acked"`
		ResentRecords int64 `json:"resent_records"`
		ResentBytes   int64 `json:"resent_bytes"`
		Probes        int64 `json:"probes"`
		RTTUs         int64 `json:"rtt_us"`
	}
	receiverCounts struct {
		CommittedEver int64            `json:"committed_ever"`
		KernelDrops   int64            `json:"kernel_drops"`
		Refused       map[string]int64 `json:"refused"`
	}
	relayCounts struct {
		Sent, Dropped, Duplicated, Reordered, Corrupted           int64
		DroppedRecords, CorruptedRecords, SendFailed, KernelDrops int64
	}
)

// serverPath is refserver.Path as the report reads it.
type serverPath struct {
	Edges       []pathStep[edgeCounts]   `json:"edges"`
	Workers     []pathStep[workerCounts] `json:"workers"`
	Batchers    []pathStep[senderCounts] `json:"batchers"`
	Streamers   []pathStep[senderCounts] `json:"streamers"`
	Redis       []pathStep[struct{}]     `json:"redis"`
	Replicators []pathStep[senderCounts] `json:"replicators"`
	Central     pathStep[receiverCounts] `json:"central"`
	Relay       *relayCounts             `json:"relay"`
}

type pathStep[T any] struct {
	Node     int   `json:"node"`
	Restarts int64 `json:"restarts"`
	CPUNs    int64 `json:"cpu_ns"`
	Counts   *T    `json:"counts"`
}

// readStages asks a server of ours what its modelled stages did.
func (to *target) readStages(ctx context.Context, m *measurement) error {
	if to.stages == "" {
		return nil
	}
	var stages []cost.StageTruth
	if err := getJSON(ctx, to.client, to.stages, &stages); err != nil {
		return err
	}
	for _, s := range stages {
		if s.Count+s.Refused+s.GaveUp == 0 {
			continue // this architecture has no such stage
		}
		c := reports.StageCost{Stage: s.Stage, Requests: s.Count, Refused: s.Refused + s.GaveUp, MaxQueue: s.MaxQueue}
		if s.Count > 0 {
			c.WaitMeanUs, c.ServeMeanUs = float64(s.WaitNs)/1e3/float64(s.Count), float64(s.ServedNs)/1e3/float64(s.Count)
		}
		m.costs = append(m.costs, c)
	}
	return nil
}

// readPath asks the server what its processes counted.
func (to *target) readPath(ctx context.Context, m *measurement) error {
	if to.path == "" {
		return nil
	}
	var path serverPath
	if err := getJSON(ctx, to.client, to.path, &path); err != nil {
		return err
	}
	m.path = path.summary()
	m.crashed(to.crash, &path)
	if r := path.Relay; r != nil {
		m.netem = &reports.Netem{UDPSent: r.Sent, Dropped: r.Dropped, DroppedRecords: r.DroppedRecords,
			Duplicated: r.Duplicated, Reordered: r.Reordered, Corrupted: r.Corrupted,
			CorruptedRecords: r.CorruptedRecords, SendFailed: r.SendFailed, KernelDrops: max(0, r.KernelDrops)}
		if n := m.netem.SendFailed + m.netem.KernelDrops; n > 0 {
			m.doubts.machine = append(m.doubts.machine, fmt.Sprintf("the relay itself lost %d datagrams", n))
		}
	}
	return nil
}

// crashed takes back a crash that was armed and never came: the run was another
// one than the one that was asked for.
func (m *measurement) crashed(c *crashFault, path *serverPath) {
	if c == nil || slices.ContainsFunc(path.Edges, func(e pathStep[edgeCounts]) bool { return e.Node == c.node && e.Restarts > 0 }) {
		return
	}
	m.faults = slices.DeleteFunc(m.faults, func(f reports.Fault) bool { return f.Do == "crash" })
	m.doubts.server = append(m.doubts.server, fmt.Sprintf("a fault was not injected: %s never came to %s", processName(c.role, c.node), c.point))
}

// cpu is the CPU time of all processes.
func (p *serverPath) cpu() time.Duration {
	sum := p.Central.CPUNs
	for _, e := range p.Edges {
		sum += e.CPUNs
	}
	for _, r := range p.Redis {
		sum += r.CPUNs
	}
	for _, s := range p.senders() {
		sum += s.CPUNs
	}
	for _, w := range p.Workers {
		sum += w.CPUNs
		if w.Counts != nil {
			sum += w.Counts.CPUNs
		}
	}
	return time.Duration(sum)
}

// senders hand records over to central.
func (p *serverPath) senders() []pathStep[senderCounts] {
	return slices.Concat(p.Batchers, p.Streamers, p.Replicators)
}

// acked is what those senders did that hear of central's commits; nil without
// any.
func (p *serverPath) acked() (sum *reports.AckedPath) {
	for _, s := range slices.Concat(p.Batchers, p.Streamers) {
		if s.Counts == nil || s.Counts.Acked == 0 {
			continue
		}
		if sum == nil {
			sum = &reports.AckedPath{}
		}
		sum.Records += s.Counts.Acked
		sum.RecordsResent += s.Counts.ResentRecords
		sum.Bytes += s.Counts.BytesSent
		sum.BytesResent += s.Counts.ResentBytes
		sum.Probes += s.Counts.Probes
		sum.AckRTTUs = max(sum.AckRTTUs, float64(s.Counts.RTTUs))
	}
	return sum
}

// summary adds up the processes.
func (p *serverPath) summary() *reports.Path {
	sum := &reports.Path{Restarts: p.Central.Restarts}
	for _, e := range p.Edges {
		sum.Restarts += e.Restarts
		if e.Counts != nil {
			sum.DroppedAfterAnswer += e.Counts.DroppedAfterAnswer
		}
	}
	for _, r := range p.Redis {
		sum.Restarts += r.Restarts
	}
	records, datagrams, known := int64(0), int64(0), true
	for _, w := range p.Workers {
		sum.Restarts += w.Restarts
	}
	for _, s := range p.senders() {
		sum.Restarts += s.Restarts
		known = known && s.Counts != nil && s.Restarts == 0
		if s.Counts != nil {
			records += s.Counts.RecordsSent + s.Counts.Replicated
			datagrams += s.Counts.DatagramsSent
			sum.RecordsExpired += s.Counts.Expired
		}
	}
	sum.AtLeast, sum.Acked = sum.Restarts > 0, p.acked()
	if known {
		sum.RecordsSent = &records
	}
	if known && len(p.Batchers) > 0 {
		sum.Datagrams = &datagrams
	}
	if c := p.Central.Counts; c != nil {
		sum.RecordsCommitted, sum.KernelDrops = c.CommittedEver, c.KernelDrops
		for reason, n := range c.Refused {
			if !strings.HasPrefix(reason, "ingest_") { // those are requests, which the replicator repeats
				sum.Refused += n
			}
		}
	}
	return sum
}
