//go:build !race

// The race detector makes sync.Pool drop items at random.

package edge

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/postbench/postbench/refserver/accept/accepttest"
	"github.com/postbench/postbench/refserver/accesslog"
)

// nowhere is a Buffer that takes everything.
type nowhere struct{}

func (nowhere) Put(context.Context, []byte) error { return nil }

// silent is a connection that takes everything.
type silent struct{ net.Conn }

func (silent) Write(b []byte) (int, error) { return len(b), nil }
func (silent) RemoteAddr() net.Addr        { return &net.TCPAddr{} }
func (silent) LocalAddr() net.Addr         { return &net.TCPAddr{} }

// handlers are the requests of the accept path, ready to be handled again and
// again: handler, answer, write.
func handlers(t testing.TB) map[string]func() {
	t.Helper()
	all := map[string]func(){}
	targets := map[string]string{
		"plain": "/pb?" + plainPart, "signed": signed("k1", "secret one", nowUnixS),
		"plain, escaped": "/pb?click%5Fid=c%31&txid=a+b&offer_id=%6f&unknown=%7a",
	}
	for _, d := range accepttest.Dialects() {
		targets["dialect "+d.Partner] = accepttest.Target(t, &d, accepttest.Fields())
	}
	for name, target := range targets {
		for _, how := range []string{AnswerBeforeBuffer, AnswerAfterBuffer} {
			config := testConfig(FrontZerocopy, nowhere{})
			config.Answer, config.Dialects, config.Verified = how, accepttest.Dialects(), "the token of somebody in front"
			config.AccessLog = accesslog.New(io.Discard, accesslog.Options{Background: true})
			t.Cleanup(func() { _ = config.AccessLog.Close() })
			e, err := New(config)
			if err != nil {
				t.Fatal(err)
			}
			if err := e.SetKeys(testKeys()); err != nil {
				t.Fatal(err)
			}
			z, ctx := newZerocopy(e), &fasthttp.RequestCtx{}
			c := &conn{Conn: silent{}, edge: e, closed: func(*conn) {}}
			ctx.Init2(c, nil, false)
			ctx.Request.Header.SetMethod("GET")
			ctx.Request.SetRequestURI(target)
			all[name+", "+how] = func() {
				z.serve(ctx)
				_, _ = c.Write(nil) // as fasthttp does, after the handler
				if ctx.Response.StatusCode() != 200 {
					t.Fatalf("%s: %d %s", name, ctx.Response.StatusCode(), ctx.Response.Body())
				}
			}
		}
	}
	return all
}

func TestNoAllocationsInHandler(t *testing.T) {
	for name, handle := range handlers(t) {
		if allocs := testing.AllocsPerRun(1_000, handle); allocs != 0 {
			t.Errorf("%s: %v allocations per request", name, allocs)
		}
	}
}

// exchangeOnce sends a request and reads its answer, without allocating.
type exchangeOnce struct {
	net.Conn
	in      *bufio.Reader
	request []byte
	answer  []byte
}

func newExchangeOnce(t testing.TB, addr, target string) *exchangeOnce {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	x := &exchangeOnce{Conn: c, in: bufio.NewReader(c), request: []byte(httpGet(target))}
	// The first answer tells how long they all are.
	if _, err := c.Write(x.request); err != nil {
		t.Fatal(err)
	}
	first, err := io.ReadAll(io.MultiReader(headerOf(x.in), io.LimitReader(x.in, int64(len("OK")))))
	if err != nil || !strings.HasPrefix(string(first), "HTTP/1.1 200 OK\r\n") || !strings.HasSuffix(string(first), "\r\n\r\nOK") {
		t.Fatalf("%q, %v", first, err)
	}
	x.answer = first
	return x
}

// headerOf reads an answer's header.
func headerOf(in *bufio.Reader) io.Reader {
	var header strings.Builder
	for !strings.HasSuffix(header.String(), "\r\n\r\n") {
		b, err := in.ReadByte()
		if err != nil {
			break
		}
		header.WriteByte(b)
	}
	return strings.NewReader(header.String())
}

func (x *exchangeOnce) do(t testing.TB) {
	if _, err := x.Write(x.request); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(x.in, x.answer); err != nil || string(x.answer[:len("HTTP/1.1 200")]) != "HTTP/1.1 200" {
		t.Fatalf("%q, %v", x.answer, err)
	}
}

// Everything between the two ends of a TCP connection is counted here.
func TestNoAllocationsOverConnection(t *testing.T) {
	for name, target := range map[string]string{"plain": "/pb?" + plainPart, "signed": signed("k1", "secret one", nowUnixS)} {
		for _, how := range []string{AnswerBeforeBuffer, AnswerAfterBuffer} {
			config := testConfig(FrontZerocopy, nowhere{})
			config.Answer = how
			x := newExchangeOnce(t, serve(t, config).addr, target)
			// fasthttp refreshes its Date line once a second, with a few.
			if allocs := testing.AllocsPerRun(5_000, func() { x.do(t) }); allocs != 0 {
				t.Errorf("%s, %s: %v allocations per request", name, how, allocs)
			}
		}
	}
}

func BenchmarkHandler(b *testing.B) {
	for name, handle := range handlers(b) {
		b.Run(strings.ReplaceAll(name, ", ", "/"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				handle()
			}
		})
	}
}

// BenchmarkConnection is one client that waits for each answer: most of its
// time is the kernel's. Bare is fasthttp with nothing to do, for comparison.
func BenchmarkConnection(b *testing.B) {
	bare := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("OK") }}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = bare.Serve(l) }()
	b.Cleanup(func() { _ = bare.Shutdown() })
	b.Run("bare", func(b *testing.B) { benchmarkTarget(b, l.Addr().String(), "/pb?"+plainPart) })
	for _, front := range fronts() {
		for _, how := range []string{AnswerBeforeBuffer, AnswerAfterBuffer} {
			config := testConfig(front, nowhere{})
			config.Answer, config.Admin = how, http.NotFoundHandler()
			s := serve(b, config)
			b.Run(front+"/"+how+"/plain", func(b *testing.B) { benchmarkTarget(b, s.addr, "/pb?"+plainPart) })
			b.Run(front+"/"+how+"/signed", func(b *testing.B) { benchmarkTarget(b, s.addr, signed("k1", "secret one", nowUnixS)) })
		}
	}
}

func benchmarkTarget(b *testing.B, addr, target string) {
	x := newExchangeOnce(b, addr, target)
	b.ReportAllocs()
	for b.Loop() {
		x.do(b)
	}
}
