package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/postbench/postbench/internal/machine"
)

const (
	// bareEnv makes this program the server that the edge is held against.
	bareEnv = "POSTBENCH_RESULTS_BARE"
	// edgeShare is what the edge must reach of the bare server's requests per
	// second of CPU time.
	edgeShare     = 0.6
	edgeRounds    = 5
	edgeRound     = 2 * time.Second
	edgeConns     = 16
	startPatience = 20 * time.Second
	// collectorGoal is in records per second.
	collectorGoal = 100_000
)

// edgeVariant is an edge on the ring that is otherwise as bare as it gets.
const edgeVariant = `name: edge
summary: zero-copy edge on shared memory
front: zerocopy
answer: after-buffer
buffer: shm
uplink: udp
attribution: memory
caps: atomic
log: none
log_write: none
edges: 1
`

// serveBare answers 200 and does nothing else.
func serveBare() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("http://%s\n", listener.Addr())
	server := &fasthttp.Server{NoDefaultServerHeader: true, Handler: func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("OK") }}
	return server.Serve(listener)
}

// edgeExperiment compares CPU time per request: the requests per second of one
// core, whatever else the machine does.
func edgeExperiment() experiment {
	return experiment{
		name: "edge", title: "Requests per core: edge with ring against a bare fasthttp 200",
		claim: fmt.Sprintf("The edge (zero-copy front, answer after the ring, plain postbacks) answers at least %g times as many requests per second of its CPU time as a fasthttp server whose handler does nothing (median of %d interleaved rounds, %d connections).", edgeShare, edgeRounds, edgeConns),
		run: func(ctx context.Context, l *lab) (finding, error) {
			bare, err := startBare(ctx)
			if err != nil {
				return finding{}, err
			}
			defer bare.stop()
			edge, err := startEdge(ctx, l)
			if err != nil {
				return finding{}, err
			}
			defer edge.stop()
			t := newTable("round", "bare fasthttp, requests per CPU s", "edge with ring", "ratio")
			var ratios []float64
			for round := range edgeRounds {
				b, err := bare.perCPUSecond(ctx)
				if err != nil {
					return finding{}, err
				}
				e, err := edge.perCPUSecond(ctx)
				if err != nil {
					return finding{}, err
				}
				ratios = append(ratios, e/b)
				t.row(strconv.Itoa(round+1), fmt.Sprintf("%.0f", b), fmt.Sprintf("%.0f", e), fmt.Sprintf("%.2f", e/b))
			}
			ratio := medianOf(ratios)
			return finding{
				commands: []string{"go run ./internal/results -only edge   # postbench serve --variant edge.yaml; 16 closed-loop connections"},
				body:     t.String() + fmt.Sprintf("\nMedian ratio: %.2f.\n", ratio),
				holds:    ratio >= edgeShare, short: "the edge costs more",
			}, nil
		},
	}
}

// subject is a server process under closed-loop load.
type subject struct {
	command *exec.Cmd
	url     string
	pid     int // whose CPU time counts
	sent    atomic.Int64
}

func (s *subject) stop() {
	_ = s.command.Process.Signal(os.Interrupt)
	_ = s.command.Wait()
}

var address = regexp.MustCompile(`http://127\.0\.0\.1:\d+`)

// startProgram starts a server that prints its addresses.
func startProgram(command *exec.Cmd, addresses int) (*subject, []string, error) {
	out, err := command.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		return nil, nil, err
	}
	s := &subject{command: command, pid: command.Process.Pid}
	late := time.AfterFunc(startPatience, func() { _ = command.Process.Kill() })
	defer late.Stop()
	line, err := bufio.NewReader(out).ReadString('\n')
	found := address.FindAllString(line, -1)
	if err != nil || len(found) < addresses {
		s.stop()
		return nil, nil, fmt.Errorf("%s did not start: %q, %w", command.Path, line, errors.Join(err, errors.New("no address")))
	}
	s.url = found[0]
	return s, found, nil
}

func startBare(ctx context.Context) (*subject, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, program)
	command.Env = append(os.Environ(), bareEnv+"=1")
	s, _, err := startProgram(command, 1)
	return s, err
}

func startEdge(ctx context.Context, l *lab) (*subject, error) {
	file := filepath.Join(l.dir, "edge.yaml")
	if err := os.WriteFile(file, []byte(edgeVariant), 0o600); err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, l.binary, "serve", "--variant", file, "--addr", "127.0.0.1:0", "--data", filepath.Join(l.dir, "edge"))
	s, addresses, err := startProgram(command, 2)
	if err != nil {
		return nil, err
	}
	response, err := http.Get(addresses[1] + "/path")
	if err != nil {
		s.stop()
		return nil, err
	}
	defer response.Body.Close()
	var path struct{ Edges []struct{ Pid int } }
	if err := json.NewDecoder(response.Body).Decode(&path); err != nil || len(path.Edges) != 1 {
		s.stop()
		return nil, fmt.Errorf("processes of the edge: %+v, %w", path, err)
	}
	s.pid = path.Edges[0].Pid
	return s, nil
}

// perCPUSecond keeps the subject busy for a round.
func (s *subject) perCPUSecond(ctx context.Context) (float64, error) {
	before, err := machine.ProcessCPU(s.pid)
	if err != nil {
		return 0, err
	}
	round, cancel := context.WithTimeout(ctx, edgeRound)
	defer cancel()
	var answered atomic.Int64
	errs := make(chan error, edgeConns)
	var clients sync.WaitGroup
	for range edgeConns {
		clients.Go(func() { errs <- s.client(round, &answered) })
	}
	clients.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return 0, err
		}
	}
	after, err := machine.ProcessCPU(s.pid)
	if err != nil {
		return 0, err
	}
	return float64(answered.Load()) / (after - before).Seconds(), nil
}

// client sends one postback after the other; every answer must be 200.
func (s *subject) client(ctx context.Context, answered *atomic.Int64) error {
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		return err
	}
	defer conn.Close()
	reader, request := bufio.NewReader(conn), []byte(nil)
	var response fasthttp.Response
	for ctx.Err() == nil {
		request = fmt.Appendf(request[:0], "GET /pb?click_id=0123456789abcdef0123456789abcdef&txid=t-%d&offer_id=offer-1&event=sale&payout=12.5&currency=USD HTTP/1.1\r\nHost: localhost\r\n\r\n", s.sent.Add(1))
		if _, err := conn.Write(request); err != nil {
			return err
		}
		if err := response.Read(reader); err != nil {
			return err
		}
		if response.StatusCode() != fasthttp.StatusOK {
			return fmt.Errorf("%s answered %d: %s", s.url, response.StatusCode(), response.Body())
		}
		answered.Add(1)
	}
	return nil
}

// collectorExperiment runs the collector's own benchmark over loopback.
func collectorExperiment() experiment {
	return experiment{
		name: "collector", title: "Records per second at the collector",
		claim: fmt.Sprintf("At least %d records a second from the socket to the synced commit, sender on the same machine, nothing lost.", collectorGoal),
		run: func(ctx context.Context, _ *lab) (finding, error) {
			args := []string{"test", "-run", "^$", "-bench", "^BenchmarkRun$", "-benchtime", "3s", "-count", "3", "./refserver/collect"}
			out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput()
			if err != nil {
				return finding{}, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
			}
			t := newTable("run", "records/s")
			var rates []float64
			for _, m := range regexp.MustCompile(`([\d.]+) records/s`).FindAllStringSubmatch(string(out), -1) {
				rate, err := strconv.ParseFloat(m[1], 64)
				if err != nil {
					return finding{}, err
				}
				rates = append(rates, rate)
				t.row(strconv.Itoa(len(rates)), fmt.Sprintf("%.0f", rate))
			}
			if len(rates) == 0 {
				return finding{}, fmt.Errorf("no rate in:\n%s", out)
			}
			median := medianOf(rates)
			return finding{
				commands: []string{"go " + strings.Join(args, " ")}, body: t.String() + fmt.Sprintf("\nMedian: %.0f records/s.\n", median),
				holds: median >= collectorGoal, short: "it takes fewer",
			}, nil
		},
	}
}
