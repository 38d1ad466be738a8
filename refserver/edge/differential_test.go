package edge

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accept"
)

// maxComparedBytes is the longest query that both fronts read: from here on
// zerocopy's smaller header buffer answers 431 where plain answers 414.
const maxComparedBytes = 3_900

// pair is both fronts, each behind one connection that is kept open.
type pair struct {
	servers [2]*server
	buffers [2]*memory
	clients [2]net.Conn
}

func newPair(t testing.TB) *pair {
	p := &pair{}
	for i, front := range fronts() {
		p.buffers[i] = &memory{}
		p.servers[i] = serve(t, testConfig(front, p.buffers[i]))
	}
	t.Cleanup(func() {
		for _, c := range p.clients {
			if c != nil {
				_ = c.Close()
			}
		}
	})
	return p
}

// connected returns the open connection to one of them, or a new one.
func (p *pair) connected(t testing.TB, i int) *client {
	t.Helper()
	if p.clients[i] == nil {
		var err error
		if p.clients[i], err = net.Dial("tcp", p.servers[i].addr); err != nil {
			t.Fatal(err)
		}
	}
	return newClient(t, p.clients[i])
}

// ask sends one GET to one of them.
func (p *pair) ask(t testing.TB, i int, path, query string) (got reply, records [][]byte) {
	t.Helper()
	c := p.connected(t, i)
	c.send(t, "GET "+path+"?"+query+" HTTP/1.1\r\nHost: h\r\n\r\n")
	response, err := http.ReadResponse(c.in, nil)
	if err != nil {
		t.Fatalf("%s?%q: %v", path, query, err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.Close {
		_ = c.Close()
		p.clients[i] = nil
	}
	return reply{response.StatusCode, response.Header, string(body)}, p.buffers[i].take()
}

// compare fails unless both take the query for the same, or refuse it alike.
func (p *pair) compare(t testing.TB, path, query string) {
	t.Helper()
	if strings.ContainsAny(query, "\r\n") || len(query) > maxComparedBytes {
		return // another request, or too long for one of them
	}
	plain, plainRecords := p.ask(t, 0, path, query)
	zerocopy, zerocopyRecords := p.ask(t, 1, path, query)
	if plain.status != zerocopy.status {
		t.Fatalf("%s?%q: plain %d %q, zerocopy %d %q", path, query, plain.status, plain.body, zerocopy.status, zerocopy.body)
	}
	// What the HTTP library refuses, it refuses in its own words.
	const ours = "X-Content-Type-Options"
	if plain.header.Get(ours) != zerocopy.header.Get(ours) || plain.header.Get(ours) != "" && plain.body != zerocopy.body {
		t.Fatalf("%s?%q: plain %+v, zerocopy %+v", path, query, plain, zerocopy)
	}
	if !bytes.Equal(bytes.Join(plainRecords, nil), bytes.Join(zerocopyRecords, nil)) || len(plainRecords) != len(zerocopyRecords) {
		t.Fatalf("%s?%q: plain %q, zerocopy %q", path, query, plainRecords, zerocopyRecords)
	}
	if accepted := plain.status == 200; accepted != (len(plainRecords) == 1) {
		t.Fatalf("%s?%q: %d with %d records", path, query, plain.status, len(plainRecords))
	}
}

func corpus() []string {
	_, query, _ := strings.Cut(signed("k1", "secret one", nowUnixS), "?")
	forged := strings.Replace(query, "click_id=c1", "click_id=c2", 1)
	list := []string{
		"", "&", "=", "%", "?", "#", "click_id", "click_id=", "click_id=c#f", plainPart, query, forged,
		"click_id=c&%zz=1", "click_id=c&x=%", "click_id=c&x=%4", "click_id=c&x%=41", "click_id=c;x", "click_id=c&;", "a;b=1&click_id=c",
		"click_id=c&&&", "=v&click_id=c", "click%5Fid=c", "click%5fid=c&click_id=", "click+id=c", "click_id=c&click_id", "CLICK_ID=c",
		"click_id=\xff", "click_id=\xc3\xbc", "click_id=%c3%bc", "click_id=%EF%BF%BD", "click_id=\x7f", "click_id=\x01", "click_id=a b", "click_id=%00",
		"click_id=c&offer_id=%0d", "click_id=c&txid=%7f", "click_id=c&event=%73ale", "click_id=c&event=Sale", "click_id=c&event=%ff",
		"click_id=c&payout=1e3", "click_id=c&payout=-0", "click_id=c&payout=%2D1", "click_id=c&payout=+1", "click_id=c&event=rejected&payout=-5",
		"click_id=c&payout=" + strings.Repeat("0", 33), "click_id=c&currency=eur", "click_id=c&currency=E%55R", "click_id=c&currency=EU",
		"click_id=c&kid=k1&ts=1&sig=x", "click_id=c&sig=%zz", "click_id=c&averyveryverylongname=1", "payout=x&click_id=" + strings.Repeat("c", 129),
		strings.Replace(query, "&txid=", "&txid=+", 1), strings.Replace(query, "lead", "le%61d", 1), query + "&x=1", query + "&", query + "0",
		strings.Replace(query, "kid=k1", "kid=k%31", 1), "kid=k1&" + query, strings.ToUpper(query), strings.Replace(query, "payout=0", "payout=-1", 1),
		"click_id=c&x=" + strings.Repeat("x", postback.MaxQueryBytes-13), "click_id=c&x=" + strings.Repeat("x", postback.MaxQueryBytes-12),
		strings.Repeat("a&", 1_000) + "click_id=c",
	}
	for _, limit := range []int{postback.MaxClickIDBytes, postback.MaxOfferIDBytes} {
		for n := limit - 1; n <= limit+1; n++ {
			list = append(list, "click_id="+strings.Repeat("c", n), "click_id="+strings.Repeat("%63", n),
				"click_id=c&txid="+strings.Repeat("t", n), "click_id=c&offer_id="+strings.Repeat("o", n))
		}
	}
	return list
}

func TestBothReadTheSame(t *testing.T) {
	p := newPair(t)
	for _, query := range corpus() {
		p.compare(t, plainPath, query)
		p.compare(t, signedPath, query)
	}
}

func FuzzBothReadTheSame(f *testing.F) {
	for _, query := range corpus() {
		f.Add(query)
	}
	p := newPair(f)
	f.Fuzz(func(t *testing.T, query string) {
		p.compare(t, plainPath, query)
		p.compare(t, signedPath, query)
	})
}

// FuzzPlainReaders is the same question without the network: what one parser
// accepts, the other accepts as the same record; the reasons are one.
func FuzzPlainReaders(f *testing.F) {
	for _, query := range corpus() {
		f.Add(query)
	}
	e, err := New(testConfig(FrontZerocopy, &memory{}))
	if err != nil {
		f.Fatal(err)
	}
	z, w := newZerocopy(e), &work{}
	f.Fuzz(func(t *testing.T, query string) {
		if len(query) > postback.MaxQueryBytes {
			return
		}
		record, plainErr := accept.ParsePlain(query)
		zerocopyErr := z.readPlain(w, &request{rawQuery: []byte(query)})
		if plainErr == nil && zerocopyErr == nil {
			got := accept.RecordOf(&w.postback)
			a, errA := postback.AppendRecord(nil, record)
			b, errB := postback.AppendRecord(nil, &got)
			if errA != nil || errB != nil || !bytes.Equal(a, b) {
				t.Fatalf("%q: plain %q, %v; zerocopy %q, %v", query, a, errA, b, errB)
			}
			return
		}
		if plainErr == nil || zerocopyErr == nil || plainErr.Error() != zerocopyErr.Error() {
			t.Fatalf("%q: plain %v, zerocopy %v", query, plainErr, zerocopyErr)
		}
	})
}
