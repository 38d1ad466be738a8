package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/labtarget"
	"github.com/postbench/postbench/reports"
)

// transports are where a target takes each transport of a partner.
func transports() map[string]func(*labtarget.Target) string {
	return map[string]func(*labtarget.Target) string{
		"http1": (*labtarget.Target).URL, "http2": (*labtarget.Target).HTTP2URL, "grpc": (*labtarget.Target).GRPCURL,
	}
}

// over runs against a target by a transport, held against its ledger, up to
// three times until the limits hold, as timed does.
func over(t *testing.T, transport string, options labtarget.Options, lines string, args []string,
	want func(v *reports.Variant) limits) (*reports.Variant, labtarget.Truth) {
	t.Helper()
	const tries = 3
	partner := write(t, "p.yaml", partnerFile("p", "transport: "+transport+"\n"+lines))
	for try := 1; ; try++ {
		target := lab(t, options)
		v := &play(t, append([]string{"run", "--target", transports()[transport](target), "--partner", partner,
			"--ledger", target.URL() + "/ledger", "--settle", "300ms"}, args...)...).result.Variants[0]
		problems := want(v).broken()
		if len(problems) == 0 {
			return v, target.Truth()
		}
		text := strings.Join(append(problems, v.Validity.Reasons...), "; ")
		if try == tries {
			t.Fatal(text)
		}
		t.Logf("try %d: %s", try, text)
	}
}

// With 50 ms a request and 400/s some 20 are always under way, on one
// connection: each takes its own 50 ms, from the moment it was due.
func TestTransportsManyAtOnce(t *testing.T) {
	for _, transport := range []string{"http2", "grpc"} {
		t.Run(transport, func(t *testing.T) {
			v, truth := over(t, transport, labtarget.Options{Delay: 50 * time.Millisecond}, "",
				[]string{"--rate", "400", "--duration", "2s", "--warmup", "0s"},
				func(v *reports.Variant) limits {
					return limits{{"response p50", v.Latency.Response.P50Us, 50, 55}, {"response p95", v.Latency.Response.P95Us, 50, 75},
						{"wait p50", v.Partners[0].Phases.Wait.P50Us, 50, 55}}
				})
			if l := &v.Ledger; l.Attempts != 800 || l.Acked != 800 || truth.Postbacks != 800 || known(t, "recorded", l.Recorded) != 800 {
				t.Errorf("%d attempts, %d acked, %d recorded; the target saw %d; want 800", l.Attempts, l.Acked, *l.Recorded, truth.Postbacks)
			}
			if p := &v.Partners[0].Phases; p.Connect.Count != 1 || p.Wait.Count != 800 {
				t.Errorf("%d connects and %d waits timed, want 1 and 800", p.Connect.Count, p.Wait.Count)
			}
		})
	}
}

// A stall of 1 s in 4 makes every fourth postback late by 0 to 1 s, evenly, on
// whatever they travel.
func TestTransportsStall(t *testing.T) {
	for transport := range transports() {
		t.Run(transport, func(t *testing.T) {
			v, truth := over(t, transport, labtarget.Options{StallEvery: 4 * time.Second, StallFor: time.Second}, "",
				[]string{"--rate", "500", "--duration", "4s", "--warmup", "0s"},
				func(v *reports.Variant) limits {
					r := &v.Latency.Response
					return limits{{"response p50", r.P50Us, 0, 50}, {"response p90", r.P90Us, 560, 660},
						{"response p95", r.P95Us, 760, 860}, {"response p99", r.P99Us, 930, 1010}}
				})
			if l := &v.Ledger; l.Attempts != 2000 || truth.Postbacks != 2000 || known(t, "recorded", l.Recorded) != 2000 {
				t.Errorf("%d attempts, %d recorded; the target saw %d; want 2000", l.Attempts, *l.Recorded, truth.Postbacks)
			}
		})
	}
}

// Requests that get no good answer, over connections that others share: each
// attempt is one postback at the target, and has its outcome.
func TestTransportsFaults(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"http2", "grpc"} {
		for name, c := range map[string]struct {
			options labtarget.Options
			lines   string
			want    func(truth labtarget.Truth) string
		}{
			"refuses": {labtarget.Options{RefuseEvery: 10}, "", func(labtarget.Truth) string {
				return "acked 270 refused 30 timed_out 0 errored 0"
			}},
			"hangs": {labtarget.Options{HangEvery: 10, StoreFirst: true}, "timeout: 3s", func(labtarget.Truth) string {
				return "acked 270 refused 0 timed_out 30 errored 0"
			}},
			"closes and is retried": {labtarget.Options{CloseEvery: 50, StoreFirst: true}, "retries: [20ms, 20ms]\nretry_on: [error]",
				func(truth labtarget.Truth) string {
					return fmt.Sprintf("acked 300 refused 0 timed_out 0 errored %d", truth.Postbacks-300)
				}},
		} {
			t.Run(name+" over "+transport, func(t *testing.T) {
				t.Parallel()
				v, truth := over(t, transport, c.options, c.lines, []string{"--rate", "300", "--duration", "1s"}, func(*reports.Variant) limits { return nil })
				l := &v.Ledger
				got := fmt.Sprintf("acked %d refused %d timed_out %d errored %d", l.Acked, l.Refused, l.TimedOut, l.Errored)
				if want := c.want(truth); got != want {
					t.Errorf("%s, want %s", got, want)
				}
				if l.Attempts != truth.Postbacks || known(t, "recorded", l.Recorded)+known(t, "recorded_unacked", l.RecordedUnacked) != truth.Rows {
					t.Errorf("%d attempts, %d and %d recorded; the target saw %d and has %d rows", l.Attempts, *l.Recorded, *l.RecordedUnacked, truth.Postbacks, truth.Rows)
				}
			})
		}
	}
}

// The reference server speaks HTTP/2 over TLS, where the profile has TLS.
func TestHTTP2OverTLS(t *testing.T) {
	profile := write(t, "secure.yaml", "name: secure\nabout: of a test\ntls: true\n")
	partner := write(t, "p.yaml", partnerFile("p", "transport: http2\ntls: {version: \"1.3\", resume: true}"))
	p := play(t, "run", "--variant", "monolith", "--embedded", "--profile", profile, "--partner", partner, "--rate", "200", "--duration", "2s", "--warmup", "0s")
	v := &p.result.Variants[0]
	if v.Ledger.Acked != 400 || known(t, "recorded", v.Ledger.Recorded) != 400 || v.Partners[0].Handshakes == 0 || v.Partners[0].Phases.TLS.Count != v.Partners[0].Phases.Connect.Count {
		t.Errorf("%d acked, %d recorded, %d handshakes, phases %+v", v.Ledger.Acked, *v.Ledger.Recorded, v.Partners[0].Handshakes, v.Partners[0].Phases)
	}
}
