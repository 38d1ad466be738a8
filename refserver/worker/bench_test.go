package worker

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accept/accepttest"
)

// nowhere is a buffer that takes everything.
type nowhere struct{}

func (nowhere) Put(context.Context, []byte) error { return nil }

// BenchmarkPostback asks the edge alone and through the worker, over connections
// that are kept: what the worker costs is the difference.
func BenchmarkPostback(b *testing.B) {
	k1 := key("k1", "secret one")
	config := edgeConfig(nowhere{})
	config.Dialects = accepttest.Dialects()
	edgeAddr := serveEdge(b, config, k1)
	w := startWorker(b, Config{Edge: edgeAddr, Dialects: config.Dialects, Keys: append(keysOf(100), k1)})
	targets := map[string]string{
		"plain": "/pb?" + signedPart, "signed": signed(k1, fmt.Sprintf("%s&kid=k1&ts=%d", signedPart, accepttest.NowUnixS)),
	}
	for _, d := range accepttest.Dialects() {
		targets[d.Partner] = accepttest.Target(b, &d, accepttest.Fields())
	}
	for _, name := range []string{"plain", "signed", string(postback.AuthToken), "sha1", "md5"} {
		for where, addr := range map[string]string{"edge": edgeAddr, "worker": w.addr} {
			for _, clients := range []int{1, 16} {
				b.Run(fmt.Sprintf("%s/%s/clients=%d", name, where, clients), func(b *testing.B) {
					cpu := w.CPUTime()
					askOften(b, addr, get(targets[name]), clients)
					b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
					b.ReportMetric(float64((w.CPUTime()-cpu).Microseconds())/float64(b.N), "workerd-us/op")
				})
			}
		}
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.Pid()))
	if err == nil {
		_, text, _ := strings.Cut(string(status), "VmRSS:")
		line, _, _ := strings.Cut(text, "\n")
		b.Logf("workerd holds %s", strings.TrimSpace(line))
	}
}

// askOften asks b.N times over so many connections, and fails at the first that
// the server closes.
func askOften(b *testing.B, addr, request string, clients int) {
	var asked atomic.Int64
	done := make(chan error, clients)
	for range clients {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		go func() { done <- askAll(conn, request, func() bool { return asked.Add(1) <= int64(b.N) }) }()
	}
	for range clients {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}

// askAll asks on one connection as long as there is more to ask.
func askAll(conn net.Conn, request string, more func() bool) error {
	in := bufio.NewReader(conn)
	for more() {
		if _, err := io.WriteString(conn, request); err != nil {
			return err
		}
		response, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, response.Body)
		if response.StatusCode != http.StatusOK || response.Close {
			return fmt.Errorf("%s, the connection closed: %v", response.Status, response.Close)
		}
	}
	return nil
}
