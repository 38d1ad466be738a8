package profiles

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postbench/postbench/internal/strictyaml"
)

// Describe says in words how the partner will send: several lines, each ended
// by a newline. The habits must have been loaded.
func (p Partner) Describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", p.Name, p.About)
	fmt.Fprintf(&b, "Sends      %s\n", p.describeRequest())
	if p.hasOwnTarget() && p.SendsEvents() {
		fmt.Fprintf(&b, "Events     %s\n", p.describeEvents())
	}
	if p.UnexpandedMacros > 0 {
		fmt.Fprintf(&b, "Mistakes   %s of its postbacks carry {payout} as it is written: to be rejected\n", percent(p.UnexpandedMacros))
	}
	fmt.Fprintf(&b, "Success    %s\n", p.describeSuccess())
	fmt.Fprintf(&b, "Connects   %s\n", p.describeConnections())
	fmt.Fprintf(&b, "Waits      %s for an answer\n", p.Timeout)
	fmt.Fprintf(&b, "Queues     %s\n", p.describeQueue())
	fmt.Fprintf(&b, "Retries    %s\n", p.describeRetries())
	if p.Deactivate.After > 0 {
		fmt.Fprintf(&b, "Gives up   the server after %d failed attempts one after the other within %s: what is left is lost\n",
			p.Deactivate.After, p.Deactivate.Within)
	}
	return b.String()
}

func (p Partner) describeRequest() string {
	switch p.Template {
	case TemplateSigned:
		return "template signed: /pb/signed with an HMAC-SHA256 over the query"
	case TemplatePlain, "":
		return "template plain: /pb without authentication"
	}
	text := "GET /p/<partner>" + p.Template + "\n           "
	switch p.Auth.Scheme {
	case AuthToken:
		return text + "with a secret token in it"
	case AuthHMACSHA256:
		return text + "with an HMAC-SHA256 in parameter sig"
	case AuthHMACSHA1:
		return text + "with an HMAC-SHA1 over all of it in parameter " + p.Auth.Param
	case AuthMD5:
		return text + "with an MD5 over " + p.Auth.Digest + " and the secret in parameter " + p.Auth.Param
	}
	return text + "without authentication"
}

func (p Partner) describeEvents() string {
	words := eventNames()
	for i, event := range words {
		if word, listed := p.Events[event]; listed && word != event {
			words[i] = event + " as " + strconv.Quote(word)
		}
	}
	return strings.Join(words, ", ")
}

func (p Partner) describeSuccess() string {
	text := "any 2xx answer"
	if len(p.Success.Bodies) > 0 {
		text = "a 2xx answer that begins with " + quoted(p.Success.Bodies)
	}
	if p.Answers.OK != "" {
		text += fmt.Sprintf("; a server answers %q", p.Answers.OK)
		if p.Answers.Duplicate != "" {
			text += fmt.Sprintf(", to a repeated postback %q", p.Answers.Duplicate)
		}
	}
	return text
}

func quoted(words []string) string {
	list := make([]string, len(words))
	for i, word := range words {
		list[i] = strconv.Quote(word)
	}
	return strings.Join(list, " or ")
}

func (p Partner) describeConnections() string {
	parts := []string{"up to " + strconv.Itoa(p.Connections) + " connections at once"}
	if p.Connections == 0 {
		parts[0] = "any number of connections at once"
	}
	parts = append(parts, map[string]string{TransportHTTP1: "HTTP/1.1", TransportHTTP2: "HTTP/2", TransportGRPC: "a gRPC stream"}[p.Transport])
	if p.KeepAlive {
		parts = append(parts, "kept alive")
	} else {
		parts = append(parts, "a new one for each attempt")
	}
	switch {
	case p.TLS.Version == TLSNone:
		parts = append(parts, "never with TLS")
	case p.TLS.Resume:
		parts = append(parts, "TLS "+p.TLS.Version+" where it is offered, sessions resumed")
	default:
		parts = append(parts, "TLS "+p.TLS.Version+" where it is offered, a full handshake each")
	}
	if p.DNSTTL == 0 {
		return strings.Join(append(parts, "looks the name up every time"), ", ")
	}
	return strings.Join(append(parts, "looks the name up every "+p.DNSTTL.String()), ", ")
}

func (p Partner) describeQueue() string {
	full := "the next one is lost"
	if p.QueueFull == QueueDropOld {
		full = "for the next one the oldest is lost"
	}
	if p.Queue == 0 {
		return "nothing: what finds no connection free is lost"
	}
	return fmt.Sprintf("up to %d attempts that wait for a connection; %s", p.Queue, full)
}

func (p Partner) describeRetries() string {
	delays := p.RetryDelays()
	if len(delays) == 0 {
		return "none"
	}
	total, even := time.Duration(0), true
	words := make([]string, len(delays))
	for i, delay := range delays {
		total += delay
		even = even && delay == delays[0]
		words[i] = strictyaml.Duration(delay).String()
	}
	on := strings.Join(p.RetryOn, ", ")
	if even && len(delays) > 1 {
		return fmt.Sprintf("%d, each %s after the attempt before failed, %s in all; on %s", len(delays), words[0], strictyaml.Duration(total), on)
	}
	if len(delays) == 1 {
		return fmt.Sprintf("1, %s after the first attempt failed; on %s", words[0], on)
	}
	return fmt.Sprintf("%d, after pauses of %s; on %s", len(delays), strings.Join(words, ", "), on)
}

// Describe says in words what the path does: several lines, each ended by a
// newline. The network must have been loaded.
func (n Network) Describe() string {
	return fmt.Sprintf("%s: %s\n%s", n.Name, n.About, n.details("  "))
}

func (n Network) details(indent string) string {
	var b strings.Builder
	line := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "%s%-10s %s\n", indent, what, fmt.Sprintf(format, args...))
	}
	line("round trip", "%s", n.RTT)
	if len(n.Jitter) > 0 {
		line("jitter", "%s, added each way", n.Jitter)
	}
	if len(n.DNS) > 0 {
		line("look-up", "%s", n.DNS)
	}
	switch loss := n.Loss; {
	case loss.GoodToBad > 0:
		line("loss", "%s of all segments, in bursts: %s in a good state, %s in a bad one, which lasts %s segments on average",
			percent(loss.chain().Mean()), percent(loss.Good), percent(loss.Bad), strconv.FormatFloat(1/loss.BadToGood, 'g', 3, 64))
	case loss.Good > 0:
		line("loss", "%s of all segments", percent(loss.Good))
	}
	if n.Bandwidth > 0 {
		line("bandwidth", "%s each way", n.Bandwidth)
	}
	return b.String()
}

// Describe says in words what the profile adds: several lines, each ended by a
// newline. The profile must have been loaded.
func (p Profile) Describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", p.Name, p.About)
	switch {
	case p.Sessions == SessionsAtEdge:
		b.WriteString("Servers offer TLS; only edges keep sessions.\n")
	case p.TLS:
		b.WriteString("Servers offer TLS.\n")
	}
	p.describePaths(&b)
	if len(p.Stages) == 0 {
		b.WriteString("Stages: nothing is added to the server's own work.\n")
		return b.String()
	}
	b.WriteString("Stages, for the variants that have them:\n")
	for _, s := range p.Stages {
		fmt.Fprintf(&b, "  %-10s %s\n", s.Name, s.describe())
	}
	return b.String()
}

func (p Profile) describePaths(b *strings.Builder) {
	if len(p.Paths) == 0 {
		b.WriteString("Paths: nothing is added to this machine's loopback.\n")
	} else {
		b.WriteString("Paths by the partner's region:\n")
	}
	networks := map[string]Network{}
	for _, region := range p.RegionNames() {
		paths := p.Paths[region]
		fmt.Fprintf(b, "  %-10s to central %s, to an edge %s\n", region, paths.CentralNetwork.Name, paths.EdgeNetwork.Name)
		networks[paths.CentralNetwork.Name], networks[paths.EdgeNetwork.Name] = paths.CentralNetwork, paths.EdgeNetwork
	}
	if p.Uplink != "" {
		fmt.Fprintf(b, "Edges reach central by %s.\n", p.UplinkNetwork.Name)
		networks[p.UplinkNetwork.Name] = p.UplinkNetwork
	}
	if p.Proxy != nil {
		fmt.Fprintf(b, "A proxy in the partner's data centre is reached by %s and reaches central by %s.\n",
			p.Proxy.PartnerNetwork.Name, p.Proxy.UplinkNetwork.Name)
		networks[p.Proxy.PartnerNetwork.Name], networks[p.Proxy.UplinkNetwork.Name] = p.Proxy.PartnerNetwork, p.Proxy.UplinkNetwork
	}
	for _, name := range slices.Sorted(maps.Keys(networks)) {
		fmt.Fprintf(b, "Network %s: %s\n%s", name, networks[name].About, networks[name].details("  "))
	}
}

func percent(share float64) string {
	return strconv.FormatFloat(share*100, 'g', 3, 64) + " %"
}
