package profiles

import (
	"time"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/internal/strictyaml"
)

// The templates a partner can send by, beside a target of its own.
const (
	TemplatePlain  = "plain"
	TemplateSigned = "signed"
)

// How a postback shows that it is the partner's. AuthToken stands where the
// target has {token}; AuthHMACSHA256 is the scheme of TemplateSigned.
const (
	AuthNone       = string(postback.AuthNone)
	AuthToken      = string(postback.AuthToken)
	AuthHMACSHA256 = string(postback.AuthHMACSHA256)
	AuthHMACSHA1   = string(postback.AuthHMACSHA1)
	AuthMD5        = string(postback.AuthMD5)
)

// Which postback a full queue gives up.
const (
	QueueDropNew = "drop-new" // the one that found it full
	QueueDropOld = "drop-old" // the one that has waited longest
)

// The transports a partner can send by.
const (
	TransportHTTP1 = "http1"
	TransportHTTP2 = "http2"
	TransportGRPC  = "grpc"
)

// The TLS versions a partner can speak.
const (
	TLSNone = "none" // plain text, also to servers that offer TLS
	TLS12   = "1.2"
	TLS13   = "1.3"
)

// Limits of a partner's habits.
const (
	MaxConnections = 8_192 // what the generator opens for one partner at the most
	MaxTimeout     = 10 * time.Minute
	MaxQueue       = 1_000_000
	MaxRetries     = intent.MaxRetries
	MaxRetryDelay  = 24 * time.Hour
	MaxDNSTTL      = 24 * time.Hour
	MaxDeactivate  = 10_000             // consecutive failures
	MaxBreakWindow = 7 * 24 * time.Hour // in which they lie
	MaxBodies      = 8
	MaxBodyBytes   = 64
)

// Defaults of what a partner's document leaves out.
const (
	DefaultTimeout = 10 * time.Second
	DefaultQueue   = 100_000
	DefaultDNSTTL  = time.Minute
)

// Partner is the way in which one affiliate network sends.
type Partner struct {
	Name, About string
	// Template is TemplatePlain, TemplateSigned or the path and query of the
	// partner's own URL with macros, "/postback?cid={click_id}&sum={payout}".
	Template string
	// Auth is for targets of the partner's own; "plain" and "signed" say it
	// themselves.
	Auth Auth
	// Events are the partner's words for ours (lead, sale, rejected, refund,
	// rebill); an event that is not listed goes by our word.
	Events map[string]string
	// UnexpandedMacros is the share of its postbacks in which the payout's macro
	// stands as it was written, "{payout}", 0 to 1.
	UnexpandedMacros float64 `yaml:"unexpanded_macros"`
	// Success says which answers the partner takes for success.
	Success Success
	// Answers are the bodies that a server should give this partner.
	Answers Answers
	// Transport is TransportHTTP1 (or ""), TransportHTTP2 or TransportGRPC.
	Transport string
	TLS       TLS
	// DNSTTL is how long a look-up of the server's name is kept; 0 looks it up
	// every time.
	DNSTTL strictyaml.Duration `yaml:"dns_ttl"`
	// Connections is how many attempts run at once; 0 leaves only the
	// generator's own limit.
	Connections int
	KeepAlive   bool `yaml:"keep_alive"`
	// Timeout is the longest wait for an answer.
	Timeout strictyaml.Duration
	// Queue is how many attempts wait for a connection. One too many is dropped
	// (queue_full), which one says QueueFull: QueueDropNew (or "") or
	// QueueDropOld.
	Queue     int
	QueueFull string `yaml:"queue_full"`
	// Retries are the delays after the end of attempt 1, 2, …
	Retries []strictyaml.Duration
	// RetryEvery and RetryFor stand for Retries of equal length: one every
	// RetryEvery until RetryFor has passed.
	RetryEvery strictyaml.Duration `yaml:"retry_every"`
	RetryFor   strictyaml.Duration `yaml:"retry_for"`
	// RetryOn lists the failures that are tried again: "timeout"; "5xx", an
	// answer of that class; "refused", any other answer that is no success;
	// "error", a failure below HTTP.
	RetryOn []string `yaml:"retry_on"`
	// Deactivate says after how many failures the partner gives the server up.
	Deactivate Deactivate

	source []byte
}

// Auth is how a partner proves that a postback is its own.
type Auth struct {
	// Scheme is AuthNone (or ""), AuthToken, AuthHMACSHA256, AuthHMACSHA1 or
	// AuthMD5.
	Scheme string
	// Param is the parameter that carries the hash, of AuthHMACSHA1 and AuthMD5.
	Param string
	// Digest is what AuthMD5 hashes before the secret: macros and literals.
	Digest string
}

// Success is a partner's rule for answers.
type Success struct {
	// Bodies: the answer is a 2xx whose body begins with one of these; without
	// any, every 2xx is success.
	Bodies []string
}

// Answers are what a server answers to this partner, "" as to everybody: "OK"
// and "DUP".
type Answers struct {
	OK, Duplicate string
}

// TLS is how a partner uses TLS where the server offers it.
type TLS struct {
	Version string // TLSNone, TLS12 or TLS13 (or "")
	Resume  bool   // sessions are kept and resumed
}

// Deactivate is the limit of a partner's patience: After failed attempts one
// after the other, all within Within, it sends nothing more. After 0 is never.
type Deactivate struct {
	After  int
	Within strictyaml.Duration
}

// LoadPartner reads a partner's habits: a preset by name or a file by path.
// Errors are those of strictyaml.Presets and strictyaml.DecodeChecked, and an
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

// Signed reports whether the partner sends by TemplateSigned.
func (p Partner) Signed() bool { return p.Template == TemplateSigned }

// Authenticates reports whether a postback of the partner can be told from a
// stranger's: by a token, a signature or a hash.
func (p Partner) Authenticates() bool {
	return p.Signed() || p.Auth.Scheme != "" && p.Auth.Scheme != AuthNone
}

// SendsEvents reports whether the partner's postbacks say which event they
// report.
func (p Partner) SendsEvents() bool { return !p.hasOwnTarget() || hasMacro(p.Template, "event") }

// RetryDelays returns the delays after the end of attempt 1, 2, …, at most
// MaxRetries.
func (p Partner) RetryDelays() []time.Duration {
	var delays []time.Duration
	for _, delay := range p.Retries {
		delays = append(delays, time.Duration(delay))
	}
	if p.RetryEvery > 0 && len(p.Retries) == 0 {
		for range min(p.evenRetries(), MaxRetries) {
			delays = append(delays, time.Duration(p.RetryEvery))
		}
	}
	return delays
}

// evenRetries is how many retries RetryEvery and RetryFor ask for.
func (p Partner) evenRetries() int64 {
	if p.RetryEvery <= 0 {
		return 0
	}
	return int64(p.RetryFor / p.RetryEvery)
}

func (p Partner) hasOwnTarget() bool {
	return p.Template != "" && p.Template != TemplatePlain && p.Template != TemplateSigned
}

func parsePartner(file string, data []byte) (Partner, error) {
	p := Partner{
		Template: TemplatePlain, Timeout: strictyaml.Duration(DefaultTimeout), Queue: DefaultQueue, KeepAlive: true,
		QueueFull: QueueDropNew, Transport: TransportHTTP1, TLS: TLS{Version: TLS13, Resume: true},
		DNSTTL: strictyaml.Duration(DefaultDNSTTL), source: data,
	}
	err := strictyaml.DecodeChecked(file, data, &p, func(problems *strictyaml.Problems) {
		checkTitle(problems, p.Name, p.About)
		p.check(problems)
	})
	if err != nil {
		return Partner{}, err
	}
	return p, nil
}
