package profiles

import (
	"errors"
	"slices"
	"strings"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/internal/strictyaml"
)

// MaxWordBytes is the longest word of a partner for an event.
const MaxWordBytes = 32

// Dialect is what a server has to know to read this partner's postbacks: that
// of a partner (its name, the kid) with its secret. ok is false for "plain" and
// "signed", which every server reads.
func (p Partner) Dialect(partner string, secret []byte) (d postback.Dialect, ok bool) {
	if !p.hasOwnTarget() {
		return postback.Dialect{}, false
	}
	return postback.Dialect{
		Partner: partner, Target: p.Template,
		Auth: postback.AuthScheme(p.Auth.Scheme), AuthParam: p.Auth.Param, Digest: p.Auth.Digest, Secret: secret,
		Events: p.Events, OK: p.Answers.OK, Duplicate: p.Answers.Duplicate, Success: p.Success.Bodies,
	}, true
}

func (p Partner) checkRequest(problems *strictyaml.Problems) {
	if !(p.UnexpandedMacros >= 0 && p.UnexpandedMacros <= 1) {
		problems.Add("unexpanded_macros", "want a share of 0 to 1, got %v", p.UnexpandedMacros)
	}
	const ownTarget = "leave this out, or give a target such as /postback?cid={click_id}"
	switch {
	case problems.Unread("template"):
		p.checkEvents(problems)
		p.checkAuth(problems)
	case p.hasOwnTarget() && !strings.HasPrefix(p.Template, "/"):
		problems.Add("template", "%s; or path and query with macros, such as /postback?cid={click_id}",
			strictyaml.Unknown("template", p.Template, []string{TemplatePlain, TemplateSigned}))
	case p.hasOwnTarget():
		p.checkDialect(problems)
	default:
		if p.Auth != (Auth{}) {
			problems.Add("auth", "template %q says itself how it is signed: %s", p.Template, ownTarget)
		}
		if len(p.Events) > 0 {
			problems.Add("events", "template %q has words of its own: %s", p.Template, ownTarget)
		}
	}
}

// checkDialect looks first for what has a line of its own, so that the
// message points there. The rest is said by the dialect itself.
func (p Partner) checkDialect(problems *strictyaml.Problems) {
	before := problems.Len()
	p.checkEvents(problems)
	p.checkAuth(problems)
	sound := problems.Len() == before && !problems.UnreadIn("auth") && !problems.UnreadIn("events")
	if p.UnexpandedMacros > 0 && !hasMacro(p.Template, "payout") {
		problems.Add("unexpanded_macros", "the template has no {payout} that could stay unexpanded: add it, or leave this out")
	}
	d, _ := p.Dialect("it", make([]byte, 32)) // the name has messages of its own
	if !sound {
		d = targetAlone(d)
	}
	var wrong *postback.DialectError
	if errors.As(d.Validate(), &wrong) {
		problems.Add("template", "%v", wrong.Reason)
	}
}

// targetAlone is a dialect whose target can be judged although something else
// of it is wrong.
func targetAlone(d postback.Dialect) postback.Dialect {
	d.Auth, d.AuthParam, d.Digest, d.Events = postback.AuthNone, "", "", nil
	if hasMacro(d.Target, "token") {
		d.Auth = postback.AuthToken
	}
	return d
}

func (p Partner) checkEvents(problems *strictyaml.Problems) {
	if len(p.Events) > 0 && !hasMacro(p.Template, "event") && !problems.Unread("template") {
		problems.Add("events", "the template has no {event} to put these words: add it, or leave them out")
	}
	for event := range p.Events {
		if names := eventNames(); !slices.Contains(names, event) {
			problems.Add("events."+event, "%s", strictyaml.Unknown("event", event, names))
		}
	}
	owner := map[string]string{}
	for _, event := range eventNames() {
		word, listed := p.Events[event]
		if !listed {
			word = event
		}
		path := "events." + event
		switch other, taken := owner[word]; {
		case word == "" || len(word) > MaxWordBytes:
			problems.Add(path, "want a word of 1 to %d bytes, got %q", MaxWordBytes, word)
		case taken && !listed:
			problems.Add("events."+other, "%q is our word for %s, which is not listed: give that another", word, event)
		case taken:
			problems.Add(path, "%q stands for %s already: a server could not tell them apart", word, other)
		}
		owner[word] = event
	}
}

func (p Partner) checkAuth(problems *strictyaml.Problems) {
	a := p.Auth
	schemes := []string{AuthNone, AuthToken, AuthHMACSHA256, AuthHMACSHA1, AuthMD5}
	switch {
	case problems.Unread("auth.scheme"):
		return
	case a.Scheme == "" && a != (Auth{}):
		problems.Add("auth", "want a scheme: %s", strings.Join(schemes, ", "))
		return
	case a.Scheme != "" && !slices.Contains(schemes, a.Scheme):
		problems.Add("auth.scheme", "%s", strictyaml.Unknown("scheme", a.Scheme, schemes))
		return
	case problems.Unread("template"):
	case a.Scheme == AuthToken && !hasMacro(p.Template, "token"):
		problems.Add("auth.scheme", "the template has no {token} where the token stands: add it to the path or the query")
	case a.Scheme != AuthToken && hasMacro(p.Template, "token"):
		problems.Add("template", "{token} is for auth: {scheme: %s}", AuthToken)
	}
	if hashes := a.Scheme == AuthHMACSHA1 || a.Scheme == AuthMD5; hashes != (a.Param != "") && !problems.Unread("auth.param") {
		problems.Add("auth", "%s and %s want param, the parameter of the hash, and the other schemes have none", AuthHMACSHA1, AuthMD5)
	}
	if (a.Scheme == AuthMD5) != (a.Digest != "") && !problems.Unread("auth.digest") {
		problems.Add("auth", "%s wants digest, what is hashed before the secret, such as {click_id}{txid}, and the other schemes have none", AuthMD5)
	}
}

func eventNames() []string {
	var names []string
	for e := postback.EventLead; e.String() != ""; e++ {
		names = append(names, e.String())
	}
	return names
}

func hasMacro(target, macro string) bool { return strings.Contains(target, "{"+macro+"}") }
