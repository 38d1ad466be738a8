package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/postbench/postbench/refserver/accesslog"
)

const (
	// logPoll is how often a followed log is looked at.
	logPoll = 200 * time.Millisecond
	// logPatience is how long a followed log waits for an entry that was begun;
	// those behind it are printed then.
	logPatience = time.Second
)

func logsCommand() *cobra.Command {
	var asJSON, follow bool
	command := &cobra.Command{
		Use:   "logs FILE…",
		Short: "print access logs of the reference server, JSON lines or Cap'n Proto messages",
		Long: `Prints the access logs of a server's processes, one line an entry: time (UTC),
status, milliseconds until the answer was known, method and URI. Every file's
own beginning tells whether it holds JSON lines or Cap'n Proto messages. A log
may be read while it is being written, and after its writer was killed: what is
not whole is left out and counted on standard error.`,
		Example: `  postbench logs data/edge-0/access.log.capnp
  postbench logs --json data/edge-*/access.log.capnp | jq .status
  postbench logs --follow data/access.log`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("logs wants at least one FILE; see: postbench logs --help")
			}
			return nil
		},
		RunE: func(command *cobra.Command, args []string) error {
			p := &logPrinter{out: bufio.NewWriter(command.OutOrStdout()), notes: command.ErrOrStderr(), json: asJSON}
			if follow {
				return p.follow(command.Context(), args)
			}
			return p.print(args)
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line, as the JSON log has it")
	command.Flags().BoolVarP(&follow, "follow", "f", false, "wait for further entries, until Ctrl-C")
	return command
}

// logPrinter prints entries as they are found.
type logPrinter struct {
	out   *bufio.Writer
	notes io.Writer
	json  bool
	line  []byte
}

// openLog is a log that is being printed.
type openLog struct {
	name       string
	file       *os.File
	reader     *accesslog.Reader
	sizeBytes  int64 // before the last look into it
	unfinished int64
	waiting    time.Time // since when for an entry that was begun; zero if for none
}

func openLogFile(name string) (*openLog, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return &openLog{name: name, file: file, reader: accesslog.NewReader(file)}, nil
}

// print prints one file after the other; a bad one does not hide the others.
func (p *logPrinter) print(names []string) error {
	var bad manyErrors
	for _, name := range names {
		if err := p.printOne(name); err != nil {
			bad = append(bad, err)
		}
	}
	if err := p.out.Flush(); err != nil {
		return err
	}
	if len(bad) > 0 {
		return bad
	}
	return nil
}

func (p *logPrinter) printOne(name string) error {
	l, err := openLogFile(name)
	if err != nil {
		return err
	}
	defer l.file.Close()
	if err := p.drain(l, 0); err != nil {
		return err
	}
	p.noteEnd(l)
	return nil
}

// follow prints what comes into any of the files.
func (p *logPrinter) follow(ctx context.Context, names []string) error {
	var logs []*openLog
	for _, name := range names {
		l, err := openLogFile(name)
		if err != nil {
			return err
		}
		defer l.file.Close()
		logs = append(logs, l)
	}
	ticker := time.NewTicker(logPoll)
	defer ticker.Stop()
	for {
		for _, l := range logs {
			if err := p.drain(l, logPatience); err != nil {
				return errors.Join(p.out.Flush(), err)
			}
		}
		if err := p.out.Flush(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			for _, l := range logs {
				p.noteEnd(l)
			}
			return nil
		case <-ticker.C:
		}
	}
}

// drain prints what is there now. It passes over an entry that has not been
// finished for the time of patience.
func (p *logPrinter) drain(l *openLog, patience time.Duration) error {
	st, err := l.file.Stat()
	if err != nil {
		return err
	}
	l.sizeBytes = st.Size()
	for {
		record, err := l.reader.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, accesslog.ErrUnfinished):
			if l.waiting.IsZero() {
				l.waiting = time.Now()
			}
			if time.Since(l.waiting) < patience {
				return nil
			}
			l.unfinished++
			l.reader.Skip()
		case err != nil:
			return fmt.Errorf("%s: %w", l.name, err)
		case p.json:
			p.line = record.AppendJSON(p.line[:0])
		default:
			p.line = record.AppendText(p.line[:0])
		}
		l.waiting = time.Time{}
		if err == nil {
			_, _ = p.out.Write(p.line) // an error stays until Flush
		}
	}
}

// noteEnd says what was left out of a log.
func (p *logPrinter) noteEnd(l *openLog) {
	if l.unfinished > 0 {
		fmt.Fprint(p.notes, noteUnfinished(l.name, l.unfinished))
	}
	if l.reader.Offset() < l.sizeBytes && !accesslog.BeingWritten(l.file) {
		fmt.Fprint(p.notes, noteWriterDied(l.name, l.reader.Offset()))
	}
}

func noteUnfinished(name string, entries int64) string {
	return fmt.Sprintf("note: %s: %d entries were begun and not finished: they are left out\n", name, entries)
}

func noteWriterDied(name string, offset int64) string {
	return fmt.Sprintf("note: %s: stopped at byte %d: the writer died here\n", name, offset)
}
