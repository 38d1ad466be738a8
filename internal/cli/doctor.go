package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/postbench/postbench/internal/kernelnet"
	"github.com/postbench/postbench/internal/machine"
	"github.com/postbench/postbench/refserver/monolith/php"
	"github.com/postbench/postbench/refserver/parts"
)

// doctorTimeout bounds what doctor asks programs besides parts.Installed.
const doctorTimeout = 10 * time.Second

func doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "say what this machine has of what the variants can use, and what to install",
		Long: `Looks for the real parts of the variants, asks them for their versions and names
the package of each that is missing; says what of the machine limits a
measurement. It changes nothing. A missing part is no failure: where a variant
has a stand-in it runs on that and says so, and --require makes that an error.`,
		Example: "  postbench doctor",
		Args:    noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			c := checkup{
				machine: machine.Read(), memoryDir: memoryDir, space: machine.Space, openFiles: machine.MaxOpenFiles,
				kernelNetwork: probeKernelNetwork, parts: installedParts(command.Context()),
			}
			return c.write(command.OutOrStdout())
		},
	}
}

// checkup is what doctor prints.
type checkup struct {
	machine       machine.Facts
	memoryDir     string
	space         func(path string) (total, free uint64, err error)
	openFiles     func() (uint64, error)
	kernelNetwork func() error // nil: it can be made here
	parts         []parts.Found
}

// roleFramework is the real part that is no program of its own.
const roleFramework = "framework"

// withoutParts says what is done where a part is missing, by its role.
var withoutParts = map[string]string{
	"sql":         "monolith and redis-cache keep their books in SQLite; monolith-php does not start",
	"clicks":      "monolith and redis-cache keep clicks beside their books; monolith-php does not start",
	"cache":       "redis-cache, edge-redis, edge-worker and redis-confirmed take a stand-in",
	"web":         "monolith-php does not start",
	"php":         "monolith-php does not start",
	roleFramework: "monolith-php does not start",
	"worker":      "edge-worker does not start",
	"log":         "only the stock reader of Cap'n Proto logs is missing; postbench logs reads them, too",
}

// installedParts are the programs and, behind PHP, the framework.
func installedParts(ctx context.Context) []parts.Found {
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	var all []parts.Found
	for _, found := range parts.Installed() {
		all = append(all, found)
		if found.Role == "php" {
			version, err := php.Framework(ctx)
			all = append(all, parts.Found{Role: roleFramework, Program: "laravel", Version: version, Missing: err})
		}
	}
	return all
}

func probeKernelNetwork() error {
	link, err := kernelnet.New(kernelnet.Spec{})
	if err != nil {
		return err
	}
	return link.Close()
}

// write never fails but by its writer.
func (c *checkup) write(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "machine\n  cores\t%d\t%s\n", c.machine.CPUs, orUnknown(c.machine.Model))
	fmt.Fprintf(table, "  memory\t%s\n", gibibytes(c.machine.MemBytes))
	fmt.Fprintf(table, "  system\t%s/%s\t%s\n", c.machine.OS, c.machine.Arch, orUnknown(c.machine.Kernel))
	fmt.Fprintf(table, "  shared memory\t%s\n", c.sharedMemory())
	fmt.Fprintf(table, "  open files\t%s\n", c.files())
	fmt.Fprintf(table, "  kernel network\t%s\n", c.network())
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nreal parts")
	table = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	var missing []parts.Found
	for _, found := range c.parts {
		if found.Missing != nil {
			missing = append(missing, found)
			fmt.Fprintf(table, "  %s\tmissing\t%s\n", found.Role, found.Program)
			continue
		}
		fmt.Fprintf(table, "  %s\t%s\t%s\n", found.Role, orUnknown(found.Version), found.Program)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return writeMissing(w, missing)
}

// writeMissing says how to get what is missing, and what happens until then.
func writeMissing(w io.Writer, missing []parts.Found) (err error) {
	if len(missing) == 0 {
		_, err = fmt.Fprintln(w, "\nnothing is missing: every variant runs on real parts (--require all insists on it)")
		return err
	}
	var text strings.Builder
	fmt.Fprintln(&text, "\nmissing")
	for _, found := range missing {
		fmt.Fprintf(&text, "  %s: %s\n", found.Role, strings.ReplaceAll(found.Missing.Error(), "\n", "; "))
		if without := withoutParts[found.Role]; without != "" {
			fmt.Fprintf(&text, "    until then: %s\n", without)
		}
	}
	_, err = io.WriteString(w, text.String())
	return err
}

func (c *checkup) sharedMemory() string {
	total, free, err := c.space(c.memoryDir)
	if err != nil {
		return "no " + c.memoryDir + ": lanes are ordinary files"
	}
	return fmt.Sprintf("%s\t%s, %s free", gibibytes(total), c.memoryDir, gibibytes(free))
}

func (c *checkup) files() string {
	limit, err := c.openFiles()
	switch {
	case err != nil:
		return "unknown"
	case limit == ^uint64(0):
		return "no limit"
	}
	return fmt.Sprint(limit)
}

// network is about what only tests need, to judge the emulated one by.
func (c *checkup) network() string {
	if err := c.kernelNetwork(); err != nil {
		return "no\t" + strings.ReplaceAll(err.Error(), "\n", "; ") + " (only tests of postbench itself need it)"
	}
	return "yes\tnetwork namespaces and TUN devices (only tests of postbench itself need them)"
}

func orUnknown(text string) string {
	if text == "" {
		return "unknown"
	}
	return text
}

func gibibytes(n uint64) string {
	if n == 0 {
		return "unknown"
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}
