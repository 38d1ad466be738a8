package edge

import (
	"strings"
	"testing"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accept/accepttest"
)

func TestDialects(t *testing.T) {
	for _, front := range fronts() {
		t.Run(front, func(t *testing.T) {
			accepttest.Run(t, func(t *testing.T, c accepttest.Config) accepttest.Subject {
				buffer := &memory{}
				config := testConfig(front, buffer)
				config.Dialects, config.SignedOnly, config.Now, config.AccessLog = c.Dialects, c.SignedOnly, c.Now, c.AccessLog
				s := serve(t, config)
				return accepttest.Subject{URL: "http://" + s.addr, Rows: func() []accepttest.Row { return rowsOf(t, buffer) }}
			})
		})
	}
}

func rowsOf(t *testing.T, buffer *memory) (rows []accepttest.Row) {
	t.Helper()
	for _, record := range buffer.take() {
		var r postback.Record
		if err := r.Decode(record); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, accepttest.RowOf(&r))
	}
	return rows
}

func TestDialectThatIsNone(t *testing.T) {
	config := testConfig(FrontPlain, &memory{})
	config.Dialects = []postback.Dialect{{Partner: "p", Target: "/x"}}
	if _, err := New(config); err == nil {
		t.Error("a dialect without a click id was taken")
	}
}

// Both fronts read alike, whatever comes.
func FuzzBothReadDialectsTheSame(f *testing.F) {
	var paths []string
	for i, d := range accepttest.Dialects() {
		path, query, _ := strings.Cut(accepttest.Target(f, &d, accepttest.Fields()), "?")
		paths = append(paths, path)
		f.Add(uint8(i), query)
		f.Add(uint8(i), query+"&x=%zz;")
		f.Add(uint8(i), strings.Replace(query, "12.5", "{payout}", 1))
		f.Add(uint8(i), strings.ReplaceAll(query, "c", "%63"))
	}
	p := &pair{}
	for i, front := range fronts() {
		p.buffers[i] = &memory{}
		config := testConfig(front, p.buffers[i])
		config.Dialects = accepttest.Dialects()
		p.servers[i] = serve(f, config)
	}
	f.Fuzz(func(t *testing.T, which uint8, query string) {
		p.compare(t, paths[int(which)%len(paths)], query)
	})
}
