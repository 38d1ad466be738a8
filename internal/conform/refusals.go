package conform

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postbench/postbench/internal/postback"
)

const (
	// staleAge and aheadBy are beyond any clock's error.
	staleAge = 30 * 24 * time.Hour
	aheadBy  = 24 * time.Hour
)

// refusal is a good postback made bad.
type refusal struct {
	name     string
	target   func(f postback.Fields) string
	status   int // of ours
	oursOnly bool
	advice   string
}

// refusals adds a case for each, all with clicks that the server knows: what it
// takes by mistake counts.
func (s *script) refusals(w *way, list []refusal) {
	for _, r := range list {
		clickID := s.click(offerOpen, freshClick)
		s.add(testCase{name: w.name + ": " + r.name + " is refused", needs: w.needs, oursOnly: r.oursOnly, advice: r.advice,
			sends: []send{{target: r.target(s.sale(clickID)), want: no(r.status)}}, absent: []string{clickID}})
	}
}

// swapped replaces a part of what a way writes, before it is signed.
func swapped(w *way, old, other string) func(f postback.Fields) string {
	return func(f postback.Fields) string {
		target := w.unsigned(f)
		if !strings.Contains(target, old) {
			panic("BUG: " + old + " is not in " + target)
		}
		return w.finish(strings.Replace(target, old, other, 1))
	}
}

// appended adds to what a way writes, before it is signed.
func appended(w *way, more string) func(f postback.Fields) string {
	return func(f postback.Fields) string { return w.finish(w.unsigned(f) + more) }
}

func (s *script) plainRefusals() {
	w := s.plain
	if w == nil {
		if s.target.Path == "" {
			f := s.sale(s.click(offerOpen, freshClick))
			unsigned := way{template: postback.PlainTemplate()}
			s.add(testCase{name: "plain: an unsigned postback is refused", sends: []send{{target: unsigned.of(f), want: no(403)}},
				absent: []string{string(f.ClickID)}, advice: "or leave out --signed-only"})
		}
		return
	}
	s.refusals(w, []refusal{
		{name: "a payout that is an unexpanded macro", target: swapped(w, "payout=12.5", "payout={payout}"), status: 400,
			advice: "it is no amount: the partner must hear of its mistake"},
		{name: "a payout that is no amount", target: swapped(w, "payout=12.5", "payout=1,5"), status: 400, advice: "refuse rather than guess about money"},
		{name: "a payout in words", target: swapped(w, "payout=12.5", "payout=NaN"), status: 400},
		{name: "a negative sale", target: swapped(w, "payout=12.5", "payout=-12.5"), status: 400, oursOnly: true},
		{name: "a payout of seven decimals", target: swapped(w, "payout=12.5", "payout=0.0000001"), status: 400, oursOnly: true},
		{name: "a parameter that comes twice", target: appended(w, "&payout=99"), status: 400, oursOnly: true},
		{name: "a broken %XX", target: appended(w, "&x=%zz"), status: 400, oursOnly: true},
		{name: "an unknown event", target: swapped(w, "event=sale", "event=party"), status: 400, oursOnly: true},
		{name: "a currency in lower case", target: swapped(w, "currency=EUR", "currency=eur"), status: 400, oursOnly: true},
		{name: "a txid with a control character", target: swapped(w, "txid=t1", "txid=t%0A1"), status: 400, oursOnly: true},
		{name: "a txid that is not UTF-8", target: swapped(w, "txid=t1", "txid=t%FF1"), status: 400, oursOnly: true},
	})
	s.add(testCase{name: w.name + ": a postback without a click_id is refused", needs: w.needs, sends: []send{
		{target: strings.Replace(w.of(s.sale("")), "click_id=&", "", 1), want: no(400)},
		{target: w.of(s.sale("")), want: no(400)}}})
	s.tooLong(w)
}

// tooLong is refused, or kept as it is.
func (s *script) tooLong(w *way) {
	long := s.id(strings.Repeat("x", postback.MaxClickIDBytes+1-len(s.id(""))))
	f := s.sale(long)
	r := row(f, unattributed)
	r.ifAcked = true
	limited := answer{class: acceptedOrNot, status: 414}
	s.add(testCase{name: fmt.Sprintf("%s: a click_id of %d bytes is refused, or kept as it is", w.name, len(long)), needs: w.needs | needLedger,
		sends: []send{{target: w.of(f), want: limited}}, rows: []wantRow{r}, advice: "never cut an id off"})
	f = s.sale(s.click(offerOpen, freshClick))
	r = row(f, billable)
	r.ifAcked = true
	s.add(testCase{name: w.name + ": a query of 3000 bytes is refused, or taken as it is", needs: w.needs | needPopulate | needLedger,
		sends: []send{{target: w.of(f) + "&x=" + strings.Repeat("x", 3_000), want: limited}}, rows: []wantRow{r}})
}

func (s *script) signedRefusals() {
	w := s.signed
	if w == nil {
		return
	}
	other := s.signedWay(Key{KID: s.key.KID, Secret: append(slices.Clone(s.key.Secret), "x"...)})
	stranger := s.signedWay(Key{KID: "check-nobody", Secret: []byte("a secret that nobody was ever told")})
	at := func(after time.Duration) func(f postback.Fields) string {
		return func(f postback.Fields) string {
			f.TSUnixS = s.now.Add(after).Unix()
			return w.of(f)
		}
	}
	forged := func(change func(target string) string) func(f postback.Fields) string {
		return func(f postback.Fields) string { return change(w.of(f)) }
	}
	const strict = "read signed queries strictly: what was not signed must not count"
	s.refusals(w, []refusal{
		{name: "a signature with another secret", target: other.of, status: 403},
		{name: "an unknown key id", target: stranger.of, status: 403},
		{name: "a payout changed after signing", status: 403, advice: "verify the raw bytes of the request line",
			target: forged(func(t string) string { return strings.Replace(t, "payout=12.5", "payout=99.5", 1) })},
		{name: "a signature without its last digit", target: forged(func(t string) string { return t[:len(t)-1] }), status: 400},
		{name: "a missing signature", target: w.unsigned, status: 400},
		{name: "a ts of 30 days ago", target: at(-staleAge), status: 403, advice: "refuse a ts that is days old"},
		{name: "a ts of tomorrow", target: at(aheadBy), status: 403, oursOnly: true},
		{name: "a parameter that comes twice", target: appended(w, "&payout=99"), status: 400, advice: strict},
		{name: "a parameter that is not in the list", target: appended(w, "&x=1"), status: 400, advice: strict},
		{name: "a broken %XX", target: swapped(w, "txid=t1", "txid=t%zz"), status: 400, advice: strict},
		{name: "anything after sig", target: forged(func(t string) string { return t + "&x=1" }), status: 400, advice: strict},
		{name: "a signature in upper case", target: upperSig(w), status: 400, oursOnly: true},
		{name: "a + for a blank", target: swapped(w, "txid=t1", "txid=t+1"), status: 400, oursOnly: true},
		{name: "a missing parameter", target: swapped(w, "&currency=EUR", ""), status: 400, oursOnly: true},
	})
}

func upperSig(w *way) func(f postback.Fields) string {
	return func(f postback.Fields) string {
		for { // there is a letter among 64 digits, or else in those of the next txid
			before, sig, _ := strings.Cut(w.of(f), postback.SigPrefix)
			if upper := strings.ToUpper(sig); upper != sig || sig == "" {
				return before + postback.SigPrefix + upper
			}
			f.TxID = append(f.TxID, '1')
		}
	}
}

// methods that record nothing.
func (s *script) methods() {
	w := s.main
	f := s.sale(s.click(offerOpen, freshClick))
	s.add(testCase{name: w.name + ": HEAD records nothing", needs: w.needs | needPopulate | needLedger, absent: []string{string(f.ClickID)},
		sends:  []send{{method: "HEAD", target: w.of(f), want: answer{class: whatever, status: 405}}},
		advice: "a link checker is no conversion"})
	for _, method := range []string{"PUT", "DELETE", "POST"} {
		f := s.sale(s.click(offerOpen, freshClick))
		s.add(testCase{name: w.name + ": " + method + " is refused", needs: w.needs, oursOnly: method == "POST", absent: []string{string(f.ClickID)},
			sends: []send{{method: method, target: w.of(f), want: answer{class: refusedOrAbsent, status: 405}}}})
	}
}
