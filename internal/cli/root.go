// Package cli is the command line: one file a verb. It turns flags into the
// configurations of the packages below and their results into the result
// document; it measures and judges nothing itself.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// suggestDistance is how many letters a word may differ from what is suggested
// instead.
const suggestDistance = 2

// Main runs the command line and returns the program's exit code. The first
// SIGINT or SIGTERM ends a run early, with a report; the second kills.
func Main(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	out := &checkedWriter{Writer: stdout}
	root := newRoot(out, stderr)
	root.SetArgs(append([]string{}, args...)) // nil would mean this process's own
	root.SetFlagErrorFunc(func(command *cobra.Command, err error) error {
		if command == root && !strings.HasPrefix(args[0], "-") {
			return unknownVerb(root, args) // the flags are those of a verb
		}
		return fmt.Errorf("%w%s; see: %s --help", err, didYouMean(command, err), command.CommandPath())
	})
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil && out.err != nil:
		err = fmt.Errorf("standard output: %w", out.err)
	case exitCode(err) == exitUsage && ctx.Err() != nil:
		err = errors.New("interrupted before there was anything to report")
	}
	if err != nil {
		fmt.Fprintln(stderr, errorText(err))
	}
	return exitCode(err)
}

// checkedWriter remembers that a report did not get through, so that no verb
// has to look after every line that it prints.
type checkedWriter struct {
	io.Writer
	err error
}

// Write implements io.Writer.
func (w *checkedWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if w.err == nil {
		w.err = err
	}
	return n, err
}

// manyErrors are errors that deserve a line each.
type manyErrors []error

func (m manyErrors) Error() string { return errors.Join(m...).Error() }

// errorText puts an error on one line, and each of manyErrors on its own.
func errorText(err error) string {
	var many manyErrors
	if !errors.As(err, &many) {
		many = manyErrors{err}
	}
	var lines []string
	for _, err := range many {
		lines = append(lines, "postbench: "+strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return strings.Join(lines, "\n")
}

func newRoot(stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "postbench",
		Short: "load-test affiliate postbacks and account for every one of them",
		Long: `Postbench plays affiliate networks that send postbacks at a server and says what
became of every single one: how late it was answered, counted from when it was
due; whether it was lost, counted twice or forged; and how far each offer went
past its cap.

Exit codes: 0 fine; 1 a gate or an expectation failed; 2 bad input, nothing was
measured; 3 inconclusive; 4 the measurement cannot be trusted.`,
		Example: `  # the main job: compare two architectures of the reference server
  postbench compare

  # your own server, your own postback
  postbench run --url 'http://127.0.0.1:8080/pb?cid={click_id}&sum={payout}' --rate 500 --duration 30s`,
		Args:                       unknownVerb,
		RunE:                       func(command *cobra.Command, _ []string) error { return command.Help() },
		SilenceUsage:               true,
		SilenceErrors:              true,
		DisableFlagsInUseLine:      true,
		SuggestionsMinimumDistance: suggestDistance,
	}
	root.SetOut(stdout) // before the completion verb is made, which keeps it
	root.SetErr(stderr)
	root.AddCommand(compareCommand(), runCommand(), auditCommand(), serveCommand(), listCommand(), showCommand(), checkCommand(),
		schemaCommand(), versionCommand(), logsCommand(), doctorCommand(), guardCommand())
	root.AddCommand(populationCommands()...)
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	for _, command := range root.Commands() {
		switch command.Name() {
		case "completion":
			finishCompletion(command)
		case "help":
			finishHelp(command)
		}
		completeNames(command)
	}
	return root
}

// unknownVerb refuses what is left of a command line that names no verb.
func unknownVerb(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	if near := root.SuggestionsFor(args[0]); len(near) > 0 {
		hint = fmt.Sprintf("; did you mean %s?", strings.Join(near, " or "))
	}
	return fmt.Errorf("unknown verb %q%s; see: postbench --help", args[0], hint)
}

// didYouMean names the flags that a mistyped one may stand for: cobra looks
// for near names among commands only, so the flags play commands.
func didYouMean(command *cobra.Command, err error) string {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return ""
	}
	flags := &cobra.Command{SuggestionsMinimumDistance: suggestDistance}
	command.Flags().VisitAll(func(f *pflag.Flag) {
		flags.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
	})
	near := flags.SuggestionsFor(unknown.GetSpecifiedName())
	if len(near) == 0 {
		return ""
	}
	return "; did you mean --" + strings.Join(near, " or --") + "?"
}

// exactly wants one argument for each of names, which are of the verb's Use line.
func exactly(names ...string) cobra.PositionalArgs {
	return func(command *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		return fmt.Errorf("%s wants %s, got %d arguments; see: %s --help",
			command.Name(), strings.Join(names, " and "), len(args), command.CommandPath())
	}
}

// noArguments refuses what stands behind a verb's flags.
func noArguments(command *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("%s takes flags only, not %q; see: %s --help", command.Name(), args[0], command.CommandPath())
}
