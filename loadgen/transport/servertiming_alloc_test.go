//go:build !race

package transport

import (
	"net"
	"testing"
)

// What a server says of its stages costs no allocation, and neither does that
// it says nothing.
func TestServerTimingDoesNotAllocate(t *testing.T) {
	const stages = "nginx;dur=8.012, php;dur=110.4, mysql;desc=\"a, b\";dur=45, clickhouse;dur=38.1, cache"
	send := func(header string) float64 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		go answerAll(t, listener, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"+header+"\r\nok")
		client := clientOf(t, HTTP1Config{Address: listener.Addr().String()})
		defer client.Close()
		request := get()
		return testing.AllocsPerRun(200, func() {
			reply := mustSend(t, client, request)
			for timing := ReadTiming(reply.ServerTiming); ; {
				if _, _, ok := timing.Next(); !ok {
					break
				}
			}
		})
	}
	without := send("")
	for _, header := range []string{"Server-Timing: " + stages + "\r\n", "Server-Timing: a;dur=1\r\nServer-Timing: b;dur=2\r\n"} {
		if with := send(header); with > without {
			t.Errorf("%v allocations for each request with %q, %v without", with, header, without)
		}
	}
	value := []byte(stages)
	if allocs := testing.AllocsPerRun(200, func() {
		for timing := ReadTiming(value); ; {
			if _, _, ok := timing.Next(); !ok {
				return
			}
		}
	}); allocs != 0 {
		t.Errorf("%v allocations to read a header", allocs)
	}
}
