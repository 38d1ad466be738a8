package php

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"text/template"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/internal/wholefile"
)

// Limits and times of the two programs.
const (
	maxSocketBytes = 103 // of a unix socket's path, everywhere
	maxFiles       = 16_384
	maxConnections = 4_096 // of one nginx worker, both sides
	acceptBacklog  = 4_096 // connections that nginx has not taken yet
	fpmQueue       = 511   // requests that no PHP worker has taken yet; more are answered 503
	headerKiB      = 16
	bodyKiB        = 1_024
	idleS          = 300
	// maxKeepAliveRequests is as good as none: nginx would hang up on a partner
	// after a thousand.
	maxKeepAliveRequests = 1_000_000_000
	phpTimeoutS          = 60
	adminTimeoutS        = 600 // loading a large population takes its time
	shutdownS            = 10
	// opcacheMiB holds the framework and several generations of the keys.
	opcacheMiB = 192
	// maxReadyBytes is more than the answer of the first request has.
	maxReadyBytes = 4 << 10
)

//go:embed all:laravel nginx.conf.tmpl php-fpm.conf.tmpl
var sources embed.FS

// configurable is what a path may consist of: nginx and php-fpm give other
// characters a meaning, and not every one can be escaped.
var configurable = regexp.MustCompile(`^[A-Za-z0-9/._@+,=~-]*$`)

var (
	errPath   = errors.New("may hold only letters, digits and /._@+,=~-, for nginx and php-fpm could not be configured with it")
	errSocket = errors.New("is too long for a socket: set TMPDIR to a directory with a shorter name")
	errReady  = errors.New("the first request failed")
)

// layout is where everything lies.
type layout struct {
	dir, app               string
	socket                 string
	nginxConfig, fpmConfig string
	asRoot                 bool
	token                  string // in the path of the first request, to know our nginx by
}

func newLayout(runtimeDir string) (*layout, error) {
	dir, err := filepath.Abs(filepath.Join(runtimeDir, "php"))
	if err != nil {
		return nil, err
	}
	l := &layout{
		dir: dir, app: filepath.Join(dir, "laravel"), socket: filepath.Join(dir, "fpm.sock"),
		nginxConfig: filepath.Join(dir, "nginx.conf"), fpmConfig: filepath.Join(dir, "php-fpm.conf"),
		asRoot: os.Geteuid() == 0, token: rand.Text(),
	}
	if len(l.socket) > maxSocketBytes {
		return nil, fmt.Errorf("the path %s %w", l.socket, errSocket)
	}
	return l, nil
}

// write makes the directories, the application and the configuration.
func (l *layout) write(config *Config) error {
	for _, path := range []string{l.dir, config.TLSCertFile, config.TLSKeyFile, config.LogFile} {
		if !configurable.MatchString(path) {
			return fmt.Errorf("the path %q %w", path, errPath)
		}
	}
	if err := os.RemoveAll(l.dir); err != nil { // caches of another configuration
		return err
	}
	for _, dir := range []string{"laravel/bootstrap/cache", "laravel/storage", "keys", "body", "proxy", "fastcgi", "uwsgi", "scgi", "tmp"} {
		if err := os.MkdirAll(filepath.Join(l.dir, dir), 0o700); err != nil {
			return err
		}
	}
	if err := l.copyApp(); err != nil {
		return err
	}
	settings, err := l.settings(config)
	if err != nil {
		return err
	}
	return cmp.Or(
		wholefile.Write(filepath.Join(l.app, "settings.json"), settings),
		l.fill("nginx.conf.tmpl", l.nginxConfig, config),
		l.fill("php-fpm.conf.tmpl", l.fpmConfig, config),
	)
}

func (l *layout) copyApp() error {
	return fs.WalkDir(sources, "laravel", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(l.dir, filepath.FromSlash(path))
		if entry.IsDir() {
			return os.MkdirAll(to, 0o700)
		}
		content, err := sources.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, content, 0o600)
	})
}

// settings is what the application reads as settings.json.
func (l *layout) settings(config *Config) ([]byte, error) {
	type mariadb struct {
		Socket     string `json:"socket"`
		Database   string `json:"database"`
		User       string `json:"user"`
		Persistent bool   `json:"persistent"`
	}
	type clickhouse struct {
		HTTP     string `json:"http"`
		Database string `json:"database"`
	}
	logFile := config.LogFile
	if logFile != "" {
		var err error
		if logFile, err = filepath.Abs(logFile); err != nil {
			return nil, err
		}
	}
	dialects := make(map[string]postback.Dialect, len(config.Dialects))
	for _, d := range config.Dialects {
		dialects[d.Partner] = d
	}
	return json.MarshalIndent(struct {
		MariaDB    mariadb                     `json:"mariadb"`
		ClickHouse clickhouse                  `json:"clickhouse"`
		Keys       string                      `json:"keys"`
		AccessLog  string                      `json:"access_log"`
		SignedOnly bool                        `json:"signed_only"`
		Dialects   map[string]postback.Dialect `json:"dialects"`
	}{
		mariadb{config.MariaDB.Socket, config.MariaDB.Database, config.MariaDB.User, !config.NewConnections},
		clickhouse{config.ClickHouseHTTP, cmp.Or(config.ClickHouseDatabase, DefaultDatabase)},
		keysLink(l.dir), logFile, config.SignedOnly, dialects,
	}, "", "  ")
}

// fill writes a configuration from its template.
func (l *layout) fill(name, file string, config *Config) error {
	text, err := sources.ReadFile(name)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	err = template.Must(template.New(name).Option("missingkey=error").Parse(string(text))).Execute(&b, map[string]any{
		"Dir": l.dir, "App": l.app, "Socket": l.socket, "Token": l.token, "AsRoot": l.asRoot,
		"Addr": config.Addr, "TLSAddr": config.TLSAddr, "TLSCertFile": config.TLSCertFile, "TLSKeyFile": config.TLSKeyFile,
		"Admin": config.Admin, "Workers": config.Workers, "FixedUnixS": config.fixedUnixS,
		"MaxFiles": maxFiles, "MaxConnections": maxConnections, "Backlog": acceptBacklog, "Queue": fpmQueue,
		"HeaderKiB": headerKiB, "BodyKiB": bodyKiB, "IdleS": idleS, "MaxRequests": maxKeepAliveRequests,
		"PHPTimeoutS": phpTimeoutS, "AdminTimeoutS": adminTimeoutS, "ShutdownS": shutdownS,
	})
	if err != nil {
		return err
	}
	return wholefile.Write(file, b.Bytes())
}

// phpSettings are those that php-fpm takes at its start only.
func (l *layout) phpSettings() []string {
	return []string{
		"opcache.enable=1", "opcache.validate_timestamps=0", "opcache.interned_strings_buffer=16", "opcache.max_accelerated_files=10000",
		fmt.Sprintf("opcache.memory_consumption=%d", opcacheMiB),
		"opcache.lockfile_path=" + filepath.Join(l.dir, "tmp"), "sys_temp_dir=" + filepath.Join(l.dir, "tmp"),
		fmt.Sprintf("mysqlnd.net_read_timeout=%d", phpTimeoutS/2),
		"zend.assertions=-1",
	}
}

// dialFPM succeeds when php-fpm takes connections.
func (l *layout) dialFPM(ctx context.Context) error {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", l.socket)
	if err != nil {
		return err
	}
	return conn.Close()
}

// versions is what runs, as the application tells it.
type versions struct {
	Nginx   string `json:"nginx"`
	PHP     string `json:"php"`
	Laravel string `json:"laravel"`
}

// ask sends the first request, through all of the stack.
func (l *layout) ask(ctx context.Context, addr string, v *versions) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/ready-"+l.token, nil)
	if err != nil {
		return err
	}
	request.Close = true // nobody else asks
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxReadyBytes))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: status %d: %.200q", errReady, response.StatusCode, body)
	}
	return json.Unmarshal(body, v)
}
