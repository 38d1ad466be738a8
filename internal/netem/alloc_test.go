//go:build !race

package netem

import (
	"net"
	"testing"
)

// The path adds no allocation to an exchange.
func TestExchangeAllocatesNothing(t *testing.T) {
	p := newTestPath(t, PathSpec{RTTNs: 100_000, Loss: GilbertElliott{GoodLoss: 0.0001}})
	c := dialTest(t, p, serve(t, func(c *net.TCPConn) {
		var b [350]byte
		for {
			if _, err := c.Read(b[:]); err != nil {
				return
			}
			if _, err := c.Write(b[:200]); err != nil {
				return
			}
		}
	}))
	request, reply := make([]byte, 350), make([]byte, 200)
	if n := testing.AllocsPerRun(300, func() {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(reply); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
