package udpsocket

import (
	"net"
	"runtime"
	"strings"
	"testing"
)

func listen(t *testing.T, wantBytes int) (*net.UDPConn, int) {
	t.Helper()
	conn, granted, err := Listen("127.0.0.1:0", wantBytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn, granted
}

func TestListenTellsTheGrantedBytes(t *testing.T) {
	_, small := listen(t, 64<<10)
	_, large := listen(t, 0)
	if small < 64<<10 || large <= small {
		t.Errorf("granted %d and %d bytes", small, large)
	}
}

// What does not fit is counted at once, also behind the last datagram that does.
func TestDropsAreCounted(t *testing.T) {
	conn, _ := listen(t, 16<<10)
	counter := CountDrops(conn)
	if runtime.GOOS != "linux" {
		if drops := counter.Load(); drops != UnknownDrops {
			t.Errorf("%d drops, want unknown", drops)
		}
		return
	}
	sender, err := net.DialUDP("udp4", nil, conn.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sender.Close() }()
	const sent = 200
	for range sent {
		if _, err := sender.Write(make([]byte, 1200)); err != nil {
			t.Fatal(err)
		}
	}
	drops := counter.Load()
	if drops == 0 {
		t.Fatal("no drops were counted")
	}
	var received int64
	buffer := make([]byte, 2048)
	for ; received+drops < sent; received++ {
		if _, err := conn.Read(buffer); err != nil {
			t.Fatal(err)
		}
	}
	if again := counter.Load(); again != drops {
		t.Errorf("%d drops, %d before reading", again, drops)
	}
	_ = conn.Close()
	if last := counter.Load(); last != drops {
		t.Errorf("%d drops after the socket's end, %d before", last, drops)
	}
}

func TestListenRefuses(t *testing.T) {
	for _, addr := range []string{"nowhere", "127.0.0.1:x", "[::1]:0"} {
		if conn, _, err := Listen(addr, 0); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", addr, err)
			_ = conn.Close()
		}
	}
}
