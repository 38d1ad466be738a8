package cli

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/spf13/pflag"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/profiles"
)

// ownTemplate holds the flags that describe the user's own server and, with
// --url, the user's own postback.
type ownTemplate struct {
	target  string
	url     string
	method  string
	headers []string
	body    string

	template *postback.Template // from --url
	path     string             // from --target, replaces the template's path
	origin   string
}

func (o *ownTemplate) register(flags *pflag.FlagSet) {
	flags.StringVar(&o.target, "target", "", "`URL` of a server that takes the partners' templates, such as http://127.0.0.1:8080")
	flags.StringVar(&o.url, "url", "", "your own postback as a `TEMPLATE`, such as 'https://me/pb?cid={click_id}&sum={payout}'")
	flags.StringVar(&o.method, "method", "", "request `METHOD` of --url (default GET, POST with --body)")
	flags.StringArrayVar(&o.headers, "header", nil, "header `LINE` of --url, such as 'X-Token: abc'; may hold macros; repeatable")
	flags.StringVar(&o.body, "body", "", "request body `TEXT` of --url; may hold macros")
}

// resolve checks the flags and fills in what they mean.
func (o *ownTemplate) resolve() error {
	switch {
	case o.url != "" && o.target != "":
		return errors.New("--url and --target exclude each other: --url already names the server")
	case o.url == "" && (o.method != "" || len(o.headers) > 0 || o.body != ""):
		return errors.New("--method, --header and --body describe the postback of --url; give it too")
	case o.target != "":
		return o.resolveTarget()
	case o.url != "":
		return o.resolveURL()
	}
	return nil
}

func (o *ownTemplate) resolveTarget() error {
	parsed, err := url.Parse(o.target)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return fmt.Errorf("--target %q: want http://host:port or https://host", o.target)
	}
	if parsed.User != nil || parsed.Fragment != "" {
		return fmt.Errorf("--target %q: a user name and a fragment are never sent; with --url you can send an Authorization --header", o.target)
	}
	if parsed.RawQuery != "" {
		return fmt.Errorf("--target %q has a query; describe your own postback with --url instead", o.target)
	}
	o.origin = parsed.Scheme + "://" + parsed.Host
	if parsed.Path != "/" {
		o.path = parsed.Path
	}
	return nil
}

func (o *ownTemplate) resolveURL() error {
	template, origin, err := postback.TemplateFromURL(o.url)
	if err != nil {
		return fmt.Errorf("--url: %w", err)
	}
	if o.body != "" {
		if template.Body, err = postback.ParseText(o.body); err != nil {
			return fmt.Errorf("--body: %w", err)
		}
		template.Method = "POST"
	}
	if o.method != "" {
		template.Method = strings.ToUpper(o.method)
		if strings.Trim(template.Method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			return fmt.Errorf("--method %q: want letters only, such as POST", o.method)
		}
	}
	for _, text := range o.headers {
		header, err := postback.ParseHeader(text)
		if err != nil {
			return fmt.Errorf("--header: %w", err)
		}
		template.Headers = append(template.Headers, header)
	}
	if !template.Has("click_id") {
		return errors.New("--url: {click_id} is needed somewhere: without it no postback can be told from another")
	}
	o.template, o.origin = &template, origin
	return nil
}

// describesPostback reports whether the user's own template is sent instead of
// the partners'.
func (o *ownTemplate) describesPostback() bool { return o != nil && o.template != nil }

// templateFor returns what a partner of these habits sends; name and secret
// are the partner's own.
func (o *ownTemplate) templateFor(habits *profiles.Partner, name string, secret []byte) (postback.Template, error) {
	if o.describesPostback() {
		if habits.Signed() {
			return *o.template, fmt.Errorf("partner profile %s signs its postbacks; --url sends your own, unsigned: use --partner plain", habits.Name)
		}
		return *o.template, nil
	}
	if dialect, ok := habits.Dialect(name, secret); ok {
		if o != nil && o.path != "" {
			return postback.Template{}, fmt.Errorf("partner profile %s has a path of its own: give --target %s without a path", habits.Name, o.origin)
		}
		return dialect.Template()
	}
	template := postback.PlainTemplate()
	if habits.Signed() {
		template = postback.SignedTemplate()
	}
	if o == nil || o.path == "" {
		return template, nil
	}
	_, query, _ := strings.Cut(template.Target.String(), "?")
	target, err := postback.ParseText(o.path + "?" + query)
	if err != nil {
		return template, fmt.Errorf("--target: %w", err)
	}
	template.Target = target
	return template, nil
}

// hostOnly strips the port of host[:port].
func hostOnly(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return hostport
}
