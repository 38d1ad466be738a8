package profiles

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/strictyaml"
)

func (p Partner) check(problems *strictyaml.Problems) {
	p.checkRequest(problems)
	p.checkAnswers(problems)
	p.checkConnections(problems)
	if t := time.Duration(p.Timeout); t <= 0 || t > MaxTimeout {
		problems.Add("timeout", "want more than 0s and at most %s, got %s", strictyaml.Duration(MaxTimeout), p.Timeout)
	}
	if p.Queue < 0 || p.Queue > MaxQueue {
		problems.Add("queue", "want 0 to %d, got %d", MaxQueue, p.Queue)
	}
	checkWord(problems, "queue_full", "rule", p.QueueFull, QueueDropNew, QueueDropOld)
	p.checkRetries(problems)
	p.checkDeactivate(problems)
}

// checkWord refuses what is not one of a few words.
func checkWord(problems *strictyaml.Problems, path, what, word string, allowed ...string) {
	if !slices.Contains(allowed, word) {
		problems.Add(path, "%s", strictyaml.Unknown(what, word, allowed))
	}
}

func (p Partner) checkConnections(problems *strictyaml.Problems) {
	if p.Connections < 0 || p.Connections > MaxConnections {
		problems.Add("connections", "want 0 (unbounded) to %d, got %d", MaxConnections, p.Connections)
	}
	checkWord(problems, "transport", "transport", p.Transport, TransportHTTP1, TransportHTTP2, TransportGRPC)
	checkWord(problems, "tls.version", "TLS version", p.TLS.Version, TLSNone, TLS12, TLS13)
	if p.TLS.Version == TLS12 && p.Transport == TransportGRPC {
		problems.Add("tls.version", "gRPC is spoken over TLS %s or without TLS: write %q or %q", TLS13, TLS13, TLSNone)
	}
	if !p.KeepAlive && (p.Transport == TransportHTTP2 || p.Transport == TransportGRPC) {
		problems.Add("keep_alive", "%s shares connections between postbacks: leave this out, or use transport %s", p.Transport, TransportHTTP1)
	}
	if time.Duration(p.DNSTTL) > MaxDNSTTL {
		problems.Add("dns_ttl", "want at most %s, got %s", strictyaml.Duration(MaxDNSTTL), p.DNSTTL)
	}
}

// checkAnswers refuses a rule by which the server's own "fine" is a failure.
func (p Partner) checkAnswers(problems *strictyaml.Problems) {
	if len(p.Success.Bodies) > MaxBodies {
		problems.Add("success.bodies", "%d bodies, want at most %d", len(p.Success.Bodies), MaxBodies)
	}
	for i, body := range p.Success.Bodies {
		checkBody(problems, fmt.Sprintf("success.bodies[%d]", i), body)
	}
	if p.Answers.OK != "" {
		checkBody(problems, "answers.ok", p.Answers.OK)
	}
	if p.Answers.Duplicate != "" {
		checkBody(problems, "answers.duplicate", p.Answers.Duplicate)
	}
	if !p.hasOwnTarget() && p.Answers != (Answers{}) && !problems.Unread("template") {
		problems.Add("answers", "the server answers to template %q as to everybody: leave this out, or give a target such as /postback?cid={click_id}", p.Template)
	}
	ok := p.Answers.OK
	if ok == "" {
		ok = "OK"
	}
	fits := func(body string) bool { return strings.HasPrefix(ok, body) }
	known := !problems.UnreadIn("success.bodies") && !problems.Unread("answers.ok")
	if known && len(p.Success.Bodies) > 0 && !slices.ContainsFunc(p.Success.Bodies, fits) {
		problems.Add("success.bodies", "the server answers %q, which begins with none of these: add it, or set answers.ok", ok)
	}
}

func checkBody(problems *strictyaml.Problems, path, body string) {
	if body == "" || len(body) > MaxBodyBytes || strings.Contains(body, "\n") {
		problems.Add(path, "want one line of 1 to %d bytes, got %q", MaxBodyBytes, body)
	}
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
	p.checkEvenRetries(problems)
	rules := retryRules()
	for i, rule := range p.RetryOn {
		path := fmt.Sprintf("retry_on[%d]", i)
		checkWord(problems, path, "failure", rule, rules...)
		if slices.Contains(p.RetryOn[:i], rule) {
			problems.Add(path, "%q is listed twice", rule)
		}
	}
	retries, key := len(p.Retries) > 0, "retries"
	if p.RetryEvery > 0 {
		retries, key = true, "retry_every"
	}
	switch {
	case problems.Unread("retries", "retry_every", "retry_on"): // who knows
	case retries && len(p.RetryOn) == 0:
		problems.Add(key, "nothing is ever retried: add retry_on with some of %s", strings.Join(rules, ", "))
	case !retries && len(p.RetryOn) > 0:
		problems.Add("retry_on", "nothing is ever retried: add retries with the delays, such as [1s]")
	}
}

// checkEvenRetries refuses more retries than there can be instead of cutting
// them: what a profile says is what its partner does.
func (p Partner) checkEvenRetries(problems *strictyaml.Problems) {
	every := time.Duration(p.RetryEvery)
	switch n := p.evenRetries(); {
	case p.RetryEvery == 0 && p.RetryFor == 0 || problems.Unread("retry_every"):
	case p.RetryEvery == 0:
		problems.Add("retry_for", "nothing says how often: add retry_every, such as 3m")
	case len(p.Retries) > 0:
		problems.Add("retry_every", "retries lists the delays already: keep one of the two")
	case every > MaxRetryDelay:
		problems.Add("retry_every", "want at most %s, got %s", strictyaml.Duration(MaxRetryDelay), p.RetryEvery)
	case n == 0:
		problems.Add("retry_for", "want at least retry_every of %s, got %s", p.RetryEvery, p.RetryFor)
	case n > MaxRetries:
		problems.Add("retry_for", "%d retries every %s, and an intent has at most %d: want at most %s",
			n, p.RetryEvery, MaxRetries, MaxRetries*p.RetryEvery)
	}
}

func (p Partner) checkDeactivate(problems *strictyaml.Problems) {
	d := p.Deactivate
	if d.After < 0 || d.After > MaxDeactivate {
		problems.Add("deactivate.after", "want 0 (never) to %d failures, got %d", MaxDeactivate, d.After)
	}
	switch {
	case time.Duration(d.Within) > MaxBreakWindow:
		problems.Add("deactivate.within", "want at most %s, got %s", strictyaml.Duration(MaxBreakWindow), d.Within)
	case problems.UnreadIn("deactivate"): // one of the two is there, or both
	case d.After > 0 && d.Within == 0:
		problems.Add("deactivate", "want within, the time in which the %d failures lie, such as 72h", d.After)
	case d.After == 0 && d.Within > 0:
		problems.Add("deactivate", "want after, how many failures one after the other, such as 10")
	}
}

func retryRules() []string {
	return []string{string(intent.RetryTimeout), string(intent.Retry5xx), string(intent.RetryError), string(intent.RetryRefused)}
}
