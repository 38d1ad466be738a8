package clickhouse_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postbench/postbench/refserver/parts"
	"github.com/postbench/postbench/refserver/store"
	"github.com/postbench/postbench/refserver/store/clickhouse"
	"github.com/postbench/postbench/refserver/store/storetest"
)

// start starts a real server with its data in dir. Without the program the test
// is skipped, but not in CI, which must have it.
func start(t testing.TB, dir string) *parts.ClickHouse {
	t.Helper()
	server, err := parts.StartClickHouse(t.Context(), parts.Runtime{Dir: t.TempDir()}, dir)
	if errors.Is(err, parts.ErrMissing) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop(context.Background()) })
	return server
}

func open(t testing.TB, server *parts.ClickHouse, database string) *clickhouse.Clicks {
	t.Helper()
	c, err := clickhouse.Open(t.Context(), clickhouse.Options{Native: server.Native, HTTP: server.HTTP, Database: database})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func load(t testing.TB, c *clickhouse.Clicks, clicks ...store.Click) {
	t.Helper()
	if n, err := c.LoadClicks(t.Context(), storetest.Rows(clicks, nil)); n != int64(len(clicks)) || err != nil {
		t.Fatalf("loaded %d of %d clicks: %v", n, len(clicks), err)
	}
}

func expect(t testing.TB, c *clickhouse.Clicks, clickID string, want store.Attribution) {
	t.Helper()
	if got, err := c.Attribute(t.Context(), clickID); got != want || err != nil {
		t.Errorf("%q: %+v, %v; want %+v", clickID, got, err, want)
	}
}

func found(offerID string, clickedUnixS int64) store.Attribution {
	return store.Attribution{Found: true, OfferID: offerID, ClickedUnixS: clickedUnixS}
}

func TestClicks(t *testing.T) {
	server := start(t, t.TempDir())
	for name, test := range map[string]func(*testing.T, *parts.ClickHouse, *clickhouse.Clicks){
		"odd_bytes":      testOddBytes,
		"replaced":       testReplaced,
		"broken":         testBrokenSequence,
		"many":           testMany,
		"deadline":       testDeadline,
		"other_loader":   testOtherLoader,
		"while_it_loads": testWhileItLoads,
		"racing_loads":   testRacingLoads,
	} {
		t.Run(name, func(t *testing.T) { test(t, server, open(t, server, "test_"+name)) })
	}
}

// Whatever bytes an id has, it is that click and no other.
func testOddBytes(t *testing.T, server *parts.ClickHouse, c *clickhouse.Clicks) {
	ids := []string{"", "a", "A", " a", "a ", "'", `\`, `\\`, `a\tb`, "a\tb", "a\nb", "a\r\nb", "\x00", "\x00\x01\b\f", "\xff\xfe", `\N`,
		"?", "$1", "@x", "{x:String}", "-- x", "/* x */", `' OR 1 = 1 --`, "日本", strings.Repeat("x", 128)}
	var clicks []store.Click
	for i, id := range ids {
		clicks = append(clicks, store.Click{ClickID: id, OfferID: "o " + id, ClickedUnixS: int64(i - 1)})
	}
	load(t, c, clicks...)
	for i, id := range ids {
		expect(t, c, id, found("o "+id, int64(i-1)))
		expect(t, c, id+"\x7f", store.Attribution{})
	}
	if want := int64(2 * len(ids)); c.Queries() != want {
		t.Errorf("%d queries, want %d", c.Queries(), want)
	}
	if c.Version() != server.Version {
		t.Errorf("version %q, the server says %q", c.Version(), server.Version)
	}
}

func testReplaced(t *testing.T, _ *parts.ClickHouse, c *clickhouse.Clicks) {
	load(t, c)
	click := func(id, offer string) store.Click { return store.Click{ClickID: id, OfferID: offer, ClickedUnixS: 1} }
	load(t, c, click("a", "old"), click("b", "old"), click("a", "new"), click("c", "old"))
	expect(t, c, "a", found("new", 1))
	load(t, c, click("b", "newer"))
	load(t, c, click("c", "newer"), click("d", "newer"))
	load(t, c)
	for id, offer := range map[string]string{"a": "new", "b": "newer", "c": "newer", "d": "newer"} {
		expect(t, c, id, found(offer, 1))
	}
}

// At the first error of the sequence nothing is loaded, however many rows were
// on their way.
func testBrokenSequence(t *testing.T, server *parts.ClickHouse, c *clickhouse.Clicks) {
	load(t, c, store.Click{ClickID: "a", OfferID: "old"})
	broken := errors.New("line 3")
	for _, rows := range []int{0, 1, 50_000} {
		clicks := make([]store.Click, rows)
		for i := range clicks {
			clicks[i] = store.Click{ClickID: fmt.Sprint("new-", i), OfferID: "new"}
		}
		if n, err := c.LoadClicks(t.Context(), storetest.Rows(append(clicks, store.Click{ClickID: "a", OfferID: "new"}), broken)); n != 0 || !errors.Is(err, broken) {
			t.Errorf("after %d rows: %d, %v", rows, n, err)
		}
		expect(t, c, "a", found("old", 0))
		expect(t, c, "new-0", store.Attribution{})
	}
	expect(t, open(t, server, "test_broken"), "a", found("old", 0))
	load(t, c, store.Click{ClickID: "a", OfferID: "new"})
	expect(t, c, "a", found("new", 0))
}

func testMany(t *testing.T, server *parts.ClickHouse, c *clickhouse.Clicks) {
	const n = 100_000
	clicks := make([]store.Click, n)
	for i := range clicks {
		clicks[i] = store.Click{ClickID: fmt.Sprintf("%016x", uint64(i)*0x9e3779b97f4a7c15), OfferID: fmt.Sprint("offer-", i%100), ClickedUnixS: int64(i)}
	}
	begin := time.Now()
	load(t, c, clicks...)
	loaded := time.Now()
	load(t, c, clicks[:10]...)
	t.Logf("ClickHouse %s: %d clicks in %v, 10 more in %v", server.Version, n, loaded.Sub(begin), time.Since(loaded))
	var wait sync.WaitGroup
	for worker := range 64 { // twice the connections
		wait.Go(func() {
			for i := worker; i < n; i += n / 16 {
				expect(t, c, clicks[i].ClickID, found(clicks[i].OfferID, int64(i)))
			}
		})
	}
	wait.Wait()
}

func testDeadline(t *testing.T, _ *parts.ClickHouse, c *clickhouse.Clicks) {
	ctx, cancel := context.WithCancel(t.Context())
	endless := func(yield func(store.Click, error) bool) {
		for i := 0; yield(store.Click{ClickID: fmt.Sprint("endless-", i)}, nil); i++ {
			if i == 200_000 {
				cancel()
			}
		}
	}
	if n, err := c.LoadClicks(ctx, endless); n != 0 || !errors.Is(err, store.ErrBusy) {
		t.Errorf("a load that is given up: %d, %v", n, err)
	}
	if n, err := c.LoadClicks(ctx, endless); n != 0 || !errors.Is(err, store.ErrBusy) {
		t.Errorf("a load after the deadline: %d, %v", n, err)
	}
	if _, err := c.Attribute(ctx, "endless-0"); !errors.Is(err, store.ErrBusy) {
		t.Errorf("attribute after the deadline: %v", err)
	}
	expect(t, c, "endless-0", store.Attribution{})
	load(t, c, store.Click{ClickID: "a"})
}

// A load of another process is not mixed with ours; one that died is removed by
// the next start.
func testOtherLoader(t *testing.T, server *parts.ClickHouse, c *clickhouse.Clicks) {
	statement(t, server, "CREATE TABLE test_other_loader.clicks_loading AS test_other_loader.clicks")
	statement(t, server, "INSERT INTO test_other_loader.clicks_loading VALUES ('dead', 'o', 1)")
	if _, err := c.LoadClicks(t.Context(), storetest.Rows([]store.Click{{ClickID: "a"}}, nil)); !errors.Is(err, store.ErrBusy) || strings.Contains(err.Error(), "\n") {
		t.Errorf("while another one loads: %v", err)
	}
	again := open(t, server, "test_other_loader")
	load(t, again, store.Click{ClickID: "a"})
	expect(t, c, "a", found("", 0))
	expect(t, c, "dead", store.Attribution{})
}

// Attributions see the clicks before or after a load, never none or both.
func testWhileItLoads(t *testing.T, _ *parts.ClickHouse, c *clickhouse.Clicks) {
	clicks := make([]store.Click, 2_000)
	loadAs := func(s int64) {
		for i := range clicks {
			clicks[i] = store.Click{ClickID: fmt.Sprint(i), OfferID: "o", ClickedUnixS: s}
		}
		load(t, c, clicks...)
	}
	loadAs(0)
	ended := make(chan struct{})
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for newest := int64(0); ; {
				got, err := c.Attribute(t.Context(), "1999")
				if err != nil || !got.Found || got.ClickedUnixS < newest {
					t.Errorf("after %d: %+v, %v", newest, got, err)
				}
				newest = got.ClickedUnixS
				select {
				case <-ended:
					return
				default:
				}
			}
		})
	}
	for s := range int64(5) {
		loadAs(s + 1)
	}
	close(ended)
	wait.Wait()
}

func testRacingLoads(t *testing.T, _ *parts.ClickHouse, c *clickhouse.Clicks) {
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() { load(t, c, store.Click{ClickID: fmt.Sprint(i), OfferID: "o"}) })
	}
	wait.Wait()
	for i := range 8 {
		expect(t, c, fmt.Sprint(i), found("o", 0))
	}
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	server := start(t, dir)
	c := open(t, server, "postbench")
	load(t, c, store.Click{ClickID: "a", OfferID: "o", ClickedUnixS: 7})
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	<-server.Done()
	if got, err := c.Attribute(t.Context(), "a"); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("without a server: %+v, %v; want an error of one line", got, err)
	}
	if n, err := c.LoadClicks(t.Context(), storetest.Rows([]store.Click{{ClickID: "b"}}, nil)); n != 0 || err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("without a server: %d, %v; want an error of one line", n, err)
	}
	expect(t, open(t, start(t, dir), "postbench"), "a", found("o", 7))
}

func TestOpenRefuses(t *testing.T) {
	server := start(t, t.TempDir())
	statement(t, server, "CREATE DATABASE other")
	statement(t, server, "CREATE TABLE other.clicks (id UInt64) ENGINE = Memory")
	silent := mute(t)
	for _, test := range []struct {
		name    string
		options clickhouse.Options
		busy    bool
	}{
		{"another table of that name", clickhouse.Options{Native: server.Native, HTTP: server.HTTP, Database: "other"}, false},
		{"no name", clickhouse.Options{Native: server.Native, HTTP: server.HTTP, Database: "a; DROP"}, false},
		{"no user", clickhouse.Options{Native: server.Native, HTTP: server.HTTP, Database: "x", User: "nobody"}, false},
		{"a silent HTTP port", clickhouse.Options{Native: server.Native, HTTP: silent, Database: "x"}, true},
		{"a silent native port", clickhouse.Options{Native: silent, HTTP: server.HTTP, Database: "x"}, true},
	} {
		limit := time.Minute
		if test.busy {
			limit = 200 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		_, err := clickhouse.Open(ctx, test.options)
		cancel()
		if err == nil || strings.Contains(err.Error(), "\n") || errors.Is(err, store.ErrBusy) != test.busy {
			t.Errorf("%s: %v; want an error of one line, busy %v", test.name, err, test.busy)
		}
	}
}

// mute is the address of a server that takes connections and says nothing.
func mute(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}
