package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postbench/postbench/refserver/accesslog"
)

// logs runs the verb.
func logs(ctx context.Context, out, notes io.Writer, args ...string) error {
	command := logsCommand()
	command.SetArgs(args)
	command.SetOut(out)
	command.SetErr(notes)
	command.SilenceErrors, command.SilenceUsage = true, true
	return command.ExecuteContext(ctx)
}

func logEntry(i int) *accesslog.Entry {
	return &accesslog.Entry{UnixNs: 1_700_000_000_000_000_005, DurationNs: 1_250_000, Status: 200, Method: []byte("GET"),
		URI: fmt.Appendf(nil, "/pb/signed?n=%d&sig=secret", i)}
}

// bothLogs writes the same entries into a log of either kind.
func bothLogs(t *testing.T) (lines, mapped string) {
	t.Helper()
	lines, mapped = filepath.Join(t.TempDir(), "access.log"), filepath.Join(t.TempDir(), "access.log.capnp")
	file, err := os.Create(lines)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	one := accesslog.New(file, accesslog.Options{})
	other, err := accesslog.OpenMapped(mapped, accesslog.MappedOptions{})
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		one.Log(logEntry(i))
		other.Log(logEntry(i))
	}
	if err := errors.Join(one.Close(), other.Close()); err != nil {
		t.Fatal(err)
	}
	return lines, mapped
}

func TestLogs(t *testing.T) {
	lines, mapped := bothLogs(t)
	asJSON, err := os.ReadFile(lines)
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for i := range 3 {
		text += fmt.Sprintf("2023-11-14T22:13:20.000000005Z 200 1.250ms GET /pb/signed?n=%d&sig=redacted\n", i)
	}
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{lines}, text},
		{[]string{mapped}, text},
		{[]string{"--json", lines}, string(asJSON)},
		{[]string{"--json", mapped}, string(asJSON)},
		{[]string{mapped, lines}, text + text},
	} {
		var out, notes bytes.Buffer
		if err := logs(t.Context(), &out, &notes, test.args...); err != nil || notes.Len() > 0 || out.String() != test.want {
			t.Errorf("%v: %v, %s\ngot\n%swant\n%s", test.args, err, notes.String(), out.String(), test.want)
		}
	}
}

// What a killed writer left is said beside what is printed.
func TestLogsOfTheDead(t *testing.T) {
	_, mapped := bothLogs(t)
	whole, err := os.ReadFile(mapped)
	if err != nil {
		t.Fatal(err)
	}
	size := len(whole) / 3
	killed := append(bytes.Clone(whole), make([]byte, 4_096)...)
	clear(killed[size : 2*size]) // nothing of the second entry was stored
	if err := os.WriteFile(mapped, killed, 0o600); err != nil {
		t.Fatal(err)
	}
	var out, notes bytes.Buffer
	err = logs(t.Context(), &out, &notes, mapped)
	want := noteUnfinished(mapped, 1) + noteWriterDied(mapped, int64(len(whole)))
	if err != nil || strings.Count(out.String(), "\n") != 2 || notes.String() != want {
		t.Errorf("%v\n%s%swant\n%s", err, out.String(), notes.String(), want)
	}
}

func TestLogsRefused(t *testing.T) {
	lines, _ := bothLogs(t)
	other := filepath.Join(t.TempDir(), "notes.txt")
	if err := os.WriteFile(other, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, notes bytes.Buffer
	err := logs(t.Context(), &out, &notes, other, lines, other+"x")
	if err == nil || strings.Count(errorText(err), "\n") != 1 || !strings.Contains(err.Error(), "notes.txt: no access log entry at byte 0: it is neither JSON nor Cap'n Proto") {
		t.Errorf("%v", err)
	}
	if strings.Count(out.String(), "\n") != 3 || notes.Len() > 0 {
		t.Errorf("the good file: %s%s", out.String(), notes.String())
	}
	if err := logs(t.Context(), &out, &notes); err == nil {
		t.Error("no file was wanted")
	}
}

// lineSink hands over what is printed, whenever it is.
type lineSink struct {
	mu   sync.Mutex
	text strings.Builder
	more chan struct{}
}

func (s *lineSink) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
	return s.text.Write(b)
}

func (s *lineSink) lines() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.text.String(), "\n")
}

func TestLogsFollow(t *testing.T) {
	lines, mapped := bothLogs(t)
	log, err := accesslog.OpenMapped(mapped, accesslog.MappedOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sink, notes := &lineSink{more: make(chan struct{}, 1)}, &bytes.Buffer{}
	ended := make(chan error, 1)
	go func() { ended <- logs(ctx, sink, notes, "--follow", lines, mapped) }()
	limit := time.After(20 * time.Second)
	for want := 6; want <= 10; want++ {
		for sink.lines() < want {
			select {
			case <-sink.more:
			case <-limit:
				t.Fatalf("%d lines of %d", sink.lines(), want)
			}
		}
		if want < 10 {
			log.Log(logEntry(want))
		}
	}
	cancel()
	if err := <-ended; err != nil || notes.Len() > 0 { // its writer is alive
		t.Errorf("%v, %s", err, notes.String())
	}
	if err := log.Close(); err != nil {
		t.Error(err)
	}
}
