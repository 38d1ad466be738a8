package conform

import (
	"fmt"
	"strings"

	"github.com/postbench/postbench/internal/postback"
)

// dialects adds what partners with a template of their own send.
func (s *script) dialects() error {
	if len(s.target.Dialects) == 0 {
		s.add(testCase{name: "dialects: partners' own templates", needs: needDialects})
		return nil
	}
	for i := range s.target.Dialects {
		if err := s.dialect(&s.target.Dialects[i]); err != nil {
			return fmt.Errorf("%w: %w", ErrTarget, err)
		}
	}
	f := s.sale(s.click(offerOpen, freshClick))
	stranger := s.target.Dialects[0].As("check-nobody", []byte("a secret that nobody was ever told"))
	w, err := dialectWay(stranger)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrTarget, err)
	}
	s.add(testCase{name: "dialects: an unknown partner is refused", absent: []string{string(f.ClickID)},
		sends: []send{{target: w.of(f), want: no(403)}}})
	return nil
}

// dialectWay writes as a partner does. It is used by one goroutine.
func dialectWay(d *postback.Dialect) (*way, error) {
	template, err := d.Template()
	if err != nil {
		return nil, err
	}
	signer, err := postback.NewDialectSigner(d)
	if err != nil {
		return nil, err
	}
	w := &way{name: "partner " + d.Partner, template: template}
	var last postback.Fields // the digests are over the values
	w.fill = func(f *postback.Fields) {
		signer.Fill(f)
		last = *f
	}
	w.sign = func(target string) string {
		return string(signer.AppendSignature([]byte(target), []byte("GET"), &last))
	}
	return w, nil
}

func (s *script) dialect(d *postback.Dialect) error {
	w, err := dialectWay(d)
	if err != nil {
		return err
	}
	f := s.ofPartner(s.click(offerOpen, freshClick))
	ok := orElse(d.OK, postback.DefaultOK)
	first, again := good(), good()
	first.bodies, again.bodies = []string{ok}, []string{ok, orElse(d.Duplicate, postback.DefaultDuplicate)}
	s.add(testCase{name: w.name + ": a sale counts once, however often it is sent", needs: needPopulate | needLedger,
		sends: []send{{target: w.of(f), want: first}, {target: w.of(f), late: true, want: again}}, rows: []wantRow{w.said(f)},
		advice: "answer in the partner's words: ok and duplicate of its dialect"})
	if d.Auth != "" && d.Auth != postback.AuthNone {
		forger, err := dialectWay(d.As(d.Partner, []byte("another secret, not the partner's")))
		if err != nil {
			return err
		}
		f := s.ofPartner(s.click(offerOpen, freshClick))
		s.add(testCase{name: w.name + ": another secret is refused", sends: []send{{target: forger.of(f), want: no(403)}},
			absent: []string{string(f.ClickID)}})
	}
	if w.template.Has("payout") {
		f := s.ofPartner(s.click(offerOpen, freshClick))
		f.Unexpanded = true
		s.add(testCase{name: w.name + ": a payout that is an unexpanded macro is refused", sends: []send{{target: w.of(f), want: no(400)}},
			absent: []string{string(f.ClickID)}})
	}
	return nil
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// ofPartner is a sale with the time of its signature.
func (s *script) ofPartner(clickID string) postback.Fields {
	f := s.sale(clickID)
	f.TSUnixS = s.now.Unix()
	return f
}

// said is the row of what the template can say of f.
func (w *way) said(f postback.Fields) wantRow {
	r := row(f, billable)
	if !w.template.Has("txid") {
		r.txID = ""
	}
	if !w.template.Has("event") {
		r.event = ""
	}
	if !w.template.Has("currency") {
		r.currency = ""
	}
	if !w.template.Has("payout") { // some servers know it from the offer
		r.payout, r.verdicts = nil, []string{billable, nonBillable}
	}
	return r
}

// redacted hides a partner's token and signature from the report.
func (p *play) redacted(target string) string {
	path, _, _ := strings.Cut(target, "?")
	return string(p.dialects.Find([]byte(path)).AppendRedacted(nil, []byte(target)))
}
