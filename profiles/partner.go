package profiles

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/strictyaml"
)

// The templates a partner can send by.
const (
	TemplatePlain  = "plain"
	TemplateSigned = "signed"
)

// Limits of a partner's habits.
const (
	MaxConnections = 8_192 // what the generator opens for one partner at the most
	MaxTimeout     = 10 * time.Minute
	MaxQueue       = 1_000_000
	MaxRetries     = 30
	MaxRetryDelay  = 24 * time.Hour
)

// Defaults of what a partner's document leaves out.
const (
	DefaultTimeout = 10 * time.Second
	DefaultQueue   = 100_000
)

// Partner is the way in which one affiliate network sends.
type Partner struct {
	Name, About string
	// Template is TemplatePlain or TemplateSigned.
	Template string
	// Connections is how many attempts run at once; 0 leaves only the
	// generator's own limit.
	Connections int
	// Timeout is the longest wait for an answer.
	Timeout strictyaml.Duration
	// Queue is how many attempts wait for a connection; the next one is dropped
	// (queue_full).
	Queue int
	// Retries are the delays after the end of attempt 1, 2, …
	Retries []strictyaml.Duration
	// RetryOn lists the failures that are tried again: "timeout"; "5xx", an
	// answer of that class; "refused", any other answer that is no success;
	// "error", a failure below HTTP.
	RetryOn   []string `yaml:"retry_on"`
	KeepAlive bool     `yaml:"keep_alive"`

	source []byte
}

// LoadPartner reads a partner's habits: a preset by name or a file by path.
// Errors are those of strictyaml.Presets and strictyaml.Decode, and an
// *strictyaml.Error for every value out of its range, joined in document order.
func LoadPartner(nameOrPath string) (Partner, error) {
	file, data, err := partnerPresets.Read(nameOrPath)
	if err != nil {
		return Partner{}, err
	}
	return parsePartner(file, data)
}

// PartnerNames lists the embedded partner profiles.
func PartnerNames() []string { return partnerPresets.Names() }

// Source returns the document that the habits were read from.
func (p Partner) Source() string { return string(p.source) }

// Signed reports whether the partner's postbacks carry a signature.
func (p Partner) Signed() bool { return p.Template == TemplateSigned }

func parsePartner(file string, data []byte) (Partner, error) {
	p := Partner{
		Template: TemplatePlain, Timeout: strictyaml.Duration(DefaultTimeout), Queue: DefaultQueue, KeepAlive: true,
		source: data,
	}
	if err := strictyaml.Decode(file, data, &p); err != nil {
		return Partner{}, err
	}
	var problems strictyaml.Problems
	checkTitle(&problems, p.Name, p.About)
	p.check(&problems)
	if err := problems.In(file, data); err != nil {
		return Partner{}, err
	}
	return p, nil
}

func (p Partner) check(problems *strictyaml.Problems) {
	if templates := []string{TemplatePlain, TemplateSigned}; !slices.Contains(templates, p.Template) {
		problems.Add("template", "%s", strictyaml.Unknown("template", p.Template, templates))
	}
	if p.Connections < 0 || p.Connections > MaxConnections {
		problems.Add("connections", "want 0 (unbounded) to %d, got %d", MaxConnections, p.Connections)
	}
	if t := time.Duration(p.Timeout); t <= 0 || t > MaxTimeout {
		problems.Add("timeout", "want more than 0s and at most %s, got %s", strictyaml.Duration(MaxTimeout), p.Timeout)
	}
	if p.Queue < 0 || p.Queue > MaxQueue {
		problems.Add("queue", "want 0 to %d, got %d", MaxQueue, p.Queue)
	}
	p.checkRetries(problems)
}

func (p Partner) checkRetries(problems *strictyaml.Problems) {
	if len(p.Retries) > MaxRetries {
		problems.Add("retries", "%d delays, want at most %d", len(p.Retries), MaxRetries)
	}
	for i, delay := range p.Retries {
		if time.Duration(delay) > MaxRetryDelay {
			problems.Add(fmt.Sprintf("retries[%d]", i), "want at most %s, got %s", strictyaml.Duration(MaxRetryDelay), delay)
		}
	}
	rules := retryRules()
	for i, rule := range p.RetryOn {
		path := fmt.Sprintf("retry_on[%d]", i)
		if !slices.Contains(rules, rule) {
			problems.Add(path, "%s", strictyaml.Unknown("failure", rule, rules))
		}
		if slices.Contains(p.RetryOn[:i], rule) {
			problems.Add(path, "%q is listed twice", rule)
		}
	}
	switch {
	case len(p.Retries) > 0 && len(p.RetryOn) == 0:
		problems.Add("retries", "nothing is ever retried: add retry_on with some of %s", strings.Join(rules, ", "))
	case len(p.Retries) == 0 && len(p.RetryOn) > 0:
		problems.Add("retry_on", "nothing is ever retried: add retries with the delays, such as [1s]")
	}
}

func retryRules() []string {
	return []string{string(intent.RetryTimeout), string(intent.Retry5xx), string(intent.RetryError), string(intent.RetryRefused)}
}
