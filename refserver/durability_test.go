package refserver_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postbench/postbench/refserver"
)

// childEnv tells the test binary to be a server on the directory it names.
const childEnv = "REFSERVER_TEST_DATA_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		os.Exit(child(dir))
	}
	if len(os.Args) == 3 && os.Args[1] == roleArg {
		os.Exit(playRole(os.Args[2]))
	}
	os.Exit(m.Run())
}

// child serves until its standard input ends, so that it never outlives the test.
func child(dir string) int {
	c, err := refserver.LoadVariant("monolith")
	if err == nil {
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
		err = refserver.Serve(ctx, refserver.Config{Composition: c, Addr: "127.0.0.1:0", Real: refserver.Real{Embedded: true}, DataDir: dir,
			Now: func() time.Time { return time.Unix(nowUnixS, 5) }}, func(at refserver.Addresses) { fmt.Println(at.Front) })
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// traffic sends sales from several connections until stopped or refused, and
// remembers which were acked.
type traffic struct {
	next  atomic.Int64
	acked sync.Map // txid
	count atomic.Int64
	wait  sync.WaitGroup
}

const senders = 16

func (tr *traffic) run(url string, enough int64, reached func()) {
	var once sync.Once
	for range senders {
		tr.wait.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for {
				txID := fmt.Sprintf("t-%d", tr.next.Add(1))
				response, err := client.Get(url + "/pb?click_id=f-1&event=sale&payout=1&currency=USD&txid=" + txID)
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
				if response.StatusCode != http.StatusOK {
					return
				}
				tr.acked.Store(txID, true)
				if tr.count.Add(1) >= enough {
					once.Do(reached)
				}
			}
		})
	}
}

// check reopens the directory: every acked sale is there exactly once, the
// counter agrees with the rows, and nothing is new when it comes again.
func (tr *traffic) check(t *testing.T, dir string) {
	t.Helper()
	tr.wait.Wait()
	s := start(t, config(t, dir, refserver.CapsCheckThenInsert))
	rows := map[string]int{}
	for _, row := range s.ledger() {
		rows[row["txid"].(string)]++
	}
	tr.acked.Range(func(txID, _ any) bool {
		if rows[txID.(string)] != 1 {
			t.Errorf("acked %v has %d rows", txID, rows[txID.(string)])
		}
		return true
	})
	if int64(len(rows)) < tr.count.Load() || int64(len(rows)) > tr.next.Load() {
		t.Errorf("%d rows, %d acked of %d sent", len(rows), tr.count.Load(), tr.next.Load())
	}
	s.want("GET", "/offers/free/cap", "", 200, fmt.Sprintf(`{"offer_id":"free","cap":0,"billable":%d,"closed":false}`, len(rows)))
	s.want("GET", "/pb?click_id=f-1&event=sale&payout=1&currency=USD&txid=t-1", "", 200, "DUP")
}

func TestKillLosesNothingAcked(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, url: "http://" + strings.TrimSpace(addr)}
	s.populate()
	var tr traffic
	tr.run(s.url, 200, func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
	})
	tr.wait.Wait()
	if err := cmd.Wait(); err == nil {
		t.Error("the child ended by itself")
	}
	tr.check(t, dir)
}

func TestShutdownLosesNothingAcked(t *testing.T) {
	dir := t.TempDir()
	s := start(t, config(t, dir, refserver.CapsCheckThenInsert))
	s.populate()
	stopped := make(chan error, 1)
	var tr traffic
	tr.run(s.url, 200, func() { go func() { stopped <- s.stop() }() })
	if err := <-stopped; err != nil {
		t.Errorf("shutdown with requests in work: %v", err)
	}
	tr.check(t, dir)
}

// TestRestartContinues: dedup, counters, population and keys survive an orderly end.
func TestRestartContinues(t *testing.T) {
	dir := t.TempDir()
	for round, want := range []string{"OK", "DUP"} {
		s := start(t, config(t, dir, refserver.CapsAtomic))
		if round == 0 {
			s.populate()
		}
		for _, clickID := range []string{"c-1", "c-2"} {
			s.want("GET", signed(clickID, "t", "partner", nowUnixS), "", 200, want)
		}
		s.want("GET", "/offers/capped/cap", "", 200, `{"offer_id":"capped","cap":2,"billable":2,"closed":true}`)
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAtomicCapOverHTTP: 64 clients at once, and the cap of 2 holds.
func TestAtomicCapOverHTTP(t *testing.T) {
	s := start(t, config(t, t.TempDir(), refserver.CapsAtomic))
	s.populate()
	var wait sync.WaitGroup
	for i := range 64 {
		wait.Go(func() {
			response, err := http.Get(fmt.Sprintf("%s/pb?click_id=c-1&event=sale&payout=1&txid=t-%d", s.url, i))
			if err != nil {
				t.Error(err)
				return
			}
			_ = response.Body.Close()
		})
	}
	wait.Wait()
	verdicts := map[any]int{}
	for _, row := range s.ledger() {
		verdicts[row["verdict"]]++
	}
	if verdicts["billable"] != 2 || verdicts["over_cap"] != 62 {
		t.Errorf("verdicts %v, want 2 billable and 62 over_cap", verdicts)
	}
}
