// Postbench load-tests affiliate postbacks and accounts for every one of them.
package main

import (
	"os"

	"github.com/postbench/postbench/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr))
}
