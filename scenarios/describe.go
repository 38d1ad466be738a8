package scenarios

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/profiles"
)

// capDoubt is how many standard deviations the expected conversions must lie
// from a cap before Describe says that it will or will not be passed.
const capDoubt = 3

// Describe says in words what the scenario will do: several lines, each ended
// by a newline. The scenario must be valid.
func (s Scenario) Describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", s.Name, s.About)
	fmt.Fprintf(&b, "Sends about %s postbacks in %s: %s. %s\n", count(s.intents()), s.Duration, s.describeArrivals(), s.describeWarmup())
	b.WriteString(s.drawRates())
	b.WriteString("Partners:\n")
	for _, p := range s.Partners {
		region := ""
		if p.Region != "" {
			region = " in region " + p.Region
		}
		fmt.Fprintf(&b, "  %7s  %s%s: %s\n", percent(p.Share), p.Name, region, describeHabits(p.Habits))
	}
	s.describeMix(&b)
	b.WriteString("Offers:\n")
	for _, g := range s.Offers {
		fmt.Fprintf(&b, "  %7s  %s\n", percent(g.Share), s.describeOffers(g))
	}
	fmt.Fprintf(&b, "The router looks at the caps every %s.\n", s.RouterPoll)
	s.describeCourse(&b)
	if len(s.Expect) > 0 {
		b.WriteString("Must hold at the end:\n")
	}
	for _, text := range s.Expect {
		fmt.Fprintf(&b, "  %s\n", text)
	}
	return b.String()
}

// describeCourse says what happens to time and server meanwhile.
func (s Scenario) describeCourse(b *strings.Builder) {
	if s.TimeScale > 1 {
		fmt.Fprintf(b, "Time runs %s times as fast for retry schedules, DNS lifetimes, attribution windows and cap days; timeouts and latencies are as they are.\n",
			count(s.TimeScale))
	}
	if slow := s.ServerSlow; slow != nil {
		fmt.Fprintf(b, "From %s on, the reference server answers %s later, for %s.\n", slow.At, slow.Add, slow.For)
	}
	if s.Grace > 0 {
		fmt.Fprintf(b, "Partners give up %s after the last postback was due.\n", s.Grace)
	}
}

// intents is the expected number of intents of the whole run.
func (s Scenario) intents() float64 {
	return s.MeanRatePerS() * time.Duration(s.Duration).Seconds()
}

func (s Scenario) describeWarmup() string {
	if s.Warmup == 0 {
		return "No warm-up."
	}
	return fmt.Sprintf("The first %s is warm-up: audited, not timed.", s.Warmup)
}

func describeHabits(h profiles.Partner) string {
	parts := []string{"unsigned"}
	switch {
	case h.Signed():
		parts[0] = "signed"
	case h.Authenticates():
		parts[0] = "authenticated by " + h.Auth.Scheme
	}
	if h.UnexpandedMacros > 0 {
		parts = append(parts, percent(h.UnexpandedMacros)+" with the payout's macro unexpanded")
	}
	parts = append(parts, "timeout "+h.Timeout.String())
	switch h.Connections {
	case 0:
		parts = append(parts, "unbounded connections")
	case 1:
		parts = append(parts, "1 connection")
	default:
		parts = append(parts, count(float64(h.Connections))+" connections")
	}
	if !h.KeepAlive {
		parts = append(parts, "a new one for each request")
	}
	parts = append(parts, count(float64(h.Queue))+" may wait", describeRetries(h))
	if h.Deactivate.After > 0 {
		parts = append(parts, fmt.Sprintf("gives up after %d failures in a row", h.Deactivate.After))
	}
	return strings.Join(parts, ", ")
}

func describeRetries(h profiles.Partner) string {
	on := " on " + strings.Join(h.RetryOn, ", ")
	if h.RetryEvery > 0 {
		return fmt.Sprintf("a retry every %s for %s%s", h.RetryEvery, h.RetryFor, on)
	}
	delays := make([]string, len(h.Retries))
	for i, delay := range h.Retries {
		delays[i] = delay.String()
	}
	switch last := len(delays) - 1; {
	case last < 0:
		return "no retries"
	case last == 0:
		return "a retry after " + delays[0] + on
	default:
		return "retries after " + strings.Join(delays[:last], ", ") + " and " + delays[last] + on
	}
}

type mixLine struct {
	share float64
	what  string
}

func joinEvents(events []postback.Event, separator string) string {
	var words []string
	for _, e := range events {
		words = append(words, e.String())
	}
	return strings.Join(words, separator)
}

func (s Scenario) describeMix(b *strings.Builder) {
	m := s.Mix
	lines := []mixLine{
		{m.Leads, "leads, which pay nothing"},
		{m.Duplicates, fmt.Sprintf("sent a second time, %s later on average: one row may count", m.DuplicateAfter)},
		{m.UnknownClicks, "clicks that the server was never told of: recorded as unattributed"},
		{m.BadSignatures * s.shareOf(profiles.Partner.Authenticates), "altered after signing, of those who sign: to be rejected"},
		{m.Malformed, "malformed: to be rejected"},
		{m.UnknownPartner * s.shareOf(func(p profiles.Partner) bool { return !anonymous(p) }), "sent under the name of an unknown partner: to be rejected"},
		{m.Late, "after the attribution window of their click: recorded as late"},
	}
	for _, c := range m.Chains {
		lines = append(lines, mixLine{c.Share, fmt.Sprintf("begin as %s and become %s, each about %s after the one before",
			c.Events[0], joinEvents(c.Events[1:], ", then "), m.ChainAfter)})
	}
	header := false
	for _, line := range lines {
		if line.share == 0 {
			continue
		}
		if !header {
			b.WriteString("Mix:\n")
			header = true
		}
		fmt.Fprintf(b, "  %7s  %s\n", percent(line.share), line.what)
	}
	if !header {
		b.WriteString("Mix: nothing but legitimate sales, each sent once.\n")
	}
}

func (s Scenario) describeOffers(g OfferGroup) string {
	ids := g.OfferIDs()
	text := ids[0]
	if last := len(ids) - 1; last > 0 {
		text = fmt.Sprintf("%s to %s", ids[0], ids[last])
	}
	text += fmt.Sprintf(": %s %s per sale", g.Payout, g.Currency)
	if g.AttributionWindow > 0 {
		text += fmt.Sprintf(", up to %s after the click", g.AttributionWindow)
	}
	if g.Zipf > 0 {
		text += fmt.Sprintf(", the first ones more often (Zipf %v)", g.Zipf)
	}
	if g.Cap == 0 {
		return text + ", no cap"
	}
	text += ", cap " + count(float64(g.Cap))
	if g.CapEvery > 0 {
		text += " every " + g.CapEvery.String()
	}
	return text + " (" + s.describeCap(g) + ")"
}

// capWindow is how much of the run one cap window takes, and how to speak of
// it. A run no longer than a window may still lie in two of them.
func (s Scenario) capWindow(g OfferGroup) (share float64, words string) {
	window := time.Duration(s.compressedS(g.CapEvery)) * time.Second
	switch duration := time.Duration(s.Duration); {
	case window == 0:
		return 1, "each"
	case window < duration:
		return float64(window) / float64(duration), "each in that time, at the mean rate"
	}
	return 1, "each, unless it resets meanwhile"
}

// describeCap weighs the expected paying conversions of each offer against its
// cap, of a whole window if that is shorter than the run. Their number is close to Poisson: its standard deviation is its root.
func (s Scenario) describeCap(g OfferGroup) string {
	share, each := s.capWindow(g)
	total := s.intents() * g.Share * s.paying(g) * share
	parts := zipf(g.Count, g.Zipf)
	passed, missed := 0, 0
	for _, part := range parts {
		expected := total * part
		switch doubt := capDoubt * math.Sqrt(expected); {
		case expected-doubt > float64(g.Cap):
			passed++
		case expected+doubt < float64(g.Cap):
			missed++
		}
	}
	verdict := "may be passed"
	switch {
	case passed == g.Count:
		verdict = "is passed"
	case missed == g.Count:
		verdict = "is not reached"
	case passed > 0:
		verdict = fmt.Sprintf("is passed by %d", passed)
	}
	most, least := count(total*parts[0]), count(total*parts[g.Count-1])
	if most != least {
		return fmt.Sprintf("%s: about %s to %s paying conversions %s", verdict, most, least, each)
	}
	return fmt.Sprintf("%s: about %s paying conversions %s", verdict, most, each)
}

func percent(share float64) string {
	return strconv.FormatFloat(share*100, 'g', 4, 64) + " %"
}

// count writes a number of things with thousands separators; below 10 with as
// many decimals as it needs, since rates may be small.
func count(n float64) string {
	if n < 10 {
		return strconv.FormatFloat(n, 'g', 3, 64)
	}
	digits := strconv.FormatFloat(math.Round(n), 'f', 0, 64)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
