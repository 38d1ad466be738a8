package loadgen

import (
	"bytes"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/loadgen/schedule"
	"github.com/postbench/postbench/loadgen/transport"
)

// Renderer turns intents into requests of one partner. Equal intents and
// times give equal bytes. Not safe for concurrent use: it reuses its buffers.
type Renderer struct {
	template postback.Template
	offers   []intent.Offer
	signer   *postback.Signer
	stranger *postback.Signer
	// ownWords and strangersWords are of a dialect; nil for the other templates.
	ownWords, strangersWords *postback.DialectSigner
	fields                   postback.Fields
	method                   []byte
	offerID                  []byte
	token                    []byte
}

// NewRenderer returns the renderer of partner number partner. A dialect's name
// and secret are the population's.
func NewRenderer(intents *intent.Generator, partner int, template *postback.Template) *Renderer {
	spec := intents.Spec()
	name := spec.Partners[partner].Name
	r := &Renderer{
		template: *template, offers: spec.Offers, method: []byte(template.Method),
		signer: intents.Signer(name), stranger: intents.Signer(intent.StrangerKID),
	}
	if d := template.Dialect; d != nil {
		r.ownWords = mustSigner(d.As(name, intents.Secret(name)))
		r.strangersWords = mustSigner(d.As(intent.StrangerKID, intents.Secret(intent.StrangerKID)))
	}
	return r
}

func mustSigner(d *postback.Dialect) *postback.DialectSigner {
	signer, err := postback.NewDialectSigner(d)
	if err != nil {
		panic("BUG: a template's dialect was not checked: " + err.Error())
	}
	return signer
}

// Render writes the request of an intent into req, reusing its buffers. unixS
// is the time that a signature carries.
func (r *Renderer) Render(it *intent.Intent, unixS int64, req *transport.Request) {
	r.offerID = append(r.offerID[:0], r.offers[it.Offer].ID...)
	signer := r.signer
	if it.Kind == intent.UnknownPartner {
		signer = r.stranger
	}
	r.fields = postback.Fields{ClickID: it.ClickID, TxID: it.TxID, OfferID: r.offerID, Event: it.Event,
		Payout: it.Payout, Currency: it.Currency, KID: signer.KID(), TSUnixS: unixS,
		Unexpanded: it.Kind == intent.UnexpandedMacro}

	req.Method = r.template.Method
	if r.ownWords != nil {
		r.renderDialect(it, req)
	} else {
		r.renderTemplate(it, signer, req)
	}
	req.Header = req.Header[:0]
	for i := range r.template.Headers {
		req.Header = append(req.Header, r.template.Headers[i].Name...)
		req.Header = append(req.Header, ": "...)
		req.Header = r.template.AppendHeader(req.Header, i, &r.fields)
		req.Header = append(req.Header, "\r\n"...)
	}
}

func (r *Renderer) renderTemplate(it *intent.Intent, signer *postback.Signer, req *transport.Request) {
	req.Target = r.template.AppendTarget(req.Target[:0], &r.fields)
	req.Body = r.template.AppendBody(req.Body[:0], &r.fields)
	if it.Kind == intent.Malformed {
		malform(req, it.Malformation, "")
	}
	if r.template.Signed {
		req.Target = r.sign(req.Target, signer)
	}
	if it.Kind == intent.BadSignature {
		forge(req.Target)
	}
}

// renderDialect writes what a partner that authenticates can also get wrong:
// without authentication a bad signature is as good as any.
func (r *Renderer) renderDialect(it *intent.Intent, req *transport.Request) {
	words := r.ownWords
	if it.Kind == intent.UnknownPartner {
		words = r.strangersWords
	}
	words.Fill(&r.fields)
	forged := it.Kind == intent.BadSignature
	if forged && len(r.fields.Token) > 0 {
		r.token = append(r.token[:0], r.fields.Token...)
		forge(r.token)
		r.fields.Token = r.token
	}
	req.Target = words.AppendTarget(req.Target[:0], &r.fields)
	req.Body = req.Body[:0]
	if it.Kind == intent.Malformed {
		malform(req, it.Malformation, words.ClickIDParam())
	}
	req.Target = words.AppendSignature(req.Target, r.method, &r.fields)
	if forged && words.Signs() {
		forge(req.Target)
	}
}

// forge alters the last digit of a signature.
func forge(text []byte) {
	last := len(text) - 1
	text[last] = otherHexDigit(text[last])
}

// sign appends the signature over what is there.
func (r *Renderer) sign(target []byte, signer *postback.Signer) []byte {
	// The cut parts stay what they are while target grows behind them.
	path, query, _ := bytes.Cut(target, []byte("?"))
	return signer.AppendSignature(append(target, postback.SigPrefix...), r.method, path, query)
}

// malform breaks a request where its values are, in a way that every strict
// parser refuses; a lenient one still finds the identity that the audit looks
// for in front of the damage. repeat names the parameter that comes twice: the
// one that a server reads, "" for the first.
func malform(req *transport.Request, how intent.Malformation, repeat string) {
	_, query, _ := bytes.Cut(req.Target, []byte("?"))
	switch {
	case len(query) > 0 && how == intent.RepeatedParameter:
		req.Target = append(append(req.Target, '&'), pairOf(query, repeat)...)
	case len(query) > 0 || len(req.Body) == 0:
		// Not in a parameter of its own: unknown ones may be ignored.
		req.Target = append(req.Target, "%zz"...)
	case bytes.HasSuffix(req.Body, []byte("}")) || bytes.HasSuffix(req.Body, []byte("]")):
		req.Body = req.Body[:len(req.Body)-1] // JSON without its end
	default:
		req.Body = append(req.Body, "%zz"...)
	}
}

// pairOf returns the name=value of a parameter, or the first one for "".
func pairOf(query []byte, name string) []byte {
	for rest := query; ; {
		pair, after, more := bytes.Cut(rest, []byte("&"))
		if raw, _, _ := bytes.Cut(pair, []byte("=")); name == "" || !more || string(raw) == name {
			return pair
		}
		rest = after
	}
}

// otherHexDigit returns a digit that differs from d.
func otherHexDigit(d byte) byte {
	if d == '0' {
		return '1'
	}
	return '0'
}

// copyRecorded makes a recorded request ready to be sent again.
func copyRecorded(from *schedule.Replayed, req *transport.Request) {
	req.Method = from.Method
	req.Target = append(req.Target[:0], from.Target...)
	req.Header = req.Header[:0]
	for _, h := range from.Header {
		req.Header = append(req.Header, h[0]...)
		req.Header = append(req.Header, ": "...)
		req.Header = append(req.Header, h[1]...)
		req.Header = append(req.Header, "\r\n"...)
	}
	req.Body = append(req.Body[:0], from.Body...)
}
