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
	fields   postback.Fields
	method   []byte
	offerID  []byte
}

// NewRenderer returns the renderer of partner number partner.
func NewRenderer(intents *intent.Generator, partner int, template *postback.Template) *Renderer {
	spec := intents.Spec()
	name := spec.Partners[partner].Name
	return &Renderer{
		template: *template, offers: spec.Offers, method: []byte(template.Method),
		signer: intents.Signer(name), stranger: intents.Signer(intent.StrangerKID),
	}
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
		Payout: it.Payout, Currency: it.Currency, KID: signer.KID(), TSUnixS: unixS}

	req.Method = r.template.Method
	req.Target = r.template.AppendTarget(req.Target[:0], &r.fields)
	req.Body = r.template.AppendBody(req.Body[:0], &r.fields)
	if it.Kind == intent.Malformed {
		malform(req, it.Malformation)
	}
	if r.template.Signed {
		req.Target = r.sign(req.Target, signer)
	}
	if it.Kind == intent.BadSignature {
		last := len(req.Target) - 1
		req.Target[last] = otherHexDigit(req.Target[last])
	}
	req.Header = req.Header[:0]
	for i := range r.template.Headers {
		req.Header = append(req.Header, r.template.Headers[i].Name...)
		req.Header = append(req.Header, ": "...)
		req.Header = r.template.AppendHeader(req.Header, i, &r.fields)
		req.Header = append(req.Header, "\r\n"...)
	}
}

// sign appends the signature over what is there.
func (r *Renderer) sign(target []byte, signer *postback.Signer) []byte {
	// The cut parts stay what they are while target grows behind them.
	path, query, _ := bytes.Cut(target, []byte("?"))
	return signer.AppendSignature(append(target, postback.SigPrefix...), r.method, path, query)
}

// malform breaks a request where its values are, in a way that every strict
// parser refuses; a lenient one still finds the identity that the audit looks
// for in front of the damage.
func malform(req *transport.Request, how intent.Malformation) {
	_, query, _ := bytes.Cut(req.Target, []byte("?"))
	switch {
	case len(query) > 0 && how == intent.RepeatedParameter:
		first, _, _ := bytes.Cut(query, []byte("&"))
		req.Target = append(append(req.Target, '&'), first...)
	case len(query) > 0 || len(req.Body) == 0:
		// Not in a parameter of its own: unknown ones may be ignored.
		req.Target = append(req.Target, "%zz"...)
	case bytes.HasSuffix(req.Body, []byte("}")) || bytes.HasSuffix(req.Body, []byte("]")):
		req.Body = req.Body[:len(req.Body)-1] // JSON without its end
	default:
		req.Body = append(req.Body, "%zz"...)
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
