package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/postbench/postbench/internal/strictyaml"
	"github.com/postbench/postbench/profiles"
	"github.com/postbench/postbench/refserver"
	"github.com/postbench/postbench/scenarios"
)

// shelf is one kind of named documents.
type shelf struct {
	kind  string
	names func() []string
	// about returns the one line of list, show the whole of show.
	about func(name string) (string, error)
	show  func(name string) (string, error)
}

func shelves() []shelf {
	return []shelf{
		{"variants", variantNames, aboutVariant, showVariant},
		{"scenarios", scenarios.Names, aboutScenario, showScenario},
		{"profiles", profiles.Names, aboutProfile, showProfile},
		{"partners", profiles.PartnerNames, aboutPartner, showPartner},
		{"networks", profiles.NetworkNames, aboutNetwork, showNetwork},
	}
}

func shelfOf(kind string) (shelf, error) {
	var kinds []string
	for _, s := range shelves() {
		if s.kind == kind || s.kind == kind+"s" {
			return s, nil
		}
		kinds = append(kinds, s.kind)
	}
	return shelf{}, errors.New(strictyaml.Unknown("kind", kind, kinds))
}

func kindNames() []string {
	var kinds []string
	for _, s := range shelves() {
		kinds = append(kinds, s.kind)
	}
	return kinds
}

func listCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "list " + strings.Join(kindNames(), "|"),
		Short:     "list the variants, scenarios, profiles, partners or networks that come with postbench",
		Example:   "  postbench list variants\n  postbench list scenarios",
		Args:      exactly(strings.Join(kindNames(), "|")),
		ValidArgs: kindNames(),
		RunE: func(command *cobra.Command, args []string) error {
			s, err := shelfOf(args[0])
			if err != nil {
				return err
			}
			return list(command.OutOrStdout(), s)
		},
	}
}

func list(w io.Writer, s shelf) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, name := range s.names() {
		about, err := s.about(name)
		if err != nil {
			return err
		}
		fmt.Fprintf(table, "%s\t%s\n", name, about)
	}
	return table.Flush()
}

func showCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "show KIND NAME",
		Short:   "say in words what a variant, scenario, profile, partner or network does",
		Example: "  postbench show scenario mixed\n  postbench show variant monolith\n  postbench show partner ./mine.yaml",
		Args:    exactly("KIND", "NAME"),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			switch len(args) {
			case 0:
				return kindNames(), cobra.ShellCompDirectiveNoFileComp
			case 1:
				if s, err := shelfOf(args[0]); err == nil {
					return s.names(), cobra.ShellCompDirectiveDefault
				}
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(command *cobra.Command, args []string) error {
			s, err := shelfOf(args[0])
			if err != nil {
				return err
			}
			text, err := s.show(args[1])
			if err != nil {
				return err
			}
			fmt.Fprintln(command.OutOrStdout(), strings.TrimRight(text, "\n"))
			return nil
		},
	}
}

// externalName stands for whatever server the user has.
const externalName = "external"

// variantNames are the presets in the order of the post, then the user's own
// and what does not run here.
func variantNames() []string {
	names := append(refserver.Ladder(), externalName)
	for _, missing := range refserver.Unavailable() {
		names = append(names, missing.Name)
	}
	return names
}

// missingVariant is why the variant does not run here; "" if it does.
func missingVariant(name string) string {
	for _, missing := range refserver.Unavailable() {
		if missing.Name == name {
			return "not available here: " + missing.Reason
		}
	}
	return ""
}

const externalHelp = `external: any command or URL of your own, by the target contract

A YAML file such as this is a variant wherever a NAME is asked for:

  name: mine
  summary: our tracker
  external:
    command: ["./tracker", "--listen", "{addr}", "--data", "{data}"]  # started anew for every round
    url: http://{addr}                    # takes the templates of the partners; the only field that must be there
    ready: http://{addr}/healthz          # 200: it may be asked
    ledger: http://{addr}/ledger          # every postback is accounted for
    caps: http://{addr}                   # before /offers/{offer_id}/cap
    clock: http://{addr}/clock
    populate: http://{addr}/population    # takes /offers, /keys and /clicks as CSV

{addr} is a free host:port, {data} an empty directory. Without a command the
server at url runs already, and is asked only what it has a URL for. What it
must answer: postbench check target URL plays the contract's cases at it.`

func aboutVariant(name string) (string, error) {
	if name == externalName {
		return "any command or URL of your own, by the target contract", nil
	}
	if reason := missingVariant(name); reason != "" {
		return reason, nil
	}
	c, err := refserver.LoadVariant(name)
	return c.Summary, err
}

func showVariant(name string) (string, error) {
	if name == externalName {
		return externalHelp, nil
	}
	if reason := missingVariant(name); reason != "" {
		return name + ": " + reason, nil
	}
	c, err := refserver.LoadVariant(name)
	if err != nil {
		return "", err
	}
	if c.External != nil {
		return fmt.Sprintf("%s: %s\n\n  %s\n  %s", c.Name, c.Summary, strings.Join(c.Steps(), "\n"), strings.Join(c.External.Command, " ")), nil
	}
	return fmt.Sprintf("%s: %s\ndurability %s\n\n  %s\n\naxes   %s%s", c.Name, c.Summary, c.Durability(), strings.Join(c.Steps(), "\n  → "),
		c.Choices(), chaosText(&c)), nil
}

// chaosText says what --chaos can do to the variant.
func chaosText(c *refserver.Composition) string {
	roles := c.Roles()
	if len(roles) == 0 {
		return ""
	}
	text := "\nchaos  kill and stop: " + joinRoles(roles)
	for _, role := range roles {
		for _, point := range role.CrashPoints() {
			text += fmt.Sprintf("; crash:%s:%s#NTH", role, point)
		}
	}
	return text
}

func aboutScenario(name string) (string, error) {
	s, err := scenarios.Load(name)
	return s.About, err
}

func showScenario(name string) (string, error) {
	s, err := scenarios.Load(name)
	if err != nil {
		return "", err
	}
	return s.Describe(), nil
}

func aboutProfile(name string) (string, error) {
	p, err := profiles.Load(name)
	return p.About, err
}

func showProfile(name string) (string, error) {
	p, err := profiles.Load(name)
	if err != nil {
		return "", err
	}
	return p.Describe(), nil
}

func aboutPartner(name string) (string, error) {
	p, err := profiles.LoadPartner(name)
	return p.About, err
}

func showPartner(name string) (string, error) {
	p, err := profiles.LoadPartner(name)
	if err != nil {
		return "", err
	}
	return p.Describe(), nil
}

func aboutNetwork(name string) (string, error) {
	n, err := profiles.LoadNetwork(name)
	return n.About, err
}

func showNetwork(name string) (string, error) {
	n, err := profiles.LoadNetwork(name)
	if err != nil {
		return "", err
	}
	return n.Describe(), nil
}

func checkCommand() *cobra.Command {
	command := &cobra.Command{
		Use:     "check FILE…",
		Short:   "check scenario, partner, profile, network and variant files without running anything",
		Example: "  postbench check scenarios/mine.yaml\n  postbench check mine/*.yaml\n  postbench check ./target  # a file of that name",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("check wants at least one FILE; see: postbench check --help")
			}
			return nil
		},
		RunE: func(command *cobra.Command, args []string) error {
			var problems mistakes
			for _, file := range args {
				kind, err := checkFile(file)
				if err != nil {
					problems.add(err)
					continue
				}
				fmt.Fprintf(command.OutOrStdout(), "%s: a correct %s\n", file, kind)
			}
			if len(problems.list) > 0 {
				return problems.list
			}
			return nil
		},
	}
	command.AddCommand(checkTargetCommand())
	return command
}
