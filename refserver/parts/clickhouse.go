package parts

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed" // the configuration
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/postbench/postbench/internal/proc"
	"github.com/postbench/postbench/internal/wholefile"
)

const (
	clickhousePackage = "clickhouse-server"
	// clickhouseMaxConnections is more than all that one server's processes open.
	clickhouseMaxConnections = 512
	// clickhouseKeepAliveS keeps HTTP connections over the pauses of a run.
	clickhouseKeepAliveS = 600
	// The caches hold the whole of the clicks that a run loads.
	clickhouseMarkCacheBytes  = 64 << 20
	clickhouseBlockCacheBytes = 256 << 20
	// clickhouseStopTimeout is short: with idle connections it waits for their end,
	// and whatever it has inserted lies in files already.
	clickhouseStopTimeout = 2 * time.Second
	// maxAnswerBytes is more than the version and the token have.
	maxAnswerBytes = 4 << 10
)

//go:embed clickhouse.xml
var clickhouseConfig string

// errStranger says that another server has the port.
var errStranger = errors.New("another ClickHouse answers at that address")

// ClickHouse is a running ClickHouse that listens on two ports of the loopback
// interface; the user is "default", without a password.
type ClickHouse struct {
	*Process
	Native, HTTP string // "127.0.0.1:PORT" of either protocol
	Version      string // "18.16.1"
}

// StartClickHouse starts a ClickHouse with its data below dataDir, which is
// created if need be and kept: what was there is there again, unless the machine
// went down, since ClickHouse does not sync what it inserts.
func StartClickHouse(ctx context.Context, rt Runtime, dataDir string) (*ClickHouse, error) {
	for try := 1; ; try++ {
		c := new(ClickHouse)
		err := c.start(ctx, rt, dataDir)
		switch {
		case err == nil:
			return c, nil
		case try == maxPortTries || !PortTaken(ctx, err, c.Native, c.HTTP):
			return nil, fmt.Errorf("start ClickHouse: %w", err)
		}
	}
}

// Stop asks the server to end, kills it if it waits for its clients, and returns
// when it is gone. Neither loses anything.
func (c *ClickHouse) Stop(ctx context.Context) error {
	err := c.Process.Stop(ctx)
	if errors.Is(err, proc.ErrForced) {
		return nil
	}
	return err
}

func (c *ClickHouse) start(ctx context.Context, rt Runtime, dataDir string) (err error) {
	for _, address := range []*string{&c.Native, &c.HTTP} {
		if *address, err = FreePort(ctx); err != nil {
			return err
		}
	}
	token := rand.Text()
	file, err := c.configure(&rt, dataDir, token)
	if err != nil {
		return err
	}
	c.Process, err = Start(ctx, rt, Spec{
		Name: "clickhouse-server", Programs: []string{"clickhouse-server"}, Package: clickhousePackage,
		Args: []string{"--config-file=" + file},
		Dir:  filepath.Dir(file), StopTimeout: clickhouseStopTimeout,
		LogOnly: []string{"<Fatal>", "<Critical>"}, // whoever asks gets the errors as answers
		Probe:   func(ctx context.Context) error { return c.ask(ctx, token) },
	})
	return err
}

// configure makes the directories and writes the configuration.
func (c *ClickHouse) configure(rt *Runtime, dataDir, token string) (file string, err error) {
	dir, err := filepath.Abs(filepath.Join(rt.Dir, "clickhouse"))
	if err != nil {
		return "", err
	}
	data, err := filepath.Abs(filepath.Join(dataDir, "clickhouse"))
	if err != nil {
		return "", err
	}
	for _, d := range []string{data, filepath.Join(dir, "tmp"), filepath.Join(dir, "files"), filepath.Join(dir, "schemas")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return "", err
		}
	}
	file = filepath.Join(dir, "config.xml")
	var b bytes.Buffer
	err = template.Must(template.New("clickhouse.xml").Parse(clickhouseConfig)).Execute(&b, map[string]any{
		"LogLevel": "error", "HTTPPort": port(c.HTTP), "NativePort": port(c.Native),
		"Data": escaped(data), "Dir": escaped(dir), "File": escaped(file), "Token": token,
		"MaxConnections": clickhouseMaxConnections, "KeepAliveS": clickhouseKeepAliveS,
		"MarkCacheBytes": clickhouseMarkCacheBytes, "BlockCacheBytes": clickhouseBlockCacheBytes,
	})
	if err != nil {
		return "", fmt.Errorf("write %s: %w", file, err)
	}
	return file, wholefile.Write(file, b.Bytes())
}

// escaped is a path as XML's text.
func escaped(path string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(path)) // a Builder never fails
	return b.String()
}

// ask learns the version and whether the server is the one that we started.
func (c *ClickHouse) ask(ctx context.Context, token string) error {
	answer, err := c.query(ctx, "SELECT version(), substitution FROM system.macros WHERE macro = 'postbench'")
	if err != nil {
		return err
	}
	version, substitution, _ := strings.Cut(strings.TrimSuffix(answer, "\n"), "\t")
	if substitution != token {
		return errStranger
	}
	c.Version = version
	return nil
}

func (c *ClickHouse) query(ctx context.Context, query string) (answer string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.HTTP+"/?query="+url.QueryEscape(query), nil)
	if err != nil {
		return "", err
	}
	request.Close = true // nobody else asks
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %.200q", response.StatusCode, body)
	}
	return string(body), err
}
