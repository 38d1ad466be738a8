package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/postbench/postbench/internal/strictyaml"
	"github.com/postbench/postbench/profiles"
	"github.com/postbench/postbench/refserver"
	"github.com/postbench/postbench/scenarios"
)

// finishCompletion gives cobra's own verb what the others have: an example and
// an error for what it does not know.
func finishCompletion(command *cobra.Command) {
	var shells []string
	for _, shell := range command.Commands() {
		shells = append(shells, shell.Name())
	}
	command.Short = "print a script that completes verbs and flags in your shell"
	command.Long = "Prints a script that completes verbs, flags and names of presets in your shell."
	command.Example = "  source <(postbench completion bash)\n  postbench completion fish > ~/.config/fish/completions/postbench.fish"
	command.Args = cobra.ArbitraryArgs
	command.RunE = func(command *cobra.Command, args []string) error {
		if len(args) == 0 {
			return command.Help()
		}
		return errors.New(strictyaml.Unknown("shell", args[0], shells))
	}
}

// finishHelp makes an unknown verb an error here too.
func finishHelp(command *cobra.Command) {
	command.Short = "help about any verb"
	command.Long = "Prints the help of a verb."
	command.Example = "  postbench help run"
	command.Run = nil
	command.RunE = func(command *cobra.Command, args []string) error {
		root := command.Root()
		about, _, err := root.Find(args)
		if err != nil || about == root && len(args) > 0 {
			return unknownVerb(root, args)
		}
		about.InitDefaultHelpFlag()
		return about.Help()
	}
}

// completeNames lets the shell complete the flags that take the name of a
// preset; their files complete as ever.
func completeNames(command *cobra.Command) {
	for flag, names := range map[string]func() []string{
		"variant": refserver.Variants, "base": refserver.Variants, "variants": refserver.Variants,
		"scenario": scenarios.Names, "profile": profiles.Names, "partner": profiles.PartnerNames,
		"engine": func() []string { return []string{engineNative, engineVegeta} },
	} {
		if command.Flags().Lookup(flag) == nil {
			continue
		}
		err := command.RegisterFlagCompletionFunc(flag, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return names(), cobra.ShellCompDirectiveDefault
		})
		if err != nil {
			panic("BUG: flag completion: " + err.Error())
		}
	}
}
