package transport

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// stages prints what is read of a value.
func stages(value string) string {
	var b strings.Builder
	for timing := ReadTiming([]byte(value)); ; {
		name, ns, ok := timing.Next()
		if !ok {
			return strings.TrimSpace(b.String())
		}
		fmt.Fprintf(&b, "%s=%v ", name, time.Duration(ns))
	}
}

func TestReadTiming(t *testing.T) {
	for value, want := range map[string]string{
		"":                                       "",
		"db;dur=53, app;dur=47.2":                "db=53ms app=47.2ms",
		"nginx;dur=0.125":                        "nginx=125µs",
		"cache, miss;dur=1":                      "miss=1ms",
		`cache;desc="a, b;dur=9";dur=2`:          "cache=2ms",
		`cache;desc="say \"hi, dur=7\"";dur=2,x`: "cache=2ms",
		`a;dur="3.5"`:                            "a=3.5ms",
		" a ; DUR = 4\t,\tb;dur=5 ":              "a=4ms b=5ms",
		"a;dur=1;dur=2":                          "a=1ms",
		"a;dur=x;dur=2, b;dur=3":                 "b=3ms",
		"a;dur=1e2":                              "a=100ms",
		"a;dur=0":                                "a=0s",
		"a;dur=-1, b;dur=NaN, c;dur=Inf, d;dur=": "",
		"a;dur=0x1p3, b;dur=1_0, c;dur=1e999":    "",
		"a;dur=9e20":                             "a=24h0m0s",
		"a;dur=" + strings.Repeat("1", 33):       "",
		`a;desc="never ends, b;dur=1`:            "",
		"=;;,,;dur=1,ok;dur=1":                   "ok=1ms",
		"a b;dur=1":                              "a=1ms",
		`"a";dur=1, b;dur=2`:                     "b=2ms",
		"a;dur;dur=3":                            "a=3ms",
		"a;dur=1 2, b;dur=2":                     "a=1ms b=2ms",
		"sql;dur=1,sql;dur=2":                    "sql=1ms sql=2ms",
	} {
		if got := stages(value); got != want {
			t.Errorf("%q: got %q, want %q", value, got, want)
		}
	}
}

func FuzzReadTiming(f *testing.F) {
	f.Add([]byte(`db;dur=53, app;desc="a, \"b";dur=47.2, cache`))
	f.Add([]byte(`";dur="1`))
	f.Add([]byte("a;dur=\\,\x00b;dur=1e9"))
	f.Fuzz(func(t *testing.T, value []byte) {
		before := bytes.Clone(value)
		timing := ReadTiming(value)
		for n := 0; ; n++ {
			name, ns, ok := timing.Next()
			if !ok {
				break
			}
			if len(name) == 0 || ns < 0 || ns > maxStageNs || bytes.ContainsAny(name, " ,;=\"\x00") {
				t.Fatalf("%q gives %q = %d ns", value, name, ns)
			}
			if n > len(value) {
				t.Fatalf("%q gives more stages than it has bytes", value)
			}
		}
		if !bytes.Equal(value, before) {
			t.Fatalf("%q has become %q", before, value)
		}
	})
}

// Both transports hand on all lines of the header, and none where there is
// none.
func TestServerTimingOfAnswers(t *testing.T) {
	long := "x;desc=" + strings.Repeat("y", 2000)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/two":
			w.Header()["Server-Timing"] = []string{"a;dur=1, b;dur=2", "c;dur=3"}
		case "/long":
			w.Header()["Server-Timing"] = []string{"a;dur=1", long, long, long, long, long}
		}
	}))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	defer server.Close()
	address := server.Listener.Addr().String()
	http1 := clientOf(t, HTTP1Config{Address: address})
	http2 := NewHTTP2(SharedConfig{Address: address, Host: "me.example"}).Sender()
	defer http2.Close()
	for path, want := range map[string]string{"/": "", "/two": "a=1ms b=2ms c=3ms"} {
		for name, client := range map[string]interface {
			Send(context.Context, *Request, time.Time) (Reply, error)
		}{"http1": http1, "http2": http2} {
			reply, err := client.Send(t.Context(), &Request{Method: "GET", Target: []byte(path)}, time.Now().Add(10*time.Second))
			if err != nil {
				t.Fatal(err)
			}
			if got := stages(string(reply.ServerTiming)); got != want || reply.TimingCut {
				t.Errorf("%s %s: %q, want %q; cut %v", name, path, got, want, reply.TimingCut)
			}
		}
	}
	// Over HTTP/1.1 an answer with such a header is an error.
	reply, err := http2.Send(t.Context(), &Request{Method: "GET", Target: []byte("/long")}, time.Now().Add(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if got := stages(string(reply.ServerTiming)); got != "a=1ms" || !reply.TimingCut || len(reply.ServerTiming) > maxTimingBytes {
		t.Errorf("%q of %d bytes, cut %v", got, len(reply.ServerTiming), reply.TimingCut)
	}
}

// answerAll answers every request on the next connection, without allocating.
func answerAll(t *testing.T, listener net.Listener, answer string) {
	conn, err := listener.Accept()
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	request, reply := make([]byte, 4096), []byte(answer)
	for {
		if _, err := conn.Read(request); err != nil {
			return // the client has closed
		}
		if _, err := conn.Write(reply); err != nil {
			return
		}
	}
}
