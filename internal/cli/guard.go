package cli

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/postbench/postbench/internal/proc"
)

// guardCommand is for processes, not for people: see proc.RunGuard.
func guardCommand() *cobra.Command {
	return &cobra.Command{
		Use:                guardVerb + " PROGRAM [ARG…]",
		Short:              "run a program for this one and leave nothing of it behind",
		Long:               "Runs a program on behalf of another postbench, which starts this itself.",
		Example:            "  # started by postbench serve, never by hand",
		Hidden:             true,
		DisableFlagParsing: true, // all flags are the program's
		Args:               cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 && args[0] == "--" {
				args = args[1:]
			}
			status, err := proc.RunGuard(args)
			if err == nil {
				os.Exit(status) // the program's own, on which our exit codes have no say
			}
			return err
		},
	}
}
