package worker

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accept/accepttest"
)

// falseDialects are the same partners with secrets of nobody's.
func falseDialects(list []postback.Dialect) (others []postback.Dialect) {
	for _, d := range list {
		if d.Auth != "" {
			d = *d.As(d.Partner, []byte("a secret that nobody has told anyone"))
		}
		others = append(others, d)
	}
	return others
}

// FuzzWorkerVerifiesLikeTheEdge asks an edge that verifies for itself, and one
// that cannot, behind a worker: they must say the same.
func FuzzWorkerVerifiesLikeTheEdge(f *testing.F) {
	k1 := key("k1", "secret one")
	alone, behind := &memory{}, &memory{}
	config := edgeConfig(alone)
	config.Dialects = accepttest.Dialects()
	aloneAddr := serveEdge(f, config, k1)
	blind := edgeConfig(behind)
	blind.Dialects = falseDialects(config.Dialects)
	w := startWorker(f, Config{Edge: serveEdge(f, blind), Dialects: config.Dialects, Keys: append(keysOf(1), k1)})

	seed := func(which int, target string) {
		_, query, _ := strings.Cut(target, "?")
		for _, q := range []string{query, query + "&x=%zz;", strings.Replace(query, "12.5", "{payout}", 1), strings.ReplaceAll(query, "c", "%63")} {
			f.Add(uint8(which), q, false)
			f.Add(uint8(which), q, true)
		}
	}
	dialects := config.Dialects
	for i, d := range dialects {
		seed(i, accepttest.Target(f, &d, accepttest.Fields()))
		seed(i, d.Target)
	}
	query := fmt.Sprintf("%s&kid=k1&ts=%d", signedPart, accepttest.NowUnixS)
	seed(len(dialects), signed(k1, query))
	seed(len(dialects), "?"+query)
	f.Fuzz(func(t *testing.T, which uint8, query string, sign bool) {
		if !isQuotable(query) || strings.ContainsAny(query, " <>#") || len(query) > 3_000 {
			return // no request line, or one that workerd refuses by itself
		}
		target := targetFor(t, dialects, int(which)%(len(dialects)+1), query, sign)
		want, got := ask(t, aloneAddr, get(target)), ask(t, w.addr, get(target))
		if got.status != want.status || got.body != want.body {
			t.Fatalf("%q: %d %q, want %d %q", target, got.status, got.body, want.status, want.body)
		}
		if rows, wantRows := behind.rows(t), alone.rows(t); !slices.Equal(rows, wantRows) || (len(rows) == 1) != (got.status == http.StatusOK) {
			t.Fatalf("%q: took %v, want %v", target, rows, wantRows)
		}
	})
}

// targetFor is a postback of that query, signed or not: of a dialect or, behind
// the last one, of /pb/signed.
func targetFor(t *testing.T, dialects []postback.Dialect, which int, query string, sign bool) string {
	t.Helper()
	if which == len(dialects) {
		if sign {
			return signed(key("k1", "secret one"), query)
		}
		return "/pb/signed?" + query
	}
	d, fields := dialects[which], accepttest.Fields()
	path, _, _ := strings.Cut(accepttest.Target(t, &d, fields), "?")
	target := path + "?" + query
	if !sign {
		return target
	}
	s, err := postback.NewDialectSigner(&d)
	if err != nil {
		t.Fatal(err)
	}
	s.Fill(&fields)
	return string(s.AppendSignature([]byte(target), []byte(http.MethodGet), &fields))
}
