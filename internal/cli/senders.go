package cli

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/loadgen"
	"github.com/postbench/postbench/loadgen/transport"
	"github.com/postbench/postbench/profiles"
	"github.com/postbench/postbench/refserver"
)

// userAgent is what postbacks of ours say they come from.
const userAgent = "postbench"

// connection says how partners reach the target.
type connection struct {
	origin   string
	caFile   string
	insecure bool

	// Of a server of ours that also speaks TLS: where, and who signed its
	// certificate.
	tlsOrigin string
	roots     *x509.CertPool
	// grpcOrigin is where a server of ours takes gRPC streams; "" is nowhere.
	// Partners that can stream then do.
	grpcOrigin string
}

// transportOf is how a partner sends to the target: as its habits say, or over
// a stream where the target is made for that.
func (p *plan) transportOf(to *connection, partner int) string {
	habits := &p.scenario.Partners[partner].Habits
	if to.grpcOrigin != "" && p.streams(partner) {
		return profiles.TransportGRPC
	}
	return habits.Transport
}

// streams tells whether a partner's postbacks fit a gRPC message, which has no
// headers.
func (p *plan) streams(partner int) bool { return len(p.templates[partner].Headers) == 0 }

// endpoint is where one partner connects.
type endpoint struct {
	origin, address, host string
	tls                   *tls.Config // nil: plain text
}

// partners returns the senders of a run against an origin, over their network
// paths.
func (p *plan) partners(to *connection, w *ways) ([]loadgen.Partner, error) {
	var list []loadgen.Partner
	for i := range p.scenario.Partners {
		habits := p.habitsAt(to, w, i)
		transportName := p.transportOf(to, i)
		at, err := p.endpoint(to, habits, transportName)
		if err != nil {
			return nil, fmt.Errorf("partner %s: %w", p.scenario.Partners[i].Name, err)
		}
		retry, err := p.retryPolicy(habits)
		if err != nil {
			return nil, err
		}
		newSender, lateAcks, err := p.newSender(i, transportName, at, w)
		if err != nil {
			return nil, fmt.Errorf("partner %s: %w", p.scenario.Partners[i].Name, err)
		}
		list = append(list, loadgen.Partner{
			Name: p.scenario.Partners[i].Name, Template: p.templates[i], Connections: habits.Connections,
			Timeout: time.Duration(habits.Timeout), Queue: habits.Queue, DropOldest: habits.QueueFull == profiles.QueueDropOld,
			Retry: retry, Success: intent.SuccessRule{Bodies: habits.Success.Bodies},
			Breaker:   intent.Breaker{Failures: habits.Deactivate.After, WithinNs: int64(p.scaled(time.Duration(habits.Deactivate.Within)))},
			NewSender: newSender, LateAcks: lateAcks, Path: w.partner[i],
			Origin: at.origin, TLS: at.tls, CloseEach: !habits.KeepAlive,
		})
	}
	return list, nil
}

// habitsAt are a partner's habits towards the target: where the profile says that
// a server of ours keeps no TLS sessions, there are none to resume.
func (p *plan) habitsAt(to *connection, w *ways, partner int) *profiles.Partner {
	habits := p.scenario.Partners[partner].Habits
	if to.tlsOrigin != "" && w.at == atCentral && p.profile.Sessions == profiles.SessionsAtEdge {
		habits.TLS.Resume = false
	}
	return &habits
}

// servable refuses partners whose transport a composition of ours does not
// speak: every attempt would fail.
func (p *plan) servable(c *refserver.Composition) error {
	if c.Front == refserver.FrontPHP && len(p.profile.Stages) > 0 {
		return fmt.Errorf("variant %s is the real stack: its stages cost what they cost, and profile %s adds costs to them; use profile bare, or variant monolith", c.Name, p.profile.Name)
	}
	if c.External != nil {
		return nil // its user knows what it speaks
	}
	for i := range p.scenario.Partners {
		partner := &p.scenario.Partners[i]
		refuse := func(format string, args ...any) error {
			return fmt.Errorf("partner %s (profile %s) sends by %s: %s", partner.Name, partner.Profile, partner.Habits.Transport, fmt.Sprintf(format, args...))
		}
		secure := p.profile.TLS && partner.Habits.TLS.Version != profiles.TLSNone
		switch {
		case partner.Habits.Transport == profiles.TransportGRPC && c.Front != refserver.FrontGRPC:
			return refuse("variant %s does not take it; use one with front %s, such as grpc-stream", c.Name, refserver.FrontGRPC)
		case partner.Habits.Transport == profiles.TransportHTTP2 && !secure:
			return refuse("variants speak it over TLS only; use a profile with tls: true, such as post")
		case partner.Habits.Transport == profiles.TransportHTTP2 && (c.Front == refserver.FrontZerocopy || c.Front == refserver.FrontWorker):
			return refuse("variant %s has the front %s, which does not speak it; use front %s", c.Name, c.Front, refserver.FrontPlain)
		}
	}
	return nil
}

// playableBy refuses what an engine, or a replay, cannot do.
func (p *plan) playableBy(engine string, replayed bool) error {
	for i := range p.scenario.Partners {
		partner := &p.scenario.Partners[i]
		transport := partner.Habits.Transport
		_, shaped := p.networkOf(i, atCentral)
		switch {
		case engine == engineVegeta && transport != "" && transport != profiles.TransportHTTP1:
			return fmt.Errorf("partner %s (profile %s) sends by %s: --engine %s speaks HTTP/1.1 only", partner.Name, partner.Profile, transport, engineVegeta)
		case engine == engineVegeta && shaped:
			return fmt.Errorf("profile %s puts networks between partners and server: --engine %s cannot; use --profile bare", p.profile.Name, engineVegeta)
		case replayed && transport == profiles.TransportGRPC:
			return fmt.Errorf("partner %s (profile %s) sends by %s, whose messages carry no headers: --replay needs http1 or http2", partner.Name, partner.Profile, transport)
		}
	}
	return nil
}

// endpoint is where a partner connects, and with which TLS. A server of ours
// that speaks TLS is reached by it, unless the partner never uses any.
func (p *plan) endpoint(to *connection, habits *profiles.Partner, transportName string) (endpoint, error) {
	origin, secure := to.origin, false
	switch {
	case transportName == profiles.TransportGRPC && to.grpcOrigin != "":
		origin = to.grpcOrigin
	case to.tlsOrigin != "" && habits.TLS.Version != profiles.TLSNone:
		origin = to.tlsOrigin
	}
	at := endpoint{origin: origin}
	var err error
	if at.address, at.host, secure, err = transport.HostPort(origin); err != nil {
		return at, fmt.Errorf("target %q: %w", origin, err)
	}
	if !secure {
		return at, nil
	}
	if at.tls, err = to.tlsConfig(); err != nil {
		return at, err
	}
	at.tls.ServerName = hostOnly(at.host)
	switch habits.TLS.Version {
	case profiles.TLS12:
		at.tls.MaxVersion = tls.VersionTLS12
	case profiles.TLS13:
		at.tls.MinVersion = tls.VersionTLS13
	}
	if habits.TLS.Resume {
		at.tls.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	}
	return at, nil
}

// newSender makes the connections of a partner, by its transport, and tells
// the acks that came too late where it has such a thing.
func (p *plan) newSender(partner int, transportName string, at endpoint, w *ways) (newSender func() loadgen.Sender, lateAcks func() int64, err error) {
	habits := &p.scenario.Partners[partner].Habits
	dial, resolve := w.dial(partner), w.resolve(partner, p.scaled(time.Duration(habits.DNSTTL)))
	shared := transport.SharedConfig{Address: at.address, Host: at.host, TLS: at.tls, UserAgent: userAgent, Dial: dial, Resolve: resolve}
	switch transportName {
	case profiles.TransportHTTP2:
		client := transport.NewHTTP2(shared)
		return func() loadgen.Sender { return client.Sender() }, nil, nil
	case profiles.TransportGRPC:
		if len(p.templates[partner].Headers) > 0 {
			return nil, nil, errors.New("a gRPC message carries no header: leave out --header, or use another partner profile")
		}
		client := transport.NewGRPCStream(shared)
		return func() loadgen.Sender { return client.Sender() }, client.LateAcks, nil
	}
	config := transport.HTTP1Config{Address: at.address, Host: at.host, TLS: at.tls, CloseEach: !habits.KeepAlive, UserAgent: userAgent,
		Dial: dial, Resolve: resolve}
	return func() loadgen.Sender { return transport.NewHTTP1(config) }, nil, nil
}

func (p *plan) retryPolicy(habits *profiles.Partner) (intent.RetryPolicy, error) {
	var policy intent.RetryPolicy
	for _, delay := range habits.RetryDelays() {
		policy.DelaysNs = append(policy.DelaysNs, int64(p.scaled(delay)))
	}
	for _, rule := range habits.RetryOn {
		if err := policy.Set(intent.RetryRule(rule)); err != nil {
			return policy, fmt.Errorf("partner profile %s: %w", habits.Name, err)
		}
	}
	return policy, nil
}

// tlsConfig says which certificates are believed.
func (c *connection) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{InsecureSkipVerify: c.insecure, RootCAs: c.roots}
	if c.caFile == "" {
		return config, nil
	}
	pem, err := os.ReadFile(c.caFile)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--ca: no PEM certificate in %s", c.caFile)
	}
	return config, nil
}
