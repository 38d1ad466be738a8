package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/postbench/postbench/internal/machine"
	"github.com/postbench/postbench/internal/proc"
	"github.com/postbench/postbench/refserver"
)

// serveFlags are the flags of serve.
type serveFlags struct {
	variant, addr, data string
	signedOnly, asChild bool
}

func serveCommand() *cobra.Command {
	f := &serveFlags{}
	command := &cobra.Command{
		Use:   "serve --variant V",
		Short: "run a reference server for use with other tools",
		Long: `Runs a reference server until it gets SIGINT or SIGTERM; then it answers what
it has accepted, writes it down and ends. It takes postbacks at /pb (unsigned)
and /pb/signed, and serves /ledger, /offers/{offer_id}/cap, /clock,
/components and /population/{offers,keys,clicks}.`,
		Example: `  # a server with its data below ./data
  postbench serve --variant monolith --addr 127.0.0.1:8080 --data ./data

  # from another terminal: tell it the clicks, offers and keys of a scenario, then
  # play it; every further run needs its own --run-number, and with --caps an
  # empty --data, since caps are judged from an empty offer
  postbench run --target http://127.0.0.1:8080 --scenario smoke \
      --populate http://127.0.0.1:8080/population \
      --ledger http://127.0.0.1:8080/ledger --caps http://127.0.0.1:8080`,
		Args: noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			return serve(command.Context(), f, command.OutOrStdout(), command.ErrOrStderr())
		},
	}
	flags := command.Flags()
	flags.StringVar(&f.variant, "variant", "", "architecture: `NAME` of a preset or path of a YAML file (see: list variants)")
	flags.StringVar(&f.addr, "addr", "127.0.0.1:8080", "`HOST:PORT` to listen on; port 0 takes a free one")
	flags.StringVar(&f.data, "data", "", "`DIR` for everything that must survive a restart")
	flags.BoolVar(&f.signedOnly, "signed-only", false, "refuse unsigned postbacks")
	flags.BoolVar(&f.asChild, "as-child", false, "announce the address as JSON and end with the parent process")
	_ = flags.MarkHidden("as-child")
	return command
}

func serve(ctx context.Context, f *serveFlags, stdout, stderr io.Writer) error {
	switch {
	case f.variant == "":
		return errors.New("serve needs --variant (see: postbench list variants)")
	case f.data == "":
		return errors.New("serve needs --data DIR: what it acks must survive it")
	}
	composition, err := refserver.LoadVariant(f.variant)
	if err != nil {
		return err
	}
	ready := func(addr string) {
		fmt.Fprintf(stdout, "%s listens on http://%s (data in %s); stop it with Ctrl-C\n", composition.Name, addr, f.data)
	}
	if f.asChild {
		if ctx, err = proc.LifelineContext(ctx); err != nil {
			return err
		}
		ready = func(addr string) {
			if err := proc.AnnounceReady(stdout, addr); err != nil {
				fmt.Fprintln(stderr, err)
			}
		}
	}
	return refserver.Serve(ctx, refserver.Config{
		Composition: composition, Addr: f.addr, DataDir: f.data, SignedOnly: f.signedOnly, BootID: machine.Read().BootID,
		Log: slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}, ready)
}
