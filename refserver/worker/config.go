package worker

import (
	"crypto/tls"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accept"
	"github.com/postbench/postbench/refserver/edge"
	"github.com/postbench/postbench/refserver/parts"
	"github.com/postbench/postbench/refserver/store"
)

// Config is where a Worker listens, what it verifies and to whom it hands over.
// Runtime, Addr, Edge and Token are required.
type Config struct {
	Runtime parts.Runtime
	// Addr is "host:port" with a port that nobody listens on, and no other
	// process has bound. TLSAddr is the same for TLS; "" means nowhere.
	Addr, TLSAddr           string
	TLSCertFile, TLSKeyFile string // PEM; only with TLSAddr
	// Edge is the edge process behind: "host:port", or the path of a unix socket.
	Edge string
	// Token is edge.Config.Verified of that process.
	Token    string
	Dialects []postback.Dialect
	Keys     []store.Key
	// Now is the clock that signatures are compared with; nil means time.Now. What
	// it differs from that at the start, it differs for ever.
	Now func() time.Time
}

// Validate says in one line what is wrong, and changes nothing.
func (c *Config) Validate() error {
	if _, _, err := net.SplitHostPort(c.Addr); err != nil {
		return fmt.Errorf("address: %w", err)
	}
	switch {
	case c.Edge == "":
		return errors.New("no Edge: postbacks need a place")
	case c.Token == "":
		return errors.New("no Token: the edge would not believe the Worker")
	case (c.TLSAddr != "") != (c.TLSCertFile != "" && c.TLSKeyFile != ""):
		return errors.New("TLS needs an address, a certificate and a key")
	}
	for _, field := range []struct{ name, text string }{{"Addr", c.Addr}, {"TLSAddr", c.TLSAddr}, {"Edge", c.Edge}, {"Token", c.Token}} {
		if !isQuotable(field.text) {
			return fmt.Errorf("%s: want printable ASCII without quotes and backslashes", field.name)
		}
	}
	if _, err := postback.NewDialects(c.Dialects); err != nil {
		return err
	}
	return checkKeys(c.Keys)
}

func checkKeys(keys []store.Key) error {
	for _, key := range keys {
		if err := postback.CheckKey(key.KID, key.Secret); err != nil {
			return err
		}
	}
	return nil
}

// isQuotable tells whether a text may stand between quotes as it is.
func isQuotable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' })
}

// Files in Runtime.Dir, beside the modules.
const (
	configFile   = "worker.capnp"
	settingsFile = "worker.json"
	certFile     = "worker.crt"
	keyFile      = "worker.key"
	socketFile   = "worker.sock" // where the Worker takes what is only ours to say
)

// modules are the Worker's, the one with its handlers first.
//
//go:embed worker.js signature.js dialect.js query.js
var modules embed.FS

//go:embed config.capnp.tmpl
var configTemplate string

// settings are what the Worker is told at its start: its binding SETTINGS.
type settings struct {
	Dialects     []postback.Dialect `json:"dialects"`
	Keys         []wireKey          `json:"keys"`
	ClockOffsetS float64            `json:"clock_offset_s"` // of Config.Now to the machine's clock
	MaxPastS     int64              `json:"max_past_s"`
	MaxFutureS   int64              `json:"max_future_s"`
	NoBody       string             `json:"no_body"` // the answer to a postback with a body
}

// wireKey is a partner's key as the Worker reads it.
type wireKey struct {
	KID    string `json:"kid"`
	Secret []byte `json:"secret"`
}

func wireKeys(keys []store.Key) []wireKey {
	list := make([]wireKey, len(keys))
	for i, key := range keys {
		list[i] = wireKey(key)
	}
	return list
}

// write puts all that workerd reads into Runtime.Dir.
func (c *Config) write() error {
	for _, name := range moduleNames() {
		source, err := modules.ReadFile(name)
		if err != nil {
			return err
		}
		if err := c.writeFile(name, source); err != nil {
			return err
		}
	}
	text, err := json.Marshal(c.settings())
	if err != nil {
		return err
	}
	if err := c.writeFile(settingsFile, text); err != nil {
		return err
	}
	if c.TLSAddr != "" {
		if err := c.writeKeyPair(); err != nil {
			return err
		}
	}
	text, err = c.capnp()
	if err != nil {
		return err
	}
	return c.writeFile(configFile, text)
}

func moduleNames() []string { return []string{"worker.js", "signature.js", "dialect.js", "query.js"} }

// writeFile writes what may hold secrets.
func (c *Config) writeFile(name string, text []byte) error {
	return os.WriteFile(filepath.Join(c.Runtime.Dir, name), text, 0o600)
}

func (c *Config) settings() settings {
	var offset time.Duration
	if c.Now != nil {
		offset = time.Until(c.Now())
	}
	return settings{
		Dialects: c.Dialects, Keys: wireKeys(c.Keys), ClockOffsetS: math.Round(offset.Seconds()),
		MaxPastS: accept.MaxPastS, MaxFutureS: accept.MaxFutureS, NoBody: accept.ErrBody.Error(),
	}
}

// writeKeyPair copies certificate and key, after a look whether they fit: what
// workerd says of a key that does not is no line for a user.
func (c *Config) writeKeyPair() error {
	if _, err := tls.LoadX509KeyPair(c.TLSCertFile, c.TLSKeyFile); err != nil {
		return fmt.Errorf("certificate %s, key %s: %w", c.TLSCertFile, c.TLSKeyFile, err)
	}
	for to, from := range map[string]string{certFile: c.TLSCertFile, keyFile: c.TLSKeyFile} {
		text, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := c.writeFile(to, text); err != nil {
			return err
		}
	}
	return nil
}

// capnp is workerd's configuration.
func (c *Config) capnp() ([]byte, error) {
	quote := func(text string) string { return `"` + text + `"` } // Validate has seen that isQuotable
	t, err := template.New(configFile).Funcs(template.FuncMap{"quote": quote}).Parse(configTemplate)
	if err != nil {
		return nil, err
	}
	address := c.Edge
	if filepath.IsAbs(address) {
		address = "unix:" + address
	}
	var text strings.Builder
	err = t.Execute(&text, map[string]any{
		"Modules": moduleNames(), "Settings": settingsFile, "Header": edge.VerifiedHeader, "Token": c.Token, "Edge": address,
		"Addr": c.Addr, "TLSAddr": c.TLSAddr, "TLSKey": keyFile, "TLSCert": certFile, "Control": "unix:" + socketFile,
	})
	return []byte(text.String()), err
}
