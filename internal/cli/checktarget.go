package cli

import (
	"cmp"
	"crypto/rand"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/postbench/postbench/internal/conform"
	"github.com/postbench/postbench/internal/postback"
)

const (
	// tagBytes make the ids of one check its own, secretBytes its key.
	tagBytes, secretBytes = 5, 32
	// maxKeysBytes bounds what is read of the file of --keys.
	maxKeysBytes = 1 << 20
)

// targetChecks are the flags of check target.
type targetChecks struct {
	url            string
	secure         connection
	target         conform.Target
	keys, partners string // files
}

func checkTargetCommand() *cobra.Command {
	f := &targetChecks{}
	command := &cobra.Command{
		Use:   "target URL",
		Short: "play the target contract, case by case, at a server",
		Long: `Plays the target contract at a server: every template, every verdict, what must
be refused, exact amounts and ids, caps and clock, and prints a line for each
case. It loads offers, clicks and a signing key of its own, whose ids no run
ever makes, and leaves its rows in the ledger: use a server for tests.

What the server does not have is not asked, and listed as such. Other servers
may refuse with any 4xx; with --strict all must be as our own servers have it,
and what has no flag is asked at URL: /ledger, /offers, /clock, /population.

Exit codes: 0 all that was asked is as it should be; 1 a case failed; 2 the
server could not be asked.`,
		Example: `  # answers only: nothing is known of what is recorded
  postbench check target http://127.0.0.1:8080

  # everything
  postbench check target http://127.0.0.1:8080 --ledger http://127.0.0.1:8080/ledger \
      --caps http://127.0.0.1:8080 --populate http://127.0.0.1:8080/population`,
		Args: exactly("URL"),
		RunE: func(command *cobra.Command, args []string) error {
			f.url = args[0]
			if err := f.resolve(); err != nil {
				return err
			}
			return f.check(command)
		},
	}
	flags := command.Flags()
	flags.StringVar(&f.target.Ledger, "ledger", "", "`URL` of the ledger")
	flags.StringVar(&f.target.Caps, "caps", "", "`URL` before /offers/{offer_id}/cap, or one that holds {offer_id}")
	flags.StringVar(&f.target.Clock, "clock", "", "`URL` of the clock (default: /clock at the ledger's server)")
	flags.StringVar(&f.target.Populate, "populate", "", "`URL` that takes /offers, /keys and /clicks as CSV")
	flags.StringVar(&f.keys, "keys", "", "CSV `FILE` (kid,secret_hex) of keys that the server knows; the first is used")
	flags.StringVar(&f.partners, "partners", "", "JSON `FILE` of the partners with a template of their own, as of serve --partners")
	flags.BoolVar(&f.target.SignedOnly, "signed-only", false, "the server refuses unsigned postbacks")
	flags.BoolVar(&f.target.Strict, "strict", false, "want exactly what our own servers do")
	flags.DurationVar(&f.target.Settle, "settle", conform.DefaultSettle, "how long the ledger must stand still before a row counts as missing")
	flags.StringVar(&f.secure.caFile, "ca", "", "PEM `FILE` of the certificate authority of the server")
	flags.BoolVar(&f.secure.insecure, "insecure", false, "do not verify the server's certificate")
	return command
}

// resolve makes the target that the flags describe.
func (f *targetChecks) resolve() error {
	address, err := url.Parse(f.url)
	if err != nil || address.Host == "" || address.Scheme != "http" && address.Scheme != "https" || address.User != nil || address.RawQuery != "" || address.Fragment != "" {
		return fmt.Errorf("%.200q: want http://host:port, or with a path in place of the templates'", f.url)
	}
	if f.target.Settle <= 0 {
		return fmt.Errorf("--settle %v: want more than 0", f.target.Settle)
	}
	t := &f.target
	t.Origin = address.Scheme + "://" + address.Host
	if address.Path != "/" {
		t.Path = address.EscapedPath()
	}
	if t.Strict {
		t.Ledger, t.Caps = cmp.Or(t.Ledger, t.Origin+"/ledger"), cmp.Or(t.Caps, t.Origin)
		t.Clock, t.Populate = cmp.Or(t.Clock, t.Origin+"/clock"), cmp.Or(t.Populate, t.Origin+"/population")
	}
	if t.Clock == "" {
		t.Clock = clockOf(t.Ledger)
	}
	secure, err := f.secure.tlsConfig()
	if err != nil {
		return err
	}
	t.Client = newHTTPClient(secure)
	if f.keys != "" {
		if t.Key, err = firstKey(f.keys); err != nil {
			return err
		}
	}
	t.Tag = hex.EncodeToString(randomBytes(tagBytes))
	t.NewSecret = randomBytes(secretBytes)
	return readExtra("partners", f.partners, &t.Dialects)
}

func randomBytes(n int) []byte {
	bytes := make([]byte, n)
	_, _ = rand.Read(bytes) // never fails
	return bytes
}

// firstKey reads a file as "postbench keys" writes it.
func firstKey(path string) (conform.Key, error) {
	fail := func(err error) (conform.Key, error) { return conform.Key{}, fmt.Errorf("--keys %s: %w", path, err) }
	file, err := os.Open(path)
	if err != nil {
		return conform.Key{}, fmt.Errorf("--keys: %w", err)
	}
	defer file.Close()
	rows := csv.NewReader(io.LimitReader(file, maxKeysBytes))
	rows.FieldsPerRecord = 2
	header, err := rows.Read()
	if err == nil && (header[0] != "kid" || header[1] != "secret_hex") {
		err = errors.New(`the header is not "kid,secret_hex"`)
	}
	if err != nil {
		return fail(err)
	}
	row, err := rows.Read()
	if errors.Is(err, io.EOF) {
		err = errors.New("no key in it")
	}
	if err != nil {
		return fail(err)
	}
	secret, err := hex.DecodeString(row[1])
	if err != nil {
		return fail(errors.New("secret_hex is not hexadecimal")) // the secret itself stays out of reports
	}
	if err := postback.CheckKey(row[0], secret); err != nil {
		return fail(err)
	}
	return conform.Key{KID: row[0], Secret: secret}, nil
}

// check plays and prints.
func (f *targetChecks) check(command *cobra.Command) error {
	started := time.Now()
	var counts [conform.NotAsked + 1]int
	err := conform.Run(command.Context(), f.target, func(r conform.Result) {
		counts[r.Outcome]++
		fmt.Fprintln(command.OutOrStdout(), r)
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(command.OutOrStdout(), "%d ok, %d failed, %d not asked, in %.1f s\n",
		counts[conform.OK], counts[conform.Failed], counts[conform.NotAsked], time.Since(started).Seconds())
	if counts[conform.Failed] > 0 {
		return &exitError{code: exitFailed, err: fmt.Errorf("%s: %d of %d cases failed", f.target.Origin, counts[conform.Failed], counts[conform.OK]+counts[conform.Failed])}
	}
	return nil
}
