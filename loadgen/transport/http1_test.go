//go:build unix

package transport

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestRequestsOnTheWire(t *testing.T) {
	server := startRogue(t, answering(okAnswer))
	c := clientOf(t, HTTP1Config{Address: server.address})
	closing := clientOf(t, HTTP1Config{Address: server.address, CloseEach: true})
	mustSend(t, c, &Request{Method: "GET", Target: []byte("/pb?a=%zz")})
	mustSend(t, c, &Request{Method: "POST", Target: []byte("/pb"), Header: []byte("X-A: 1\r\nX-B: 2\r\n"), Body: []byte("sum=1")})
	mustSend(t, c, &Request{Method: "POST", Target: []byte("/pb")})
	mustSend(t, closing, get())
	const head = " HTTP/1.1\r\nHost: me.example\r\nUser-Agent: postbench\r\n"
	want := []string{
		"GET /pb?a=%zz" + head + "\r\n",
		"POST /pb" + head + "X-A: 1\r\nX-B: 2\r\nContent-Length: 5\r\n\r\nsum=1",
		"POST /pb" + head + "Content-Length: 0\r\n\r\n",
		"GET /pb?x=1" + head + "Connection: close\r\n\r\n",
	}
	if got := server.requests(); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// Answers that are fine, and whether the connection may be used again.
func TestAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		status int
		reused bool
	}{
		"content length":        {okAnswer, 200, true},
		"chunked":               {"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 201, true},
		"no content":            {"HTTP/1.1 204 No Content\r\n\r\n", 204, true},
		"not modified":          {"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", 304, true},
		"redirect":              {"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", 302, true},
		"busy":                  {"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n", 503, true},
		"interim answer":        {"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + okAnswer, 200, true},
		"body of 64 KiB":        {"HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n" + strings.Repeat("x", 65536), 200, true},
		"header of 7 KiB":       {"HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("x", 7<<10) + "\r\nContent-Length: 0\r\n\r\n", 200, true},
		"connection: close":     {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 200, false},
		"HTTP/1.0":              {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, false},
		"HTTP/1.0, kept":        {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", 200, true},
		"more than it promised": {okAnswer + "HTTP/1.1 500 Smuggled\r\nContent-Length: 0\r\n\r\n", 200, false},
	} {
		t.Run(name, func(t *testing.T) {
			server := startRogue(t, answering(c.answer))
			client := clientOf(t, HTTP1Config{Address: server.address})
			for i := range 3 {
				reply := mustSend(t, client, get())
				if reply.Status != c.status || reply.Phases.Opened != (i == 0 || !c.reused) {
					t.Errorf("answer %d: %+v", i, reply)
				}
			}
			want := 3
			if c.reused {
				want = 1
			}
			if connections, requests := server.counts(); connections != want || requests != 3 {
				t.Errorf("%d connections, want %d; %d requests", connections, want, requests)
			}
		})
	}
}

func TestHeadAndBodyUntilClose(t *testing.T) {
	server := startRogue(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"))
	client := clientOf(t, HTTP1Config{Address: server.address})
	for range 2 {
		mustSend(t, client, &Request{Method: "HEAD", Target: []byte("/")})
	}
	if connections, _ := server.counts(); connections != 1 {
		t.Errorf("HEAD: %d connections", connections)
	}
	endless := startRogue(t, func(p *peer) {
		p.read()
		p.say("HTTP/1.1 200 OK\r\n\r\nas long as it takes")
	})
	client = clientOf(t, HTTP1Config{Address: endless.address})
	for range 2 {
		mustSend(t, client, get())
	}
	if connections, requests := endless.counts(); connections != 2 || requests != 2 {
		t.Errorf("body until close: %d connections, %d requests", connections, requests)
	}
}

// Whatever the server does to an idle connection, the next request is sent
// once, on a new one, and nothing fails.
func TestIdleConnectionEnds(t *testing.T) {
	for name, end := range map[string]func(*peer){
		"closed":      func(p *peer) { p.Close() },
		"reset":       (*peer).reset,
		"unasked 408": func(p *peer) { p.say("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"); p.untilGone() },
	} {
		t.Run(name, func(t *testing.T) {
			next := make(chan bool)
			server := startRogue(t, func(p *peer) {
				p.read()
				p.say(okAnswer)
				if p.number == 0 {
					<-next
					end(p)
				}
				p.untilGone()
			})
			c := clientOf(t, HTTP1Config{Address: server.address})
			mustSend(t, c, get())
			close(next)
			awaitStale(t, c)
			if reply := mustSend(t, c, get()); reply.Status != 200 || !reply.Phases.Opened {
				t.Errorf("%+v", reply)
			}
			if connections, requests := server.counts(); connections != 2 || requests != 2 {
				t.Errorf("%d connections, %d requests", connections, requests)
			}
		})
	}
}

// brokenAnswer is a server that fails in the middle.
type brokenAnswer struct {
	after string      // what it says
	then  func(*peer) // and what it does
	want  Class
}

func brokenAnswers() map[string]brokenAnswer {
	const head = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
	const chunkedHead = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	return map[string]brokenAnswer{
		"closes without an answer":   {"", nil, ClassClosed},
		"resets without an answer":   {"", (*peer).reset, ClassClosed},
		"closes in the header":       {"HTTP/1.1 200 OK\r\nCont", nil, ClassClosed},
		"closes in the body":         {head + "half", nil, ClassClosed},
		"closes in a chunk":          {chunkedHead + "64\r\nhalf", nil, ClassClosed},
		"closes between chunks":      {chunkedHead + "2\r\nok\r\n", nil, ClassClosed},
		"closes after a hint":        {"HTTP/1.1 103 Early Hints\r\n\r\n", nil, ClassClosed},
		"silent":                     {"", (*peer).untilGone, ClassTimeout},
		"silent in the header":       {"HTTP/1.1 200 OK\r\nCont", (*peer).untilGone, ClassTimeout},
		"silent in the body":         {head + "half", (*peer).untilGone, ClassTimeout},
		"silent in a chunk":          {chunkedHead + "64\r\nhalf", (*peer).untilGone, ClassTimeout},
		"silent after a hint":        {"HTTP/1.1 103 Early Hints\r\n\r\n", (*peer).untilGone, ClassTimeout},
		"no HTTP":                    {"SSH-2.0-OpenSSH_9.7\r\n\r\n", (*peer).untilGone, ClassResponse},
		"bad status":                 {"HTTP/1.1 abc OK\r\n\r\n", (*peer).untilGone, ClassResponse},
		"bad chunk":                  {chunkedHead + "zz\r\n", (*peer).untilGone, ClassResponse},
		"body over 64 KiB":           {"HTTP/1.1 200 OK\r\nContent-Length: 65537\r\n\r\n", (*peer).untilGone, ClassResponse},
		"chunked body over 64 KiB":   {chunkedHead + "10001\r\n" + strings.Repeat("x", 65537), (*peer).untilGone, ClassResponse},
		"header over 8 KiB":          {"HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("x", 9<<10), (*peer).untilGone, ClassResponse},
		"hints without end":          {strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 200), (*peer).untilGone, ClassResponse},
		"resets in the body (a RST)": {head + "half", func(p *peer) { time.Sleep(5 * time.Millisecond); p.reset() }, ClassClosed}, // the head must have been read before the RST
	}
}

// Each case fails the request with one class and leaves exactly one request on
// the wire: nothing is sent again.
func TestBrokenAnswers(t *testing.T) {
	for name, c := range brokenAnswers() {
		for _, reused := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				server := startRogue(t, func(p *peer) {
					if reused {
						p.read()
						p.say(okAnswer)
					}
					if p.read() {
						p.say(c.after)
						if c.then != nil {
							c.then(p)
						}
					}
				})
				client := clientOf(t, HTTP1Config{Address: server.address})
				want := 1
				if reused {
					mustSend(t, client, get())
					want = 2
				}
				wait := time.Minute
				if c.want == ClassTimeout {
					wait = 300 * time.Millisecond
				}
				began := time.Now()
				_, err := client.Send(t.Context(), get(), began.Add(wait))
				took := time.Since(began)
				if err == nil || ClassOf(err) != c.want {
					t.Errorf("reused %v: %v, want class %s", reused, err, c.want)
				}
				if c.want == ClassTimeout && took < wait || took > 30*time.Second {
					t.Errorf("reused %v: took %v of %v", reused, took, wait)
				}
				if connections, requests := server.awaitRequests(want); connections != 1 || requests != want {
					t.Errorf("reused %v: %d connections, %d requests on the wire, want %d", reused, connections, requests, want)
				}
				if client.conn != nil {
					t.Errorf("reused %v: the broken connection was kept", reused)
				}
			})
		}
	}
}

// A failure is over with its connection.
func TestRecoversAfterAFailure(t *testing.T) {
	server := startRogue(t, func(p *peer) {
		if p.read(); p.number > 0 {
			p.say([]string{"garbage\r\n\r\n", okAnswer}[p.number-1])
			p.untilGone()
		}
	})
	c := clientOf(t, HTTP1Config{Address: server.address})
	for _, want := range []Class{ClassClosed, ClassResponse} {
		if _, err := c.Send(t.Context(), get(), patience()); ClassOf(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if reply := mustSend(t, c, get()); reply.Status != 200 || !reply.Phases.Opened {
		t.Errorf("%+v", reply)
	}
}

func TestPhases(t *testing.T) {
	const pause = 15 * time.Millisecond
	server := startRogue(t, func(p *peer) {
		for p.read() {
			time.Sleep(pause) // the time that is measured
			p.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
			time.Sleep(pause) // the time that is measured
			p.say("ok")
		}
	})
	_, port, _ := net.SplitHostPort(server.address)
	c := clientOf(t, HTTP1Config{Address: net.JoinHostPort("localhost", port)})
	for i := range 2 {
		began := time.Now()
		reply := mustSend(t, c, get())
		total, p := int64(time.Since(began)), reply.Phases
		opened := i == 0
		if p.Opened != opened || (p.DNSNs > 0) != opened || (p.ConnectNs > 0) != opened || p.TLSNs != 0 {
			t.Errorf("request %d: %+v", i, p)
		}
		if p.WaitNs < int64(pause) || p.BodyNs <= 0 || p.WaitNs+p.BodyNs < int64(2*pause) {
			t.Errorf("request %d: wait %d, body %d", i, p.WaitNs, p.BodyNs)
		}
		before := p.DNSNs + p.ConnectNs + p.WaitNs
		if reply.FirstByteNs < before || reply.FirstByteNs+p.BodyNs > total {
			t.Errorf("request %d: first byte after %d, phases %+v, total %d", i, reply.FirstByteNs, p, total)
		}
	}
}

func TestCloseEndsSend(t *testing.T) {
	asked := make(chan bool)
	server := startRogue(t, func(p *peer) {
		p.read()
		asked <- true
		p.untilGone()
	})
	c := clientOf(t, HTTP1Config{Address: server.address})
	go func() {
		<-asked
		c.Close()
		c.Close()
	}()
	if _, err := c.Send(t.Context(), get(), patience()); ClassOf(err) != ClassCanceled {
		t.Errorf("during: %v", err)
	}
	if _, err := c.Send(t.Context(), get(), patience()); ClassOf(err) != ClassCanceled {
		t.Errorf("afterwards: %v", err)
	}
	if connections, requests := server.counts(); connections != 1 || requests != 1 {
		t.Errorf("%d connections, %d requests", connections, requests)
	}
}

// Close and the end of the context also end a connect that hangs.
func TestEndsWhileConnecting(t *testing.T) {
	for name, c := range map[string]struct {
		end      func(*HTTP1, context.CancelFunc)
		deadline time.Duration
		want     Class
	}{
		"deadline": {func(*HTTP1, context.CancelFunc) {}, 30 * time.Millisecond, ClassTimeout},
		"Close":    {func(c *HTTP1, _ context.CancelFunc) { c.Close() }, time.Minute, ClassCanceled},
		"context":  {func(_ *HTTP1, cancel context.CancelFunc) { cancel() }, time.Minute, ClassCanceled},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		client := clientOf(t, HTTP1Config{Address: "127.0.0.1:1"})
		hangs := make(chan bool)
		hanging(client, hangs)
		go func() {
			<-hangs
			c.end(client, cancel)
		}()
		began := time.Now()
		if _, err := client.Send(ctx, get(), began.Add(c.deadline)); ClassOf(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
		cancel()
	}
}
