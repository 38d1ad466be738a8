package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/postbench/postbench/internal/machine"
	"github.com/postbench/postbench/internal/proc"
	"github.com/postbench/postbench/refserver"
)

// serveFlags are the flags of serve.
type serveFlags struct {
	variant, addr, admin, data, lanes string
	signedOnly, asChild               bool
	disturb                           disturbances
	parts                             realParts
	seed                              uint64
	crash                             string
	roleFile                          string
	partners, costs, uplink           string // files
	tlsCert, tlsKey                   string // files
}

// How a server announces its further addresses.
const (
	adminName = "admin"
	tlsName   = "tls"
	grpcName  = "grpc"
)

func serveCommand() *cobra.Command { return serveCommandOf(&serveFlags{}) }

func serveCommandOf(f *serveFlags) *cobra.Command {
	command := &cobra.Command{
		Use:   "serve --variant V",
		Short: "run a reference server for use with other tools",
		Long: `Runs a reference server until it gets SIGINT or SIGTERM; then it answers what
it has accepted, writes it down and ends. It takes postbacks at /pb (unsigned)
and /pb/signed, and below /p/ those of the --partners that write theirs in their
own way ("postbench partners --scenario S" prints such a file); it serves /ledger, /offers/{offer_id}/cap, /clock,
/components and /population/{offers,keys,clicks}.

Variants with edges run one process a role, each started again when it dies.
What an edge has buffered and central has not committed stays in --data, and is
drained at the next start.`,
		Example: `  # a server with its data below ./data
  postbench serve --variant monolith --addr 127.0.0.1:8080 --data ./data

  # from another terminal: tell it the clicks, offers and keys of a scenario, then
  # play it; every further run needs its own --run-number, and with --caps an
  # empty --data, since caps are judged from an empty offer
  postbench run --target http://127.0.0.1:8080 --scenario smoke \
      --populate http://127.0.0.1:8080/population \
      --ledger http://127.0.0.1:8080/ledger --caps http://127.0.0.1:8080

  # partners' own dialects, over TLS too; the address is printed
  postbench serve --variant monolith --data ./data --partners partners.json \
      --tls-cert server.pem --tls-key server.key

  # two edges behind one address, one datagram in a thousand lost
  postbench serve --variant ./two-edges.yaml --data ./data --udp-loss 0.1%`,
		Args: noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			return serve(command.Context(), f, command.OutOrStdout(), command.ErrOrStderr())
		},
	}
	flags := command.Flags()
	flags.StringVar(&f.variant, "variant", "", "architecture: `NAME` of a preset or path of a YAML file (see: list variants)")
	flags.StringVar(&f.addr, "addr", "127.0.0.1:8080", "`HOST:PORT` to listen on; port 0 takes a free one")
	flags.StringVar(&f.admin, "admin", "127.0.0.1:0", "`HOST:PORT` where /ledger and the like answer even while no edge lives, and /stages and /chaos")
	flags.StringVar(&f.data, "data", "", "`DIR` for everything that must survive a restart")
	flags.StringVar(&f.lanes, "lanes", "", "`DIR` of the shared-memory lanes (default: below --data; one in /dev/shm is faster and dies with the machine)")
	flags.BoolVar(&f.signedOnly, "signed-only", false, "refuse unsigned postbacks")
	flags.StringVar(&f.partners, "partners", "", "JSON `FILE` of the partners that write their postbacks in their own way")
	flags.StringVar(&f.tlsCert, "tls-cert", "", "PEM `FILE` of a certificate: also listen with TLS, on a free port")
	flags.StringVar(&f.tlsKey, "tls-key", "", "PEM `FILE` of its key")
	flags.StringVar(&f.costs, "costs", "", "JSON `FILE` of the stages that take time")
	flags.StringVar(&f.uplink, "uplink", "", "JSON `FILE` of the network path between edges and central")
	f.disturb.registerServer(flags)
	f.parts.register(flags)
	flags.Uint64Var(&f.seed, "seed", 1, "seed `N` of everything that is drawn, as of --udp-loss")
	flags.BoolVar(&f.asChild, "as-child", false, "announce the address as JSON and end with the parent process")
	flags.StringVar(&f.crash, "crash", "", "kill a process at a named point: `ROLE/N:POINT#NTH`")
	flags.StringVar(&f.roleFile, "role-file", "", "play the one role that this `FILE` of a supervisor describes")
	for _, hidden := range []string{"as-child", "crash", "role-file", "costs", "uplink"} {
		_ = flags.MarkHidden(hidden)
	}
	return command
}

func serve(ctx context.Context, f *serveFlags, stdout, stderr io.Writer) (err error) {
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if f.asChild || f.roleFile != "" {
		if ctx, err = proc.LifelineContext(ctx); err != nil {
			return err
		}
	}
	if f.roleFile != "" {
		return playRole(ctx, f.roleFile, log, stdout)
	}
	config, err := f.config(log, stderr)
	if err != nil {
		return err
	}
	var announced error
	ready := func(at refserver.Addresses) { announced = f.announce(stdout, &config, at) }
	return cmp.Or(refserver.Serve(ctx, config, ready), announced)
}

// playRole is one process of a server that another one supervises.
func playRole(ctx context.Context, file string, log *slog.Logger, stdout io.Writer) error {
	role, err := refserver.ReadRoleConfig(file)
	if err != nil {
		return err
	}
	var announced error
	err = refserver.RunRole(ctx, role, log, func(addr string) { announced = proc.AnnounceReady(stdout, addr, nil) })
	return cmp.Or(err, announced)
}

func (f *serveFlags) config(log *slog.Logger, stderr io.Writer) (refserver.Config, error) {
	switch {
	case f.variant == "":
		return refserver.Config{}, errors.New("serve needs --variant (see: postbench list variants)")
	case f.data == "":
		return refserver.Config{}, errors.New("serve needs --data DIR: what it acks must survive it")
	}
	composition, err := refserver.LoadVariant(f.variant)
	if err != nil {
		return refserver.Config{}, err
	}
	if composition.External != nil {
		return refserver.Config{}, fmt.Errorf("variant %s is a server of your own, which serve cannot run: start it yourself, or play at it with run or compare", composition.Name)
	}
	f.parts.fromEnv()
	if err := cmp.Or(f.disturb.resolve(), f.disturb.fits(&composition)); err != nil {
		return refserver.Config{}, err
	}
	program, err := os.Executable()
	if err != nil {
		return refserver.Config{}, fmt.Errorf("find this program: %w", err)
	}
	config := refserver.Config{
		Composition: composition, Addr: f.addr, AdminAddr: f.admin, DataDir: f.data, LaneDir: f.lanes, SignedOnly: f.signedOnly,
		BootID: machine.Read().BootID, Log: log, ChildLog: stderr, TimeScale: f.disturb.timeScale, BufferFor: f.disturb.bufferFor,
		UDP: f.disturb.udp, UDPDrop: f.disturb.drop, Seed: f.seed, Crash: f.crash,
		Program:     func(roleFile string) (string, []string) { return program, []string{"serve", "--role-file", roleFile} },
		TLSCertFile: f.tlsCert, TLSKeyFile: f.tlsKey, Real: f.parts.real(), ThrowAway: f.asChild,
		Guard: []string{program, guardVerb}, GuardSweep: sweepDirs(),
	}
	return config, cmp.Or(readExtra("partners", f.partners, &config.Dialects),
		readExtra("costs", f.costs, &config.Costs), readExtra("uplink", f.uplink, &config.Uplink))
}

func (f *serveFlags) announce(stdout io.Writer, config *refserver.Config, at refserver.Addresses) error {
	if f.asChild {
		also := map[string]string{adminName: at.Admin}
		if at.TLS != "" {
			also[tlsName] = at.TLS
		}
		if at.GRPC != "" {
			also[grpcName] = at.GRPC
		}
		return proc.AnnounceReady(stdout, at.Front, also)
	}
	secure := ""
	if at.TLS != "" {
		secure = " and https://" + at.TLS
	}
	if at.GRPC != "" {
		secure += ", takes gRPC streams at " + at.GRPC
	}
	_, err := fmt.Fprintf(stdout, "%s listens on http://%s%s, its books also on http://%s (data in %s); stop it with Ctrl-C\n",
		config.Composition.Name, at.Front, secure, at.Admin, f.data)
	return err
}
