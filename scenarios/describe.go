package scenarios

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

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
	fmt.Fprintf(&b, "Sends about %s postbacks in %s: %s. %s\n", count(s.intents()), s.Duration, s.Arrivals, s.describeWarmup())
	b.WriteString("Partners:\n")
	for _, p := range s.Partners {
		fmt.Fprintf(&b, "  %7s  %s: %s\n", percent(p.Share), p.Name, describeHabits(p.Habits))
	}
	s.describeMix(&b)
	b.WriteString("Offers:\n")
	for _, g := range s.Offers {
		fmt.Fprintf(&b, "  %7s  %s\n", percent(g.Share), s.describeOffers(g))
	}
	fmt.Fprintf(&b, "The router looks at the caps every %s.\n", s.RouterPoll)
	return b.String()
}

// String describes the arrivals: "1,000/s at a constant rate".
func (a Arrivals) String() string {
	if a.Process == ProcessPoisson {
		return count(a.RatePerS) + "/s on average, at random (Poisson)"
	}
	return count(a.RatePerS) + "/s at a constant rate"
}

// intents is the expected number of intents of the whole run.
func (s Scenario) intents() float64 {
	return s.Arrivals.RatePerS * time.Duration(s.Duration).Seconds()
}

func (s Scenario) describeWarmup() string {
	if s.Warmup == 0 {
		return "No warm-up."
	}
	return fmt.Sprintf("The first %s is warm-up: audited, not timed.", s.Warmup)
}

func describeHabits(h profiles.Partner) string {
	parts := []string{"unsigned"}
	if h.Signed() {
		parts[0] = "signed"
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
	parts = append(parts, count(float64(h.Queue))+" may wait")
	if len(h.Retries) == 0 {
		return strings.Join(append(parts, "no retries"), ", ")
	}
	delays := make([]string, len(h.Retries))
	for i, delay := range h.Retries {
		delays[i] = delay.String()
	}
	return strings.Join(append(parts, fmt.Sprintf("retries after %s on %s",
		strings.Join(delays, " and "), strings.Join(h.RetryOn, ", "))), ", ")
}

func (s Scenario) describeMix(b *strings.Builder) {
	m := s.Mix
	lines := []struct {
		share float64
		what  string
	}{
		{m.Leads, "leads, which pay nothing"},
		{m.Duplicates, fmt.Sprintf("sent a second time, %s later on average: one row may count", m.DuplicateAfter)},
		{m.UnknownClicks, "clicks that the server was never told of: recorded as unattributed"},
		{m.BadSignatures, "altered after signing: to be rejected"},
		{m.Malformed, "malformed: to be rejected"},
		{m.UnknownPartner, "signed with an unknown key: to be rejected"},
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
	if g.Cap == 0 {
		return text + ", no cap"
	}
	return text + fmt.Sprintf(", cap %s (%s)", count(float64(g.Cap)), s.describeCap(g))
}

// describeCap weighs the expected paying conversions of one offer against its
// cap. Their number is close to Poisson: its standard deviation is its root.
func (s Scenario) describeCap(g OfferGroup) string {
	m := s.Mix
	paying := (1 - m.Leads) * max(0, 1-m.UnknownClicks-m.BadSignatures-m.Malformed-m.UnknownPartner)
	if g.Payout == 0 {
		paying = 0
	}
	expected := s.intents() * g.Share / float64(g.Count) * paying
	verdict := "may be passed"
	switch doubt := capDoubt * math.Sqrt(expected); {
	case expected-doubt > float64(g.Cap):
		verdict = "is passed"
	case expected+doubt < float64(g.Cap):
		verdict = "is not reached"
	}
	return fmt.Sprintf("%s: about %s paying conversions each", verdict, count(expected))
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
