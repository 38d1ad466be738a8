package refserver

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/postbench/postbench/internal/strictyaml"
	"github.com/postbench/postbench/internal/wholefile"
)

// The real parts that a server may have a stand-in for, or none at all.
const (
	PartRedis      = "redis"
	PartMySQL      = "mysql"
	PartClickHouse = "clickhouse"
	PartNginx      = "nginx"
	PartPHP        = "php"
	PartWorkerd    = "workerd"
)

// Parts lists the real parts.
func Parts() []string {
	return []string{PartRedis, PartMySQL, PartClickHouse, PartNginx, PartPHP, PartWorkerd}
}

// Real says where the real parts of a server come from. The zero value starts
// what is installed and takes stand-ins for what is not.
type Real struct {
	// MySQL is a data source name of github.com/go-sql-driver/mysql, ClickHouse
	// the host:port of the native protocol and, behind a comma, of HTTP (8123 of
	// the same host if left out), Redis a host:port. "" starts the program from
	// PATH. Each server makes a database of its own there.
	MySQL, ClickHouse, Redis string
	// Embedded takes the stand-ins even for what is installed.
	Embedded bool
	// Require are parts for which a stand-in is an error.
	Require []string
}

// ErrRequired is wrapped by Serve's error when a part that is required would
// have been a stand-in.
var ErrRequired = errors.New("is required and would be a stand-in")

// missing is nil where a stand-in may take the part's place.
func (r *Real) missing(part string, reason error) error {
	if slices.Contains(r.Require, part) {
		return fmt.Errorf("%s %w: %w", part, ErrRequired, reason)
	}
	return nil
}

const defaultClickHouseHTTP = "8123"

func (r *Real) clickHouseAddresses() (native, http string, err error) {
	native, http, _ = strings.Cut(r.ClickHouse, ",")
	host, _, err := net.SplitHostPort(native)
	if err != nil {
		return "", "", fmt.Errorf("ClickHouse at %q: expected host:port, or host:port,host:port of the native protocol and of HTTP", r.ClickHouse)
	}
	if http == "" {
		http = net.JoinHostPort(host, defaultClickHouseHTTP)
	}
	return native, http, nil
}

// Check refuses unknown parts and what contradicts itself, in one line.
func (r *Real) Check() error {
	for _, part := range r.Require {
		if !slices.Contains(Parts(), part) {
			return fmt.Errorf("required: %s", strictyaml.Unknown("part", part, Parts()))
		}
	}
	if r.Embedded && (r.MySQL != "" || r.ClickHouse != "" || r.Redis != "") {
		return errors.New("stand-ins only, and the address of a real part: leave one of them out")
	}
	for _, part := range []string{PartRedis, PartMySQL, PartClickHouse} {
		if r.Embedded && slices.Contains(r.Require, part) {
			return fmt.Errorf("%s %w: leave out one of the two", part, ErrRequired)
		}
	}
	if r.ClickHouse != "" {
		_, _, err := r.clickHouseAddresses()
		return err
	}
	return nil
}

// maxDatabaseNameBytes bounds the file that keeps the name.
const maxDatabaseNameBytes = 64

// databaseName is the name of this server's own database at addresses that were
// given: made up at the first start, kept in the data directory.
func (c *Config) databaseName() (string, error) {
	file := filepath.Join(c.DataDir, "database-name")
	text, err := readLimited(file, maxDatabaseNameBytes)
	if err == nil {
		return string(text), nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read the name of the database: %w", err)
	}
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails, see crypto/rand
	name := "postbench_" + hex.EncodeToString(random[:])
	return name, wholefile.Write(file, []byte(name))
}
