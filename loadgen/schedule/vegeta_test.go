package schedule

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func parseTargets(text string) ([]Replayed, error) {
	return ParseVegetaTargets("targets", strings.NewReader(text))
}

func TestParseVegetaTargets(t *testing.T) {
	tests := []struct {
		name, text string
		want       []Replayed
	}{
		{"two targets", "GET http://h/a?b=c\n\nPOST https://h:8443\n", []Replayed{
			{Method: "GET", Target: "/a?b=c", Host: "h"},
			{Method: "POST", Target: "/", Host: "h:8443"},
		}},
		{"no blank line between", "GET http://h/a\nGET http://h/b\nDELETE /c", []Replayed{
			{Method: "GET", Target: "/a", Host: "h"},
			{Method: "GET", Target: "/b", Host: "h"},
			{Method: "DELETE", Target: "/c"},
		}},
		{"headers and comments", "# first\r\n\r\nGET http://h/a\r\n# inside\r\nx-Case: 1\r\nX-Two:a:b\r\nX-Two: c\r\nACCEPT : */*\r\n\r\n# last\r\n", []Replayed{
			{Method: "GET", Target: "/a", Host: "h", Header: [][2]string{{"x-Case", "1"}, {"X-Two", "a:b"}, {"X-Two", "c"}, {"ACCEPT", "*/*"}}},
		}},
		{"host and framing", "PUT http://h/a\nhost: other:81\nContent-Length: 5\ntransfer-encoding: chunked\n", []Replayed{
			{Method: "PUT", Target: "/a", Host: "other:81"},
		}},
		{"URL corners", "GET HTTP://[::1]:80?x=é\n\nGET http://h/%zz/\"'?#frag\n", []Replayed{
			{Method: "GET", Target: "/?x=%C3%A9", Host: "[::1]:80"},
			{Method: "GET", Target: `/%zz/"'?`, Host: "h"},
		}},
		{"JSON", `# comment` + "\n\n" +
			`{"method":"POST","url":"http://h/a","body":"Rk9P","header":{"X-B":["2","3"],"X-A":["1"],"Host":["o"]}}` + "\n\n" +
			`{"url":"/b","method":"GET","body":"","header":null}`, []Replayed{
			{Method: "POST", Target: "/a", Host: "o", Body: []byte("FOO"), Header: [][2]string{{"X-A", "1"}, {"X-B", "2"}, {"X-B", "3"}}},
			{Method: "GET", Target: "/b"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseTargets(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestParseVegetaTargetsRefuses(t *testing.T) {
	tests := []struct {
		name, text string
		is         error
		want       string
	}{
		{"empty", "# nothing\n", ErrEmpty, "targets: no request in it"},
		{"body file", "POST /a\nX: y\n@/etc/body.json\n", ErrBodyFile,
			`targets:3: body files are not supported: "@/etc/body.json"; use the JSON format, which holds the body itself`},
		{"no URL", "GET\n", nil, `targets:1: "GET" is no target; want METHOD URL`},
		{"lower-case method", "get /a\n", nil, `targets:1: "get" is not an HTTP method`},
		{"relative URL", "GET a/b\n", nil, `targets:1: "a/b" is neither a path nor an http URL`},
		{"other scheme", "GET ftp://h/\n", nil, `targets:1: "ftp://h/" is neither a path nor an http URL`},
		{"no host", "GET http:///a\n", nil, `targets:1: URL "http:///a": it has no host`},
		{"user name", "GET http://u:p@h/a\n", nil, `targets:1: URL "http://u:p@h/a": a user name in it is not supported; send an Authorization header`},
		{"odd host", "GET http://h\x01/a\n", nil, `targets:1: URL "http://h\x01/a": byte '\x01' in the host`},
		{"space in the URL", "GET /a b\n", nil, `targets:1: URL "/a b" holds a space; write %20`},
		{"no colon", "GET /a\nheader\n", nil, `targets:2: "header" is no header; want Name: value`},
		{"header without a value", "GET /a\nX:\n", nil, `targets:2: header "X" needs a name and a value`},
		{"header without a name", "GET /a\n: x\n", nil, `targets:2: header "" needs a name and a value`},
		{"space in a header name", "GET /a\nX y: z\n", nil, `targets:2: byte ' ' in header name "X y"`},
		{"control byte in a header", "GET /a\nX: a\x00b\n", nil, `targets:2: control byte '\x00' in the value of header X`},
		{"Host header with a path", "GET /a\nHost: h/x\n", nil, `targets:2: Host header: byte '/' in the host`},
		{"header before any target", "X: y\n", nil, `targets:1: "X:" is not an HTTP method`},
		{"JSON cut", `{"method":"GET"`, nil, `targets:1: JSON target: the object does not end on its line`},
		{"JSON unknown key", `{"method":"GET","url":"/","headers":{}}`, nil, `targets:1: JSON target: ...`},
		{"JSON wrong type", `{"method":"GET","url":"/","header":{"X":"y"}}`, nil, `targets:1: JSON target: "header" cannot be a string`},
		{"JSON not base64", `{"method":"GET","url":"/","body":"%"}`, nil, `targets:1: JSON target: ...`},
		{"JSON no URL", "{\"method\":\"GET\"}\n", nil, `targets:1: a target needs "method" and "url"`},
		{"JSON twice on a line", `{"method":"GET","url":"/"} {}`, nil, `targets:1: more than one JSON value on the line; want one target per line`},
		{"JSON line break in a header", `{"method":"GET","url":"/","header":{"X":["a\r\nb"]}}`, nil, `targets:1: control byte '\r' in the value of header X`},
		{"JSON then HTTP", "{\"method\":\"GET\",\"url\":\"/\"}\nGET /\n", nil, `targets:2: JSON target: ...`},
		{"JSON then a number", "{\"method\":\"GET\",\"url\":\"/\"}\n5\n", nil, `targets:2: JSON target: want an object, not a number`},
		{"a long line", "GET " + strings.Repeat("é", 100), nil, `targets:1: "` + strings.Repeat("é", 30) + `"… is neither a path nor an http URL`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseTargets(tt.text)
			requireParseError(t, err, tt.is, tt.want)
		})
	}
}

func FuzzParseVegetaTargets(f *testing.F) {
	f.Add("GET http://h/a\nX: y\n# c\n\nPOST /b?c\nHost: h\n")
	f.Add(`{"method":"POST","url":"http://h/a","body":"Rk9P","header":{"X":["1"]}}` + "\n")
	f.Add("PUT https://h\n@body\n")
	f.Fuzz(func(t *testing.T, text string) {
		entries, err := parseTargets(text)
		if err != nil {
			return
		}
		requireReplayable(t, entries)
		again, err := parseTargets(asJSONTargets(t, entries))
		if err != nil {
			t.Fatalf("its JSON form is refused: %v", err)
		}
		for i := range entries {
			a, b := entries[i], again[i]
			if a.Method != b.Method || a.Target != b.Target || a.Host != b.Host || string(a.Body) != string(b.Body) || len(a.Header) != len(b.Header) {
				t.Errorf("entry %d: %+v became %+v", i, a, b)
			}
		}
	})
}

// asJSONTargets writes entries in vegeta's JSON format.
func asJSONTargets(t *testing.T, entries []Replayed) string {
	t.Helper()
	var out strings.Builder
	for _, e := range entries {
		target := jsonTarget{Method: e.Method, URL: e.Target, Body: e.Body, Header: map[string][]string{}}
		if e.Host != "" {
			target.URL = "http://" + e.Host + e.Target
		}
		for _, h := range e.Header {
			target.Header[h[0]] = append(target.Header[h[0]], h[1])
		}
		line, err := json.Marshal(target)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(append(line, '\n'))
	}
	return out.String()
}
