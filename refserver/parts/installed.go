package parts

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// versionTimeout is how long a program may take to tell its version.
const versionTimeout = 10 * time.Second

// Found is a real part that this machine has or lacks.
type Found struct {
	Role    string // "sql", "clicks", "cache", "web", "php", "worker" or "log"
	Program string // its path or, if it is missing, its name
	// Version as the program tells it before it runs; "" if it does not, as old
	// versions of ClickHouse.
	Version string
	// Missing wraps ErrMissing and says how to install it; nil if it is there.
	Missing error
}

type known struct {
	role          string
	programs      []string
	debianPackage string
	// The version is the word behind marker in what the program says to flag.
	flag, marker string
	install      string // how, where Debian has no package
}

var knownParts = []known{
	{"sql", []string{"mariadbd"}, mariadbPackage, "--version", "Ver ", ""},
	{"clicks", []string{"clickhouse-server"}, clickhousePackage, "--version", "version ", ""},
	{"cache", []string{"redis-server"}, redisPackage, "--version", "v=", ""},
	{"web", []string{"nginx"}, "nginx-light", "-v", "nginx/", ""},
	{"php", []string{"php-fpm8.2", "php-fpm"}, "php8.2-fpm php8.2-mysql php-laravel-framework", "-v", "PHP ", ""},
	{"worker", []string{"workerd"}, "", "--version", "workerd ", "npm install --global workerd"},
	{"log", []string{"capnp"}, "capnproto", "--version", "version ", ""},
}

// Installed looks for every real part on this machine and asks it for its
// version. It starts each program for a moment.
func Installed() []Found {
	ctx, cancel := context.WithTimeout(context.Background(), versionTimeout)
	defer cancel()
	var all []Found
	for _, k := range knownParts {
		found := Found{Role: k.role, Program: k.programs[0]}
		path, err := Look(k.debianPackage, k.programs...)
		if err != nil && k.install != "" {
			err = fmt.Errorf("%s %w: %s, or make deps-debian for every real part", k.programs[0], ErrMissing, k.install)
		}
		if err != nil {
			found.Missing = err
		} else {
			found.Program, found.Version = path, versionOf(ctx, path, &k)
		}
		all = append(all, found)
	}
	return all
}

func versionOf(ctx context.Context, path string, k *known) string {
	cmd := exec.CommandContext(ctx, path, k.flag)
	cmd.WaitDelay = time.Second // whoever holds the output longer is no version
	said, err := cmd.CombinedOutput()
	if err != nil {
		return ""
	}
	return wordAfter(string(said), k.marker)
}

// wordAfter is the word that follows the marker, or "".
func wordAfter(text, marker string) string {
	_, rest, _ := strings.Cut(text, marker)
	if fields := strings.Fields(rest); len(fields) > 0 {
		return fields[0]
	}
	return ""
}

// String is one line about the part.
func (f Found) String() string {
	switch {
	case f.Missing != nil:
		return f.Missing.Error()
	case f.Version == "":
		return fmt.Sprintf("%s (tells no version)", f.Program)
	}
	return f.Program + " " + f.Version
}
