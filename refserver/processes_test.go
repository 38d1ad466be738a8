package refserver_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/proc"
	"github.com/postbench/postbench/refserver"
	"github.com/postbench/postbench/refserver/cost"
)

// roleArg tells the test binary to play a role, on the file that follows.
const roleArg = "play-role"

// playRole is one process of a server that a test supervises.
func playRole(file string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	ctx, err := proc.LifelineContext(ctx)
	var role refserver.RoleConfig
	if err == nil {
		role, err = refserver.ReadRoleConfig(file)
	}
	if err == nil {
		log := slog.New(slog.NewTextHandler(os.Stderr, nil))
		var announced error
		err = refserver.RunRole(ctx, role, log, func(addr string) { announced = proc.AnnounceReady(os.Stdout, addr, nil) })
		err = errors.Join(err, announced)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// variant is a preset with other choices on some axes, as a server of this
// test.
func variant(t *testing.T, name string, edges int, choices ...string) refserver.Config {
	t.Helper()
	c, err := refserver.LoadVariant(name)
	for i := 0; i < len(choices) && err == nil; i += 2 {
		c, err = c.With(choices[i], choices[i+1])
	}
	if err != nil {
		t.Fatal(err)
	}
	c.Edges = edges
	return refserver.Config{Composition: c, Addr: "127.0.0.1:0", DataDir: t.TempDir(), BufferFor: 50 * time.Millisecond, Seed: 1,
		ChildLog: os.Stderr, Program: func(file string) (string, []string) { return os.Args[0], []string{roleArg, file} }}
}

// run serves until the test's end.
func run(t *testing.T, config refserver.Config) (*server, refserver.Addresses) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan refserver.Addresses, 1), make(chan error, 1)
	go func() { done <- refserver.Serve(ctx, config, func(at refserver.Addresses) { ready <- at }) }()
	select {
	case at := <-ready:
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		s := &server{t: t, url: "http://" + at.Front}
		s.populate()
		return s, at
	case err := <-done:
		cancel()
		t.Fatalf("server ended: %v", err)
		return nil, refserver.Addresses{}
	}
}

// each runs the test at a server of one process and at one of several.
func each(t *testing.T, edges int, test func(t *testing.T, config refserver.Config)) {
	for _, name := range []string{"monolith", "udp-batch", "edge-redis"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := edges
			if name == "monolith" {
				n = 1
			}
			test(t, variant(t, name, n))
		})
	}
}

// tell posts to the address where a judge is answered.
func tell(t *testing.T, addr, path, body string, want int) {
	t.Helper()
	response, err := http.Post("http://"+addr+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, _ := io.ReadAll(response.Body); response.StatusCode != want {
		t.Errorf("POST %s %s: %s %s, want %d", path, body, response.Status, text, want)
	}
}

// stages are what a server's stages did, by name.
func stages(t *testing.T, addr string) map[string]cost.StageTruth {
	t.Helper()
	response, err := http.Get("http://" + addr + "/stages")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var list []cost.StageTruth
	if err := json.NewDecoder(response.Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	byName := make(map[string]cost.StageTruth)
	for _, s := range list {
		byName[s.Stage] = s
	}
	return byName
}

// eventually fails when the condition does not come true in time.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(5 * time.Millisecond) // the server is another process
	}
}

// sale is a postback that pays, at the front's plain path.
func sale(txID string) string {
	return "/pb?click_id=f-1&event=sale&payout=1&currency=USD&txid=" + txID
}
