package refserver

import (
	"net"
	"net/url"
	"strings"

	"github.com/postbench/postbench/internal/strictyaml"
)

// External is a server of the user's own as a variant, by the target contract:
// one that runs already, or a command that is started anew for every round. In
// all texts {addr} stands for a free host:port on the loopback interface, and
// {data} for an empty directory; only a command knows what they are.
type External struct {
	// Command is the program and its arguments, started without a shell; none
	// means that the server at URL runs already.
	Command []string `yaml:"command,omitempty"`
	// URL is where postbacks go: http://host:port, the templates' paths below it.
	URL string `yaml:"url"`
	// Ready answers 200 when the server may be asked; "" means that it is
	// ready when URL's port is open.
	Ready string `yaml:"ready,omitempty"`
	// Ledger, Caps, Clock and Populate are those of the target contract, "" for
	// what the server does not have.
	Ledger   string `yaml:"ledger,omitempty"`
	Caps     string `yaml:"caps,omitempty"`
	Clock    string `yaml:"clock,omitempty"`
	Populate string `yaml:"populate,omitempty"`
}

// maxCommandWords bounds External.Command.
const maxCommandWords = 1_000

// check names what stands against starting the server or asking it.
func (e *External) check(problems *strictyaml.Problems) {
	if len(e.Command) > maxCommandWords {
		problems.Add("external.command", "%d words, expected at most %d", len(e.Command), maxCommandWords)
	}
	for _, link := range []struct {
		key, text string
		required  bool
	}{
		{"url", e.URL, true}, {"ready", e.Ready, false}, {"ledger", e.Ledger, false},
		{"caps", e.Caps, false}, {"clock", e.Clock, false}, {"populate", e.Populate, false},
	} {
		if link.text == "" && !link.required {
			continue
		}
		key := "external." + link.key
		if strings.Contains(link.text, "{addr}") && len(e.Command) == 0 {
			problems.Add(key, "%.100q: {addr} is chosen for a command, and there is none", link.text)
			continue
		}
		address, err := url.Parse(strings.ReplaceAll(link.text, "{addr}", "127.0.0.1:1"))
		if err != nil || address.Scheme != "http" && address.Scheme != "https" || address.Hostname() == "" {
			problems.Add(key, "%.100q, expected http://host:port such as http://{addr}", link.text)
			continue
		}
		if link.key == "url" && (address.Path != "" && address.Path != "/" || address.RawQuery != "" || address.Fragment != "") {
			problems.Add(key, "%.100q, expected no path: the templates of the partners have theirs", link.text)
		}
	}
}

// In returns e with {addr} and {data} filled in.
func (e External) In(addr, data string) External {
	fill := strings.NewReplacer("{addr}", addr, "{data}", data).Replace
	filled := External{URL: fill(e.URL), Ready: fill(e.Ready), Ledger: fill(e.Ledger), Caps: fill(e.Caps), Clock: fill(e.Clock), Populate: fill(e.Populate)}
	for _, word := range e.Command {
		filled.Command = append(filled.Command, fill(word))
	}
	return filled
}

// Address is the host:port behind URL, of an External that is filled in.
func (e *External) Address() string {
	address, err := url.Parse(e.URL)
	if err != nil {
		return ""
	}
	if address.Port() != "" {
		return address.Host
	}
	port := "80"
	if address.Scheme == "https" {
		port = "443"
	}
	return net.JoinHostPort(address.Hostname(), port)
}
