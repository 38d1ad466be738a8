package cli

import (
	"cmp"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/postbench/postbench/refserver"
)

// requireAll stands for every real part.
const requireAll = "all"

// guardVerb is the hidden verb under which real programs run.
const guardVerb = "guard"

// realParts are the flags about where a server's real parts come from.
type realParts struct {
	redis, mysql, clickhouse string
	embedded                 bool
	require                  string
}

func (r *realParts) register(flags *pflag.FlagSet) {
	flags.StringVar(&r.redis, "redis", "", "`HOST:PORT` of a Redis instead of one that is started (one edge only)")
	flags.StringVar(&r.mysql, "mysql", "", "`DSN` of a MariaDB or MySQL instead of one that is started: user:password@tcp(host:port)/; or in the environment as "+mysqlVariable)
	flags.StringVar(&r.clickhouse, "clickhouse", "", "`HOST:PORT[,HOST:PORT]` of a ClickHouse, native and HTTP, instead of one that is started")
	flags.BoolVar(&r.embedded, "embedded", false, "stand-ins inside the process instead of MariaDB, ClickHouse and Redis, even where these are installed")
	flags.StringVar(&r.require, "require", "", "`LIST` of parts ("+strings.Join(refserver.Parts(), ", ")+" or all) for which a stand-in is an error")
}

// real is what the flags say.
func (r *realParts) real() refserver.Real {
	list := splitList(r.require)
	if slices.Contains(list, requireAll) {
		list = refserver.Parts()
	}
	return refserver.Real{MySQL: r.mysql, ClickHouse: r.clickhouse, Redis: r.redis, Embedded: r.embedded, Require: list}
}

// mysqlVariable hands a data source name to a server of ours: it holds a
// password, and everybody may read a command line.
const mysqlVariable = "POSTBENCH_MYSQL_DSN"

// serverEnv hands on what no command line may show.
func (r *realParts) serverEnv() []string {
	if r.mysql == "" {
		return nil
	}
	return []string{mysqlVariable + "=" + r.mysql}
}

// fromEnv takes what serverEnv has handed on.
func (r *realParts) fromEnv() { r.mysql = cmp.Or(r.mysql, os.Getenv(mysqlVariable)) }

// serverArgs hands the flags on to a server.
func (r *realParts) serverArgs() []string {
	var args []string
	for _, f := range []struct{ name, value string }{
		{"redis", r.redis}, {"clickhouse", r.clickhouse}, {"require", r.require},
	} {
		if f.value != "" {
			args = append(args, "--"+f.name, f.value)
		}
	}
	if r.embedded {
		args = append(args, "--embedded")
	}
	return args
}

// sweepDirs are where run directories are made.
func sweepDirs() []string { return []string{os.TempDir(), memoryDir} }
