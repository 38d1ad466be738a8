package worker

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accept/accepttest"
	"github.com/postbench/postbench/refserver/store"
)

// The edge behind has other secrets than the partners: whatever is taken here,
// the worker has verified.
func TestDialects(t *testing.T) {
	accepttest.Run(t, func(t *testing.T, c accepttest.Config) accepttest.Subject {
		buffer := &memory{}
		config := edgeConfig(buffer)
		config.SignedOnly, config.AccessLog, config.Dialects = c.SignedOnly, c.AccessLog, falseDialects(c.Dialects)
		addr := startWorker(t, Config{Edge: serveEdge(t, config), Dialects: c.Dialects}).addr
		return accepttest.Subject{URL: "http://" + addr, Rows: func() []accepttest.Row { return buffer.rows(t) }}
	})
}

// An edge that verifies for itself gives the answers of the same edge alone.
func TestAnswersAreTheEdges(t *testing.T) {
	k1 := key("k1", "secret one")
	buffer := &memory{}
	config := edgeConfig(buffer)
	config.Dialects = accepttest.Dialects()
	edgeAddr := serveEdge(t, config, k1)
	addr := startWorker(t, Config{Edge: edgeAddr, Dialects: config.Dialects, Keys: nil}).addr
	verifying := startWorker(t, Config{Edge: edgeAddr, Dialects: config.Dialects, Keys: append(keysOf(10), k1)})
	for _, request := range requests(t) {
		want := ask(t, edgeAddr, request)
		wantRows := fmt.Sprint(buffer.rows(t))
		for _, addr := range []string{addr, verifying.addr} {
			got := ask(t, addr, request)
			for _, name := range []string{"Content-Type", "X-Content-Type-Options", "Allow", "Retry-After"} {
				if g, w := got.header.Get(name), want.header.Get(name); g != w {
					t.Errorf("%q: %s %q, want %q", request, name, g, w)
				}
			}
			if got.status != want.status || got.body != want.body {
				t.Errorf("%q: %d %q, want %d %q", request, got.status, got.body, want.status, want.body)
			}
			if rows := fmt.Sprint(buffer.rows(t)); rows != wantRows {
				t.Errorf("%q: took %s, want %s", request, rows, wantRows)
			}
		}
	}
	if counts, err := verifying.Counts(t.Context()); err != nil || counts.Verified == 0 || counts.Unverified == 0 || counts.Other == 0 {
		t.Errorf("counts %+v, %v", counts, err)
	}
}

// requests are the same for every edge, with or without a worker.
func requests(t *testing.T) (list []string) {
	k1, query := key("k1", "secret one"), fmt.Sprintf("%s&kid=k1&ts=%d", signedPart, accepttest.NowUnixS)
	good := signed(k1, query)
	for _, target := range []string{
		good, good + "0", good[:len(good)-1], strings.Replace(good, "12.5", "99", 1), strings.ToUpper(good),
		good + "&x=1", strings.Replace(good, "&sig=", "&SIG=", 1),
		signed(key("k1", "another"), query), signed(key("k2", "secret one"), strings.Replace(query, "k1", "k2", 1)),
		signed(k1, strings.Replace(query, "kid=k1", "kid=k%31", 1)),
		signed(k1, "kid=k2&"+query), signed(k1, strings.Replace(query, "ts=1", "ts=01", 1)), signed(k1, strings.Replace(query, "ts=1", "ts=%31", 1)),
		signed(k1, signedPart+"&kid=k1&ts=1"), signed(k1, fmt.Sprintf("%s&kid=k1&ts=%d", signedPart, accepttest.NowUnixS+3600)),
		signed(k1, strings.Replace(query, "EUR", "eur", 1)), signed(k1, strings.Replace(query, "12.5", "-12.5", 1)),
		signed(k1, strings.Replace(query, "12.5", "%zz", 1)), signed(k1, query+"&x="+strings.Repeat("x", postback.MaxQueryBytes)),
		signed(k1, strings.Replace(query, "txid=t1", "txid=", 1)), signed(k1, strings.Replace(query, "txid=t1", "txid=a+b", 1)),
		signed(k1, strings.Replace(query, "txid=t1", "txid=ü", 1)), signed(k1, strings.Replace(query, "txid=t1", "txid=[a]|{b}^`'", 1)),
		"/pb", "/pb?", "/pb?click_id=c1", "/pb?click_id=ü", "/pb?click_id=%ff", "/pb?click_id=%zz", "/pb?click_id=c&&=&x;y",
		"/pb?" + signedPart + "&unknown=%20", "/pb/", "/pb/signed", "/pb/signed?", "/pb/signed/?" + query, "//pb?click_id=c", "/PB?click_id=c",
		"/p/", "/p", "/p//", "/p/none/aff?tid=c1&sum=1.5", "/p/path/00/postback?subid=c1", "/p/path/../postback?subid=c1", "/ledger", "/nothing?x=%zz",
	} {
		list = append(list, get(target))
	}
	for _, d := range accepttest.Dialects() {
		target := accepttest.Target(t, &d, accepttest.Fields())
		list = append(list, get(target), get(target+"&x=%zz"), get(strings.Replace(target, "12.5", "012.50", 1)), get(strings.ReplaceAll(target, "c", "%63")))
	}
	return append(list,
		get("/pb?click_id=c1", "Content-Length: 0"), get("/pb?click_id=c1", "Content-Length: 3")+"abc", get(good, "Content-Length: 3")+"abc",
		get("/pb?click_id=c1", "Transfer-Encoding: chunked")+"3\r\nabc\r\n0\r\n\r\n", get(good, "Transfer-Encoding: chunked")+"0\r\n\r\n",
		"HEAD "+good+" HTTP/1.1\r\nHost: h\r\n\r\n", "HEAD /pb?click_id=c1 HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS /pb HTTP/1.1\r\nHost: h\r\n\r\n",
		"POST "+good+" HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", "POST /nothing HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
		"PUT /p/none/aff?tid=c HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
	)
}

// Nobody but the worker can say that something is verified, nor make it verify
// one thing and hand over another.
func TestNobodySpeaksForTheWorker(t *testing.T) {
	buffer, k1 := &memory{}, key("k1", "secret one")
	config := edgeConfig(buffer)
	config.Dialects = accepttest.Dialects()
	addr := startWorker(t, Config{Edge: serveEdge(t, config, k1), Dialects: config.Dialects, Keys: []store.Key{k1}}).addr
	query := fmt.Sprintf("%s&kid=k1&ts=%d", signedPart, accepttest.NowUnixS)
	good, forged := signed(k1, query), signed(key("k1", "another"), strings.Replace(query, "c%201", "forged", 1))
	for _, request := range []string{
		get(forged, "Postbench-Verified: "+token), get(forged, "postbench-verified: "+token, "POSTBENCH-VERIFIED: "+token),
		get("/p/none/../token/aff_lsr?transaction_id=forged", "Postbench-Verified: "+token),
		strings.Replace(get(forged), "tracker.example", "h"+good+"&x=", 1), strings.Replace(get(forged), "tracker.example", "h"+good+"#", 1),
		strings.Replace(get("/p/token/aff_lsr?transaction_id=forged"), "tracker.example", "h"+good+"&x=", 1),
		strings.Replace(get(forged), "/pb", good+"#/..", 1), strings.Replace(get(forged), "/pb/signed", "/p/none/aff/../../../pb/signed", 1),
	} {
		ask(t, addr, request)
		for _, row := range buffer.rows(t) {
			if row.ClickID != "c 1" {
				t.Errorf("%q: took %v", request, row)
			}
		}
	}
}

// A key counts from the moment that SetKeys has returned, and no longer.
func TestSetKeys(t *testing.T) {
	buffer := &memory{}
	w := startWorker(t, Config{Edge: serveEdge(t, edgeConfig(buffer)), Keys: keysOf(3)}) // the edge has no keys at all
	query := fmt.Sprintf("%s&kid=k7&ts=%d", signedPart, accepttest.NowUnixS)
	for i, c := range []struct {
		keys int
		want int
	}{{3, http.StatusForbidden}, {8, http.StatusOK}, {100_000, http.StatusOK}, {0, http.StatusForbidden}} {
		if i > 0 {
			if err := w.SetKeys(keysOf(c.keys)); err != nil {
				t.Fatal(err)
			}
		}
		if got := ask(t, w.addr, get(signed(keysOf(8)[7], query))); got.status != c.want {
			t.Errorf("with %d keys: %d %q, want %d", c.keys, got.status, got.body, c.want)
		}
		if n := len(buffer.rows(t)); (n == 1) != (c.want == http.StatusOK) {
			t.Errorf("with %d keys: %d rows", c.keys, n)
		}
	}
	if err := w.SetKeys(append(keysOf(1), key("", "x"))); err == nil {
		t.Error("a key without an id was taken")
	}
}

// What is no postback is passed on as it is, in both directions, piece by piece.
func TestPassesOn(t *testing.T) {
	const pieces, piece = 64, 64 << 10
	config := edgeConfig(&memory{})
	config.Admin = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Backlog", fmt.Sprint(n, err, r.Header.Get("Authorization"), r.Host))
		w.WriteHeader(http.StatusAccepted)
		for range pieces {
			_, _ = io.WriteString(w, strings.Repeat("x", piece))
		}
	})
	addr := startWorker(t, Config{Edge: serveEdge(t, config)}).addr
	for _, length := range []int64{pieces * piece, -1} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/population/clicks?x=%zz", io.LimitReader(zeros{}, pieces*piece))
		if err != nil {
			t.Fatal(err)
		}
		request.ContentLength, request.Host = length, "tracker.example"
		request.Header.Set("Authorization", "me")
		response, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		if want := fmt.Sprint(pieces*piece, error(nil), "me", "tracker.example"); n != pieces*piece || err != nil ||
			response.StatusCode != http.StatusAccepted || response.Header.Get("X-Backlog") != want {
			t.Errorf("length %d: %d bytes, %v, %s %v, want %s", length, n, err, response.Status, response.Header, want)
		}
	}
}

// Connections are kept on both sides, each as long as it is needed.
func TestKeepsConnections(t *testing.T) {
	const requests = 200
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	counting, k1 := &countingListener{Listener: inner}, key("k1", "secret one")
	w := startWorker(t, Config{Edge: serveEdgeOn(t, counting, edgeConfig(&memory{})), Keys: []store.Key{k1}})
	conn, err := net.DialTimeout("tcp", w.addr, testLimit)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	good := get(signed(k1, fmt.Sprintf("%s&kid=k1&ts=%d", signedPart, accepttest.NowUnixS)))
	for range requests {
		for _, request := range []string{good, get("/pb?click_id=c1")} {
			n := 0
			if err := askAll(conn, request, func() bool { n++; return n == 1 }); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := counting.accepted.Load(); n > 4 {
		t.Errorf("%d requests took %d connections to the edge", 2*requests, n)
	}
}

// countingListener counts its connections.
type countingListener struct {
	net.Listener
	accepted atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	l.accepted.Add(1)
	return l.Listener.Accept()
}

// zeros is without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
