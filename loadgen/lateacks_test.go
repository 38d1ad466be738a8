package loadgen

import (
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/labtarget"
	"github.com/postbench/postbench/loadgen/transport"
)

// Acks that come when the partner has given up are none, and are not
// forgotten: the server did the work.
func TestLateAcksAreCounted(t *testing.T) {
	target, err := labtarget.Start(labtarget.Options{Delay: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	client := transport.NewGRPCStream(transport.SharedConfig{Address: strings.TrimPrefix(target.GRPCURL(), "http://"), Host: "me"})
	cfg := configOf(t, newWorld(nil), generatorOf(t, nil), 100, time.Second)
	cfg.SleepUntil = SleepUntil
	p := &cfg.Partners[0]
	p.Timeout, p.LateAcks = 20*time.Millisecond, client.LateAcks
	p.NewSender = func() Sender { return client.Sender() }
	o := mustRun(t, t.Context(), cfg)
	if o.Attempts.TimedOut != 100 || o.Attempts.Acked != 0 {
		t.Errorf("%+v, want 100 timed out", o.Attempts)
	}
	if late := o.Partners[0].LateAcks; late == 0 || late > 100 {
		t.Errorf("%d late acks, want 1 to 100", late)
	}
}
