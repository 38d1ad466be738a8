package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postbench/postbench/reports"
)

// tool says which build this is, from what the Go toolchain stamped into it.
func tool() reports.Tool {
	t := reports.Tool{Version: "devel", Commit: "unknown", Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return t
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		t.Version = v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			t.Commit = s.Value
		case "vcs.modified":
			if s.Value == "true" {
				t.Commit += "+modified"
			}
		}
	}
	return t
}

// shortCommit keeps as much of a commit as people compare.
func shortCommit(commit string) string {
	const digits = 12
	hash, rest, modified := strings.Cut(commit, "+")
	if modified {
		rest = "+" + rest
	}
	return hash[:min(digits, len(hash))] + rest
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "print version, commit and Go release of this build",
		Example: "  postbench version",
		Args:    noArguments,
		Run: func(command *cobra.Command, _ []string) {
			t := tool()
			fmt.Fprintf(command.OutOrStdout(), "postbench %s (commit %s, %s, %s/%s)\n", t.Version, t.Commit, t.Go, runtime.GOOS, runtime.GOARCH)
		},
	}
}

func schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "schema " + strings.Join(reports.SchemaNames(), "|"),
		Short:     "print the JSON Schema of a document that postbench writes",
		Example:   "  postbench schema result > result.schema.json",
		Args:      exactly(strings.Join(reports.SchemaNames(), "|")),
		ValidArgs: reports.SchemaNames(),
		RunE: func(command *cobra.Command, args []string) error {
			text, err := reports.Schema(args[0])
			if err != nil {
				return err
			}
			_, err = command.OutOrStdout().Write(text)
			return err
		},
	}
}
