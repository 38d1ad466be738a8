package clickhouse_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/postbench/postbench/refserver/parts"
)

// statement runs one over HTTP, as anybody's client would, and returns the answer.
func statement(t testing.TB, server *parts.ClickHouse, text string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+server.HTTP+"/?query="+url.QueryEscape(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Close = true // a server that stops waits for idle connections
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %s %v", text, response.StatusCode, body, err)
	}
	return strings.TrimSuffix(string(body), "\n")
}
