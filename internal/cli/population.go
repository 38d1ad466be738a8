package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
)

// populationCommands are clicks, offers and keys: what a server must know
// before a scenario is played at it, as CSV for the user's own store.
func populationCommands() []*cobra.Command {
	return []*cobra.Command{
		populationCommand("clicks", "write the clicks that a scenario's postbacks refer to",
			"click_id,offer_id,clicked_unix_s",
			func(g *intent.Generator, n uint64, w io.Writer) error { return g.WriteClicks(w, n) }),
		populationCommand("offers", "write a scenario's offers with their caps",
			"offer_id,cap,payout,currency,attribution_window_s,cap_window_s (0: no cap, no\nwindow, a cap that never resets)",
			func(g *intent.Generator, _ uint64, w io.Writer) error { return g.WriteOffers(w) }),
		populationCommand("keys", "write the signing keys of a scenario's partners",
			"kid,secret_hex",
			func(g *intent.Generator, _ uint64, w io.Writer) error { return g.WriteKeys(w) }),
		partnersCommand(),
	}
}

// partnersCommand prints what serve --partners reads.
func partnersCommand() *cobra.Command {
	t := &traffic{}
	command := &cobra.Command{
		Use:   "partners --scenario S",
		Short: "write how a scenario's partners write their postbacks, for serve --partners",
		Long: `Write how a scenario's partners write their postbacks: path, parameters, words for
events, authentication with its secret, and the answers that they want to read.
It is JSON for "serve --partners"; a server of your own needs the same facts.
Partners with the templates plain and signed are not in it: every server that
keeps the contract reads those. Secrets are made from --seed.`,
		Example: `  postbench partners --scenario mixed > partners.json
  postbench serve --variant monolith --data ./data --partners partners.json`,
		Args: noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			p, err := newPlan(t, nil, time.Now())
			if err != nil {
				return err
			}
			dialects, err := p.dialects()
			if err != nil {
				return err
			}
			for i := range dialects {
				dialects[i].OK, dialects[i].Duplicate = cmp.Or(dialects[i].OK, postback.DefaultOK), cmp.Or(dialects[i].Duplicate, postback.DefaultDuplicate)
			}
			encoder := json.NewEncoder(command.OutOrStdout())
			encoder.SetEscapeHTML(false) // targets hold "&"
			encoder.SetIndent("", "  ")
			return encoder.Encode(dialects)
		},
	}
	t.register(command.Flags(), "")
	return command
}

func populationCommand(name, short, columns string, write func(*intent.Generator, uint64, io.Writer) error) *cobra.Command {
	t := &traffic{}
	command := &cobra.Command{
		Use:   name + " --scenario S",
		Short: short,
		Long: short + `, as CSV with the columns
` + columns + `.
Load it into your own store before "run" with the same --scenario, --seed,
--run-number, --rate and --duration. Clicks belong to one run number each;
their ages count from --epoch.`,
		Example: fmt.Sprintf(`  postbench %s --scenario mixed > %s.csv
  postbench %s --scenario mixed --run-number 1 | curl --data-binary @- http://127.0.0.1:8080/population/%s`, name, name, name, name),
		Args: noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			p, err := newPlan(t, nil, time.Now())
			if err != nil {
				return err
			}
			generator, err := p.generator(0)
			if err != nil {
				return err
			}
			n, err := p.intents(0)
			if err != nil {
				return err
			}
			return write(generator, n, command.OutOrStdout())
		},
	}
	t.register(command.Flags(), "")
	return command
}
