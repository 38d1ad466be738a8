package collect

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/datagram"
	"github.com/postbench/postbench/refserver/store"
)

func frames(records ...[]byte) (body []byte) {
	for _, record := range records {
		body = datagram.AppendFrame(body, record)
	}
	return body
}

func post(c *running, method string, body io.Reader) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	c.Ingest().ServeHTTP(w, httptest.NewRequest(method, "/ingest", body))
	return w
}

// cutBody fails in the middle, as a lost connection does.
type cutBody struct{}

func (cutBody) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestIngest(t *testing.T) {
	var tooMany [][]byte
	for range MaxRecords + 1 {
		tooMany = append(tooMany, []byte("x"))
	}
	for _, test := range []struct {
		name, method string
		body         io.Reader
		storeErr     error
		status       int
		committed    int64
		refused      string
	}{
		{"two records", "POST", bytes.NewReader(frames(recordOf(1), recordOf(2))), nil, 204, 2, ""},
		{"the same twice", "POST", bytes.NewReader(frames(recordOf(1), recordOf(1))), nil, 204, 2, ""},
		{"nothing", "POST", http.NoBody, nil, 204, 0, ""},
		{"one that is none", "POST", bytes.NewReader(frames(recordOf(1), []byte("x"))), nil, 204, 1, ""},
		{"only one that is none", "POST", bytes.NewReader(frames([]byte("x"))), nil, 204, 0, ""},
		{"cut off frame", "POST", bytes.NewReader(frames(recordOf(1))[:20]), nil, 400, 0, "ingest_bad_body=1"},
		{"cut off body", "POST", cutBody{}, nil, 400, 0, "ingest_bad_body=1"},
		{"GET", "GET", nil, nil, 405, 0, "ingest_method=1"},
		{"too long", "POST", bytes.NewReader(make([]byte, MaxIngestBytes+1)), nil, 413, 0, "ingest_too_large=1"},
		{"too many", "POST", bytes.NewReader(frames(tooMany...)), nil, 413, 0, "ingest_too_large=1"},
		{"store busy", "POST", bytes.NewReader(frames(recordOf(1))), store.ErrBusy, 503, 0, "ingest_store_busy=1"},
		{"store failed", "POST", bytes.NewReader(frames(recordOf(1))), errors.New("/disk: full"), 500, 0, "ingest_store_failed=1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFakeStore()
			f.err = test.storeErr
			c := newCollector(t, f)
			w := post(c, test.method, test.body)
			counts := c.Counts()
			if w.Code != test.status || counts.Committed != test.committed || counts.Ingested != test.committed ||
				nonzero(counts.Refused) != test.refused || c.Backlog() != 0 {
				t.Errorf("%d %q, %+v, backlog %d", w.Code, w.Body, counts, c.Backlog())
			}
			if retry := w.Header().Get("Retry-After"); (retry != "") != (test.status == 503) {
				t.Errorf("Retry-After %q", retry)
			}
			if text := w.Body.String(); strings.ContainsAny(text, "\n/") || (text == "") != (test.status == 204) {
				t.Errorf("answered %q", text)
			}
		})
	}
}

func TestIngestCounts(t *testing.T) {
	f := newFakeStore()
	c := newCollector(t, f)
	body := frames(recordOf(1), []byte("bad"), recordOf(2))
	for range 2 { // the replicator did not hear the answer
		if w := post(c, "POST", bytes.NewReader(body)); w.Code != 204 {
			t.Fatal(w.Code, w.Body)
		}
	}
	counts := c.Counts()
	if counts.Committed != 4 || counts.Ingested != 4 || counts.Duplicates != 2 || counts.BadRecords != 2 || counts.Records != 0 {
		t.Errorf("%+v", counts)
	}
	for _, call := range f.calls {
		if len(call.states) != 0 {
			t.Errorf("an ingest wrote states %v", call.states)
		}
	}
}

func TestIngestIsBounded(t *testing.T) {
	f := newFakeStore()
	f.gate, f.begun = make(chan struct{}), make(chan struct{})
	c := newCollector(t, f)
	answers := make(chan int, maxIngests)
	for n := range maxIngests {
		go func() { answers <- post(c, "POST", bytes.NewReader(frames(recordOf(n)))).Code }()
		<-f.begun
	}
	if w := post(c, "POST", bytes.NewReader(frames(recordOf(99)))); w.Code != 503 || nonzero(c.Counts().Refused) != "ingest_full=1" {
		t.Errorf("%d, %+v", w.Code, c.Counts())
	}
	if n := c.Backlog(); n != maxIngests {
		t.Errorf("backlog %d", n)
	}
	close(f.gate)
	for range maxIngests {
		if code := <-answers; code != 204 {
			t.Errorf("answered %d", code)
		}
	}
	if n := c.Backlog(); n != 0 {
		t.Errorf("backlog %d", n)
	}
}

// The example of FORMAT.md is what the code does.
func TestFormatExample(t *testing.T) {
	text, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```hex\n(.*?)```").FindSubmatch(text)
	if block == nil {
		t.Fatal("no example in FORMAT.md")
	}
	body, err := hex.DecodeString(strings.Join(strings.Fields(string(block[1])), ""))
	if err != nil {
		t.Fatal(err)
	}
	var b batch
	bad, reason, err := b.addFrames(body)
	if err != nil || bad != 1 || reason == nil || len(b.conversions) != 1 {
		t.Fatalf("%d bad, %v, %v, %d records", bad, reason, err, len(b.conversions))
	}
	want := store.Conversion{ClickID: "c1", TxID: "t-9", ClaimedOfferID: "o7", Event: postback.EventSale,
		Payout: 12_500_000, Currency: postback.Currency{'E', 'U', 'R'}, ReceivedUnixNs: 1_700_000_000_000_000_001}
	if got := b.conversions[0]; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func FuzzIngest(f *testing.F) {
	f.Add([]byte{})
	f.Add(frames(recordOf(1), recordOf(2)))
	f.Add(frames(recordOf(1), []byte("x"))[:40])
	f.Add([]byte{0, 0})
	f.Fuzz(func(t *testing.T, body []byte) {
		var b batch
		bad, reason, err := b.addFrames(body)
		if (bad > 0) != (reason != nil) && err == nil {
			t.Fatalf("%d bad records, reason %v", bad, reason)
		}
		if err != nil {
			if reason := classify(err); reason != badBody && reason != tooLarge {
				t.Fatalf("%v is refused as %s", err, reason)
			}
			return
		}
		// Every frame is a conversion or a bad record, and a conversion keeps
		// what its record says.
		good := b.conversions
		n := 0
		for frames := datagram.Frames(body); frames.Next(); n++ {
			var r postback.Record
			if r.Decode(frames.Record()) != nil {
				bad--
				continue
			}
			c := good[0]
			good = good[1:]
			again, err := postback.AppendRecord(nil, &postback.Record{
				ClickID: []byte(c.ClickID), TxID: []byte(c.TxID), OfferID: []byte(c.ClaimedOfferID), KID: r.KID,
				Event: c.Event, Payout: c.Payout, Currency: c.Currency, ReceivedUnixNs: c.ReceivedUnixNs,
			})
			if err != nil || !bytes.Equal(again, frames.Record()) {
				t.Fatalf("frame %d: %x became %x, %v", n, frames.Record(), again, err)
			}
		}
		if bad != 0 || len(good) != 0 || n > MaxRecords {
			t.Fatalf("%d frames: %d bad records and %d conversions too many", n, bad, len(good))
		}
	})
}
