package refserver

import (
	"bufio"
	"net"
	"net/http"
	"testing"
)

func TestLimitedListener(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limitConnections(inner, 1)
	accepted := make(chan net.Conn, 2)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- conn
		}
	}()
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	dial()
	first := <-accepted
	response, err := http.ReadResponse(bufio.NewReader(dial()), nil)
	if err != nil || response.StatusCode != 503 || response.Header.Get("Retry-After") != "1" || l.refused.Load() != 1 {
		t.Errorf("second of one: %+v, %v, %d refused", response, err, l.refused.Load())
	}
	for range 2 { // closing twice gives one place back
		_ = first.Close()
	}
	if len(l.slots) != 0 {
		t.Errorf("%d places taken after the close", len(l.slots))
	}
	dial()
	if <-accepted == nil {
		t.Error("the freed place was not given away")
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, open := <-accepted; open {
		t.Error("accepted after the close")
	}
}
