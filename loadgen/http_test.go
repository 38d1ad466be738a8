package loadgen

import (
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/loadgen/transport"
)

// The loop with its real client and real sockets; what it does in time is
// tested in bubbles.
func TestRunOverHTTP(t *testing.T) {
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		timeout time.Duration
		want    Attempts
		reason  intent.Reason
	}{
		"answers": {func(http.ResponseWriter, *http.Request) {}, time.Minute, Attempts{Total: 40, Acked: 40}, intent.NoReason},
		"refuses": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, time.Minute, Attempts{Total: 40, Refused: 40}, intent.ReasonRefused},
		"hangs":   {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, 20 * time.Millisecond, Attempts{Total: 40, TimedOut: 40}, intent.ReasonTimedOut},
		"closes":  {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, time.Minute, Attempts{Total: 40, Errored: 40}, intent.ReasonErrored},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests, connections atomic.Int64
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				c.handler(w, r)
			}))
			server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateNew {
					connections.Add(1)
				}
			}
			server.Start()
			defer server.Close()

			cfg := configOf(t, newWorld(nil), generatorOf(t, nil), 400, 100*time.Millisecond)
			cfg.SleepUntil = SleepUntil
			cfg.Partners[0].Timeout = c.timeout
			cfg.Partners[0].NewSender = func() Sender {
				return transport.NewHTTP1(transport.HTTP1Config{Address: server.Listener.Addr().String(), Host: "me"})
			}
			o := mustRun(t, t.Context(), cfg)
			if o.Attempts != c.want || reasons(cfg.Cells)[c.reason] != 40 {
				t.Errorf("%+v, reasons %v", o.Attempts, reasons(cfg.Cells))
			}
			l := &o.Latencies
			if c.timeout == time.Minute && requests.Load() != 40 {
				t.Errorf("%d requests on the wire", requests.Load())
			}
			if answered := c.want.Acked + c.want.Refused; l.Wait.Count() != answered || answered > 0 && l.Connect.Count() != connections.Load() {
				t.Errorf("%d waits, %d connects timed, %d connections", l.Wait.Count(), l.Connect.Count(), connections.Load())
			}
			if c.want.Acked > 0 && l.Response.MinNs() < l.Service.MinNs() {
				t.Errorf("a response of %d ns, below every service latency (%d)", l.Response.MinNs(), l.Service.MinNs())
			}
		})
	}
}
