package refserver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"runtime"
	"strconv"

	"github.com/postbench/postbench/internal/buildinfo"
	"github.com/postbench/postbench/refserver/admin"
	"github.com/postbench/postbench/refserver/cost"
	"github.com/postbench/postbench/refserver/datagram"
	"github.com/postbench/postbench/refserver/lanes"
	"github.com/postbench/postbench/refserver/redisbuf"
	"github.com/postbench/postbench/refserver/shm"
)

// serveAdmin answers the judge's questions on a free port of the loopback
// interface until ctx ends: most go to central, some only the supervisor knows.
func (s *supervisor) serveAdmin(ctx context.Context) (done <-chan struct{}, err error) {
	listener, err := listen(ctx, s.config.AdminAddr)
	if err != nil {
		return nil, err
	}
	s.adminAddr = listener.Addr().String()
	server := &http.Server{Handler: s.adminHandler(), ReadHeaderTimeout: readHeaderLimit, IdleTimeout: idleLimit}
	closed := make(chan struct{})
	go func() { _ = server.Serve(listener) }()
	go func() {
		defer close(closed)
		<-ctx.Done()
		_ = server.Close()
	}()
	return closed, nil
}

func (s *supervisor) adminHandler() http.Handler {
	target, _ := url.Parse(controlHost) // a constant
	central := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:      s.central.client.Transport,
		ModifyResponse: s.amend,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, "central: "+err.Error(), http.StatusBadGateway)
		},
	}
	mux := http.NewServeMux()
	mux.Handle("/", central)
	mux.HandleFunc("GET /components", answerJSON(s.components))
	mux.HandleFunc("GET /path", answerJSON(s.path))
	mux.HandleFunc("POST /chaos", takeFault(s.inject))
	mux.HandleFunc("GET /stages", answerJSON(s.stages))
	mux.HandleFunc("GET /runtime", answerJSON(s.runtimes))
	mux.HandleFunc("/keys", http.NotFound) // central's secrets stay inside
	mux.HandleFunc("/ingest", http.NotFound)
	return mux
}

// amend adds to central's answers what only the supervisor knows.
func (s *supervisor) amend(r *http.Response) error {
	switch {
	case r.Request.URL.Path == "/ledger" && r.StatusCode == http.StatusOK:
		central, err := strconv.ParseInt(r.Header.Get(admin.BacklogHeader), 10, 64)
		if err != nil {
			return fmt.Errorf("central's backlog: %w", err)
		}
		r.Header.Set(admin.BacklogHeader, strconv.FormatInt(central+s.backlog(r.Request.Context()), 10))
	case r.Request.URL.Path == "/population/keys" && r.StatusCode == http.StatusOK:
		return s.distributeKeys(r.Request.Context())
	}
	return nil
}

// backlog is what the edges hold for central. Of a part that does not answer
// nobody can say that it holds nothing: it counts as 1.
func (s *supervisor) backlog(ctx context.Context) int64 {
	var sum int64
	for _, p := range s.of(RoleReplicator) {
		var counts replicatorCounts
		if err := p.control.get(ctx, "/counts", &counts); err != nil {
			counts.Backlog = 1
		}
		sum += counts.Backlog
	}
	if s.config.Composition.Buffer != BufferShm {
		return sum
	}
	for _, n := range s.nodes {
		held, err := lanes.Backlog(n.laneDir)
		if err != nil {
			held = 1
		}
		sum += held
	}
	return sum
}

// components names what really runs.
func (s *supervisor) components(ctx context.Context) (any, error) {
	c := s.config.Composition
	list, err := s.frontComponents(ctx)
	if err != nil {
		return nil, err
	}
	if c.Buffer == BufferShm {
		uplink := admin.Component{Role: "uplink", Implementation: "UDP", Version: fmt.Sprintf("datagram format %d", datagram.Version)}
		if c.Uplink == UplinkGRPC {
			uplink.Implementation, uplink.Version = "grpc-go", buildinfo.ModuleVersion(grpcModule)
		}
		list = append(list, admin.Component{Role: "queue", Implementation: "shared memory", Version: fmt.Sprintf("lane format %d", shm.Version)}, uplink)
	} else {
		redis := admin.Component{Role: "redis", Implementation: "redis-server"}
		if !s.realRedis {
			redis.Implementation, redis.Embedded = "miniredis", true
		}
		if redis.Version, err = redisbuf.Version(ctx, s.nodes[0].redis); err != nil {
			return nil, fmt.Errorf("ask Redis for its version: %w", err)
		}
		list = append(list, redis)
	}
	var central []admin.Component
	if err := s.central.get(ctx, "/components", &central); err != nil {
		return nil, err
	}
	return append(list, central...), nil
}

const grpcModule = "google.golang.org/grpc"

// frontComponents name what partners come to.
func (s *supervisor) frontComponents(ctx context.Context) ([]admin.Component, error) {
	front := s.config.Composition.Front
	list := []admin.Component{frontComponent(front)}
	switch front {
	case FrontGRPC:
		list = append(list, admin.Component{Role: "streams", Implementation: "grpc-go", Version: buildinfo.ModuleVersion(grpcModule)})
	case FrontWorker:
		var counts workerCounts
		if err := s.of(RoleWorker)[0].control.get(ctx, "/counts", &counts); err != nil {
			return nil, fmt.Errorf("ask the Worker for its version: %w", err)
		}
		list = append([]admin.Component{counts.Component}, list...)
	}
	return list, nil
}

func frontComponent(front string) admin.Component {
	if front == FrontZerocopy {
		return admin.Component{Role: "http", Implementation: "fasthttp", Version: buildinfo.ModuleVersion("github.com/valyala/fasthttp")}
	}
	return admin.Component{Role: "http", Implementation: "net/http", Version: runtime.Version()}
}

// Path is what every process on a postback's way has counted since its start;
// the counts themselves are the process's own, see its package.
type Path struct {
	Edges       []PathStep `json:"edges"`
	Workers     []PathStep `json:"workers,omitempty"`
	Batchers    []PathStep `json:"batchers,omitempty"`
	Streamers   []PathStep `json:"streamers,omitempty"`
	Redis       []PathStep `json:"redis,omitempty"`
	Replicators []PathStep `json:"replicators,omitempty"`
	Central     PathStep   `json:"central"`
	Relay       any        `json:"relay,omitempty"`
}

// PathStep is one process. Counts is null while it does not answer.
type PathStep struct {
	Node     int             `json:"node"`
	Pid      int             `json:"pid"`
	Restarts int64           `json:"restarts"`
	CPUNs    int64           `json:"cpu_ns"` // user and system, of the living process
	Counts   json.RawMessage `json:"counts"`
}

func (s *supervisor) path(ctx context.Context) (any, error) {
	var path Path
	for role, steps := range map[Role]*[]PathStep{RoleEdge: &path.Edges, RoleBatcher: &path.Batchers,
		RoleRedis: &path.Redis, RoleReplicator: &path.Replicators, RoleStreamer: &path.Streamers, RoleWorker: &path.Workers} {
		for _, p := range s.of(role) {
			*steps = append(*steps, s.step(ctx, p))
		}
	}
	path.Central = s.step(ctx, s.of(RoleCollector)[0])
	if relay := s.relay.Load(); relay != nil {
		path.Relay = relay.Counts()
	}
	return path, nil
}

// stages adds up what the processes say of their stages; one that does not
// answer is left out, as what it has counted before it died is.
func (s *supervisor) stages(ctx context.Context) (any, error) {
	var all [][]cost.StageTruth
	for _, p := range append(s.of(RoleEdge), s.of(RoleCollector)...) {
		var counts struct{ Stages []cost.StageTruth }
		if err := p.control.get(ctx, "/counts", &counts); err == nil {
			all = append(all, counts.Stages)
		}
	}
	return cost.Merge(all...), nil
}

func (s *supervisor) step(ctx context.Context, p *process) PathStep {
	child := p.running()
	step := PathStep{Node: p.node, Restarts: p.restarted(), CPUNs: int64(p.cpuTime())}
	if child == nil {
		return step
	}
	step.Pid = child.Pid()
	if p.control == nil {
		return step
	}
	if err := p.control.get(ctx, "/counts", &step.Counts); err != nil {
		step.Counts = nil
	}
	return step
}
