// Package cli is the command line: one file a verb. It turns flags into the
// configurations of the packages below and their results into the result
// document; it measures and judges nothing itself.
package cli

import (
	"context"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Main runs the command line and returns the program's exit code. The first
// SIGINT or SIGTERM ends a run early, with a report; the second kills.
func Main(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(stderr, errorText(err))
	}
	return exitCode(err)
}

// errorText puts every joined error on a line of its own.
func errorText(err error) string {
	return "postbench: " + strings.ReplaceAll(err.Error(), "\n", "\npostbench: ")
}

func newRoot() *cobra.Command {
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
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = false
	root.AddCommand(compareCommand(), runCommand(), auditCommand(), serveCommand(), listCommand(), showCommand(), checkCommand(),
		schemaCommand(), versionCommand())
	root.AddCommand(populationCommands()...)
	return root
}
