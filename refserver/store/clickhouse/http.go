package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// maxAnswerBytes bounds what is read of an answer: a value, or a reason.
const maxAnswerBytes = 4 << 10

// maxReasonBytes is what an error repeats of a reason.
const maxReasonBytes = 300

// serverError is a statement that the server refused, or broke off.
type serverError struct {
	status int // of HTTP
	code   int // ClickHouse's own; 0 if it tells none
	reason string
}

func (e *serverError) Error() string { return fmt.Sprintf("HTTP %d: %s", e.status, e.reason) }

func newHTTPClient() *http.Client {
	dialer := net.Dialer{Timeout: connectTimeout}
	return &http.Client{Transport: &http.Transport{
		DialContext: dialer.DialContext, // and no proxy
		// A load asks for one thing after the other.
		MaxConnsPerHost: 2, MaxIdleConns: 2, DisableCompression: true,
	}}
}

// do carries out one statement and returns its answer without the last newline.
// A body continues the statement with the rows to insert; it is sent once. The
// time that a statement may take is ctx's.
func (c *Clicks) do(ctx context.Context, database, statement string, body io.Reader) (string, error) {
	query := url.Values{"query": {statement}}
	if database != "" {
		query.Set("database", database)
	}
	target := url.URL{Scheme: "http", Host: c.options.HTTP, Path: "/", RawQuery: query.Encode()}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), body)
	if err != nil {
		return "", err
	}
	if c.options.User != "" {
		request.SetBasicAuth(c.options.User, c.options.Password)
	}
	response, err := c.http.Do(request)
	if err != nil {
		var noise *url.Error // it repeats the whole statement
		if errors.As(err, &noise) {
			err = noise.Err
		}
		return "", err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return "", err
	}
	text := strings.TrimRight(string(answer), "\n")
	if response.StatusCode == http.StatusOK {
		return text, nil
	}
	refused := &serverError{status: response.StatusCode}
	// An answer that does not begin like this leaves the code at 0.
	_, _ = fmt.Sscanf(text, "Code: %d", &refused.code)
	refused.reason = strings.ToValidUTF8(strings.Join(strings.Fields(text), " "), "?")
	if len(refused.reason) > maxReasonBytes {
		refused.reason = refused.reason[:maxReasonBytes] + "…"
	}
	return "", refused
}
