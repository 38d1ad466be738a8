package conform

import (
	"fmt"
	"strings"
	"time"

	"github.com/postbench/postbench/internal/postback"
)

// class is what a status means to the contract.
type class uint8

const (
	accepted        class = iota // 2xx
	refused                      // 4xx
	acceptedOrNot                // 2xx or 4xx: the rows must agree with the answer
	whatever                     // any answer at all: only the rows count
	refusedOrAbsent              // 4xx, or 501 from a server that never heard of it
)

// answer is what must come: of any server, and the status of ours.
type answer struct {
	class  class
	status int
	bodies []string // one of them, of ours; none means any
}

// send is one request, or several of it at once.
type send struct {
	method string // "" is GET
	target string // path and query, as on the request line
	late   bool   // sent once the rows of the others are recorded
	atOnce int    // how many of it; 0 is 1
	want   answer
}

// needs are what a case cannot be judged without.
type needs uint8

const (
	needKey needs = 1 << iota
	needPopulate
	needLedger
	needCaps
	needClock
	needDialects
)

// wantRow is a conversion as the ledger must have it: once, besides rows with
// the verdicts duplicate and conflict.
type wantRow struct {
	clickID, txID, event string // event "": the template does not say it
	verdicts             []string
	payout               *postback.Money // nil: the template does not say it
	currency, offerID    string          // "": not looked at
	late                 bool            // comes of a late send
	window               string          // the offer whose cap window it names; "" is none
	conflict             *postback.Money // our servers keep a conflict row of this payout
	ifAcked              bool            // may be missing if no send was acked
}

// testCase is one line of the report.
type testCase struct {
	name     string
	needs    needs
	oursOnly bool // the contract leaves it open
	sends    []send
	rows     []wantRow
	absent   []string // click ids that no row may name
	caps     []capProbe
	clock    bool
	advice   string
}

// capProbe is what an offer's cap status must be, early (before anything of the
// case is sent) or once the rows of the early sends are there.
type capProbe struct {
	offerID       string
	early         bool
	cap, billable int64
	closed        bool
}

// The offers of a play; each case that fills a cap has one of its own.
const (
	capOfOffers   = 2
	hourS         = 3_600
	yearS         = 31_536_000 // a cap window that hardly ever ends during a play
	freshClick    = time.Minute
	oldClick      = 100 * time.Hour
	offerOpen     = "open"
	offerWindowed = "late"
)

type offer struct {
	id                                  string
	cap, attributionWindowS, capWindowS int64
}

type click struct {
	id, offerID string
	unixS       int64
}

// script is all that is played, and the population that it needs.
type script struct {
	target *Target
	now    time.Time
	main   *way // of what every template can say
	plain  *way // nil: not taken here
	signed *way // nil: no key
	key    Key
	cases  []testCase
	clicks []click
	offers []offer
}

// way is a template as some partner uses it.
type way struct {
	name  string
	needs needs
	// sign finishes a target; nil leaves it as it is.
	sign     func(target string) string
	template postback.Template
	fill     func(f *postback.Fields)
}

// of is the whole target of a conversion.
func (w *way) of(f postback.Fields) string { return w.finish(w.unsigned(f)) }

func (w *way) unsigned(f postback.Fields) string {
	if w.fill != nil {
		w.fill(&f)
	}
	return string(w.template.AppendTarget(nil, &f))
}

func (w *way) finish(target string) string {
	if w.sign == nil {
		return target
	}
	return w.sign(target)
}

// script writes down everything that is to be played at t.
func (t *Target) script(now time.Time) (*script, error) {
	s := &script{target: t, now: now, key: t.Key}
	if s.key.KID == "" && t.Populate != "" {
		s.key = Key{KID: "check-" + t.Tag, Secret: t.NewSecret}
	}
	signed := s.signedWay(s.key)
	if !t.SignedOnly {
		s.plain = &way{name: "plain", template: postback.PlainTemplate()}
		s.plain.at(t.Path)
	}
	if t.SignedOnly || t.Path == "" {
		s.signed = signed
	}
	s.main = s.plain
	if s.main == nil {
		s.main = s.signed
	}
	s.offers = append(s.offers, offer{id: s.id(offerOpen)}, offer{id: s.id(offerWindowed), attributionWindowS: hourS})
	for _, w := range []*way{s.plain, s.signed} {
		if w != nil {
			s.basics(w)
		}
	}
	s.verdicts()
	s.identities()
	s.repeats()
	s.capped()
	s.plainRefusals()
	s.signedRefusals()
	s.methods()
	s.add(testCase{name: "clock: GET /clock tells the time", needs: needClock, clock: true,
		advice: `answer {"unix_ns":…,"boot_id":"…"}`})
	return s, s.dialects()
}

// at moves a template to another path.
func (w *way) at(path string) {
	if path == "" {
		return
	}
	_, query, _ := strings.Cut(w.template.Target.String(), "?")
	text, err := postback.ParseText(path + "?" + query)
	if err != nil {
		panic("BUG: a template's query: " + err.Error())
	}
	w.template.Target = text
}

// signedWay signs with a key, which may be none.
func (s *script) signedWay(key Key) *way {
	w := &way{name: "signed", needs: needKey, template: postback.SignedTemplate()}
	w.at(s.target.Path)
	w.fill = func(f *postback.Fields) {
		f.KID = []byte(key.KID)
		if f.TSUnixS == 0 {
			f.TSUnixS = s.now.Unix()
		}
	}
	if postback.CheckKey(key.KID, key.Secret) != nil {
		return w // its cases are not asked
	}
	signer := postback.NewSigner(key.KID, key.Secret)
	w.sign = func(target string) string {
		path, query, _ := strings.Cut(target, "?")
		return string(signer.AppendSignature([]byte(target+postback.SigPrefix), []byte("GET"), []byte(path), []byte(query)))
	}
	return w
}

func (s *script) add(c testCase) {
	if c.oursOnly && !s.target.Strict {
		return
	}
	s.cases = append(s.cases, c)
}

// id is an id that only this play uses.
func (s *script) id(name string) string { return "check-" + s.target.Tag + "-" + name }

// click makes a click on an offer that the server is told of.
func (s *script) click(offerName string, age time.Duration) string {
	id := s.id(fmt.Sprintf("%03d", len(s.clicks)))
	s.clicks = append(s.clicks, click{id: id, offerID: s.id(offerName), unixS: s.now.Add(-age).Unix()})
	return id
}

// sale is a conversion of an ordinary kind.
func (s *script) sale(clickID string) postback.Fields {
	return postback.Fields{ClickID: []byte(clickID), TxID: []byte("t1"), OfferID: []byte(s.offerOf(clickID)),
		Event: postback.EventSale, Payout: 12_500_000, Currency: postback.Currency{'E', 'U', 'R'}}
}

func (s *script) offerOf(clickID string) string {
	for i := range s.clicks {
		if s.clicks[i].id == clickID {
			return s.clicks[i].offerID
		}
	}
	return s.id(offerOpen)
}

// row is what the ledger must say of f.
func row(f postback.Fields, verdicts ...string) wantRow {
	payout := f.Payout
	return wantRow{clickID: string(f.ClickID), txID: string(f.TxID), event: f.Event.String(), verdicts: verdicts,
		payout: &payout, currency: f.Currency.String(), offerID: string(f.OfferID)}
}

// good is the answer to a postback that counts.
func good() answer { return answer{class: accepted, status: 200} }

func no(status int) answer { return answer{class: refused, status: status} }
