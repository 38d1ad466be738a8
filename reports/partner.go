package reports

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Partner is one simulated partner's share of the figures.
type Partner struct {
	Name    string         `json:"name"`
	Network string         `json:"network"` // name of its network path; empty: nothing was shaped
	Latency PartnerLatency `json:"latency"`
	Phases  Phases         `json:"phases"`
	// Handshakes are its TLS handshakes, Resumed those that resumed a session.
	Handshakes int64         `json:"handshakes"`
	Resumed    int64         `json:"resumed"`
	Ledger     PartnerLedger `json:"ledger"`
	// AttemptsPerIntent[n] are its intents that took n attempts; entry
	// MaxAttemptsCounted takes those with more. Zeros at the end are left out.
	AttemptsPerIntent []int64          `json:"attempts_per_intent"`
	Money             []Money          `json:"money"`       // nil without a ledger
	Drops             map[string]int64 `json:"drops"`       // intents lost at the partner, by reason
	QueueDepth        *int64           `json:"queue_depth"` // deepest its queue became, in postbacks; nil: not measured
	// QueueDepthPerS is the deepest in each second of a round; of several
	// rounds, the deepest of that second in any.
	QueueDepthPerS []int64 `json:"queue_depth_per_s"`
	// LateAcks came over a stream after their message had timed out.
	LateAcks int64 `json:"late_acks"`
	// Deactivated: it stopped sending after failures in a row.
	Deactivated bool `json:"deactivated"`
}

// PartnerLatency is what is kept of the latency of one partner, or of one
// network path.
type PartnerLatency struct {
	Response Latency `json:"response"`
}

// Network is one network path between partners and the server: what was
// measured over it, and what the emulation knows that it did.
type Network struct {
	Name    string         `json:"name"`
	Latency PartnerLatency `json:"latency"`
	Phases  Phases         `json:"phases"`
	// The ground truth: connections dialled, TCP segments of both directions,
	// those lost, what had to be sent again, the retransmission timeouts among
	// them, and DNS look-ups.
	Connections     int64 `json:"connections"`
	Segments        int64 `json:"segments"`
	Lost            int64 `json:"lost"`
	Retransmissions int64 `json:"retransmissions"`
	Timeouts        int64 `json:"timeouts"`
	Lookups         int64 `json:"lookups"`
}

// StageCost is a modelled stage of the server: a queue in front of a number of
// workers with a drawn service time.
type StageCost struct {
	Stage    string `json:"stage"`
	Requests int64  `json:"requests"` // that were served
	Refused  int64  `json:"refused"`  // that met a full queue
	MaxQueue int64  `json:"max_queue"`
	// Means over the served, in microseconds: the wait for a worker, the service.
	WaitMeanUs  float64 `json:"wait_mean_us"`
	ServeMeanUs float64 `json:"serve_mean_us"`
}

// MaxAttemptsCounted is the last entry of Partner.AttemptsPerIntent.
const MaxAttemptsCounted = 8

// mergePartners keeps the order of the runs' partners.
func mergePartners(runs []Variant) ([]Partner, error) {
	return mergeNamed(runs, func(v *Variant) []Partner { return v.Partners },
		func(p *Partner) string { return p.Name }, mergePartner)
}

func mergeNetworks(runs []Variant) ([]Network, error) {
	return mergeNamed(runs, func(v *Variant) []Network { return v.Networks },
		func(n *Network) string { return n.Name }, mergeNetwork)
}

// mergeNamed merges what has the same name in all runs, in the order of first
// appearance.
func mergeNamed[T any](runs []Variant, of func(*Variant) []T, name func(*T) string, merge func([]T) (T, error)) ([]T, error) {
	var order []string
	byName := map[string][]T{}
	for i := range runs {
		for _, item := range of(&runs[i]) {
			key := name(&item)
			if _, seen := byName[key]; !seen {
				order = append(order, key)
			}
			byName[key] = append(byName[key], item)
		}
	}
	merged := make([]T, 0, len(order))
	for _, key := range order {
		item, err := merge(byName[key])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		merged = append(merged, item)
	}
	return merged, nil
}

func mergePartner(list []Partner) (Partner, error) {
	merged := Partner{Name: list[0].Name, Network: list[0].Network, Drops: map[string]int64{}}
	fates, blocks, phases := make([]Fates, len(list)), make([]Latency, len(list)), make([]Phases, len(list))
	var money []Money
	for i, p := range list {
		fates[i], blocks[i], phases[i] = p.Ledger.Fates, p.Latency.Response, p.Phases
		merged.Ledger.Intents += p.Ledger.Intents
		merged.Ledger.Attempts += p.Ledger.Attempts
		merged.Handshakes += p.Handshakes
		merged.Resumed += p.Resumed
		merged.LateAcks += p.LateAcks
		merged.Deactivated = merged.Deactivated || p.Deactivated
		merged.QueueDepth = larger(merged.QueueDepth, p.QueueDepth)
		merged.AttemptsPerIntent = combine(merged.AttemptsPerIntent, p.AttemptsPerIntent, func(a, b int64) int64 { return a + b })
		merged.QueueDepthPerS = combine(merged.QueueDepthPerS, p.QueueDepthPerS, func(a, b int64) int64 { return max(a, b) })
		money = append(money, p.Money...)
		addTo(merged.Drops, p.Drops)
	}
	merged.Ledger.Fates = mergeFates(fates)
	if merged.Ledger.Judged() {
		merged.Money = sumMoney(money)
	}
	var err error
	if merged.Latency.Response, err = MergeLatency(blocks...); err != nil {
		return Partner{}, err
	}
	merged.Phases, err = mergePhases(phases)
	return merged, err
}

func mergeNetwork(list []Network) (Network, error) {
	merged := Network{Name: list[0].Name}
	blocks, phases := make([]Latency, len(list)), make([]Phases, len(list))
	for i, n := range list {
		blocks[i], phases[i] = n.Latency.Response, n.Phases
		merged.Connections += n.Connections
		merged.Segments += n.Segments
		merged.Lost += n.Lost
		merged.Retransmissions += n.Retransmissions
		merged.Timeouts += n.Timeouts
		merged.Lookups += n.Lookups
	}
	var err error
	if merged.Latency.Response, err = MergeLatency(blocks...); err != nil {
		return Network{}, err
	}
	merged.Phases, err = mergePhases(phases)
	return merged, err
}

// combine joins two lists entry by entry; what is missing counts as 0.
func combine(a, b []int64, join func(a, b int64) int64) []int64 {
	sum := slices.Clone(a)
	for i, n := range b {
		if i >= len(sum) {
			sum = append(sum, join(0, n))
			continue
		}
		sum[i] = join(sum[i], n)
	}
	return sum
}

// mergeCosts adds the rounds' counts; the means weigh by requests.
func mergeCosts(runs []Variant) []StageCost {
	var order []string
	byStage := map[string]StageCost{}
	for _, run := range runs {
		for _, c := range run.Costs {
			sum, seen := byStage[c.Stage]
			if !seen {
				order = append(order, c.Stage)
			}
			if n := float64(sum.Requests + c.Requests); n > 0 {
				sum.WaitMeanUs = (sum.WaitMeanUs*float64(sum.Requests) + c.WaitMeanUs*float64(c.Requests)) / n
				sum.ServeMeanUs = (sum.ServeMeanUs*float64(sum.Requests) + c.ServeMeanUs*float64(c.Requests)) / n
			}
			sum.Stage = c.Stage
			sum.Requests += c.Requests
			sum.Refused += c.Refused
			sum.MaxQueue = max(sum.MaxQueue, c.MaxQueue)
			byStage[c.Stage] = sum
		}
	}
	merged := make([]StageCost, 0, len(order))
	for _, stage := range order {
		merged = append(merged, byStage[stage])
	}
	return merged
}

// partnersSection has a row for each partner, and below what is worth a word.
func partnersSection(v *Variant) string {
	if len(v.Partners) == 0 {
		return ""
	}
	rows := [][]string{{"partners", "intents", "attempts", "p50", "p95", "p99", "p99.9", "lost", "queue"}}
	notes := ""
	for i := range v.Partners {
		p := &v.Partners[i]
		response := shown(v, &p.Latency.Response)
		rows = append(rows, []string{
			"  " + cut(p.Name, nameWidth), fmt.Sprint(p.Ledger.Intents), fmt.Sprint(p.Ledger.Attempts),
			latencyText(response.P50Us, response.Empty()), latencyText(response.P95Us, response.Empty()),
			latencyText(response.P99Us, response.Empty()), latencyText(response.P999Us, response.Empty()),
			lossText(p.Ledger.Fates), countText(p.QueueDepth),
		})
		notes += p.notes()
	}
	return grid(rows, 1, 0) + notes
}

// notes tells what went another way than usual.
func (p *Partner) notes() string {
	name, text := cut(p.Name, nameWidth), ""
	line := func(format string, args ...any) { text += wrap(fmt.Sprintf(format, args...), indent, 2*indent) }
	if reasons := countsText(p.Drops); reasons != "" {
		line("lost at %s: %s", name, reasons)
	}
	if p.LateAcks > 0 {
		line("%s: %d acks came after their message had timed out", name, p.LateAcks)
	}
	if p.Deactivated {
		line("%s gave up on the server after failures in a row", name)
	}
	if retried := p.attemptsText(); retried != "" {
		line("attempts of an intent at %s: %s", name, retried)
	}
	if known(p.QueueDepth) > 0 && len(p.QueueDepthPerS) > 1 {
		line("queue of %s, second by second: %s (deepest %d)", name, spark(p.QueueDepthPerS, sparkWidth), *p.QueueDepth)
	}
	return text
}

// attemptsText lists "1 × 980, 2 × 13"; empty when nothing was sent again.
func (p *Partner) attemptsText() string {
	const once = 1
	var parts []string
	again := false
	for attempts, intents := range p.AttemptsPerIntent {
		if intents == 0 {
			continue
		}
		again = again || attempts > once
		more := ""
		if attempts == MaxAttemptsCounted {
			more = " or more"
		}
		parts = append(parts, fmt.Sprintf("%d%s: %d", attempts, more, intents))
	}
	if !again {
		return ""
	}
	return strings.Join(parts, ", ")
}

// sparkWidth is how many columns a spark line takes at most.
const sparkWidth = 60

// spark draws a series of counts in one line, its peak as a full block. More
// points than columns are put together, each column showing its deepest.
func spark(series []int64, columns int) string {
	const levels = "▁▂▃▄▅▆▇█"
	blocks := []rune(levels)
	peak := max(1, slices.Max(series))
	n := min(columns, len(series))
	var b strings.Builder
	for c := range n {
		part := series[c*len(series)/n : (c+1)*len(series)/n]
		level := slices.Max(part) * int64(len(blocks)-1) / peak
		b.WriteRune(blocks[level])
	}
	return b.String()
}

// phasesSection shows where the time of an attempt went, by network path and
// by partner. It is left out where nothing was shaped and no connection is told
// apart.
func phasesSection(v *Variant) string {
	if len(v.Networks) == 0 || !v.Ledger.Balanced {
		return ""
	}
	head := []string{"phases", "", "response", "", "dns", "connect", "", "tls", "", "wait", "", "resumed"}
	rows := [][]string{head, {"", "network", "p50", "p99", "p50", "p50", "p99", "p50", "p99", "p50", "p99", ""}}
	row := func(name, network, resumed string, response *Latency, p *Phases) {
		cells := []string{"  " + cut(name, nameWidth-4), cut(network, nameWidth/2), latencyText(response.P50Us, response.Empty()), latencyText(response.P99Us, response.Empty()),
			latencyText(p.DNS.P50Us, p.DNS.Empty())}
		for _, phase := range []*Latency{&p.Connect, &p.TLS, &p.Wait} {
			cells = append(cells, latencyText(phase.P50Us, phase.Empty()), latencyText(phase.P99Us, phase.Empty()))
		}
		rows = append(rows, append(cells, resumed))
	}
	for i := range v.Networks {
		n := &v.Networks[i]
		row("all over", n.Name, "", &n.Latency.Response, &n.Phases)
	}
	for i := range v.Partners {
		p := &v.Partners[i]
		resumed := ""
		if p.Handshakes > 0 {
			resumed = percent(float64(p.Resumed) / float64(p.Handshakes))
		}
		row(p.Name, orNoData(p.Network), resumed, &p.Latency.Response, &p.Phases)
	}
	return grid(rows, 2, 0)
}

// networksSection is the emulation's ground truth.
func networksSection(v *Variant) string {
	if len(v.Networks) == 0 {
		return ""
	}
	rows := [][]string{{"network truth", "connections", "segments", "lost", "sent again", "timeouts", "dns look-ups"}}
	for i := range v.Networks {
		n := &v.Networks[i]
		rows = append(rows, []string{"  " + cut(n.Name, nameWidth), fmt.Sprint(n.Connections), fmt.Sprint(n.Segments), fmt.Sprint(n.Lost),
			fmt.Sprint(n.Retransmissions), fmt.Sprint(n.Timeouts), fmt.Sprint(n.Lookups)})
	}
	return grid(rows, 1, 0)
}

// costsSection is what the modelled stages of the server did.
func costsSection(v *Variant) string {
	if len(v.Costs) == 0 {
		return ""
	}
	rows := [][]string{{"modelled stages", "requests", "served in (mean)", "waited (mean)", "deepest queue", "refused"}}
	for _, c := range v.Costs {
		rows = append(rows, []string{"  " + cut(c.Stage, nameWidth), fmt.Sprint(c.Requests), duration(c.ServeMeanUs), duration(c.WaitMeanUs),
			fmt.Sprint(c.MaxQueue), fmt.Sprint(c.Refused)})
	}
	return grid(rows, 1, 0)
}

// partnerMoneySection has a row for each partner whose money differs.
func partnerMoneySection(v *Variant) string {
	rows := [][]string{{"money by partner", "", "claimed", "- missing", "+ surplus", "= recorded", "discrepancy"}}
	for i := range v.Partners {
		for _, m := range v.Partners[i].Money {
			if m.MissingCount == 0 && m.SurplusCount == 0 {
				continue
			}
			rows = append(rows, []string{"  " + cut(v.Partners[i].Name, nameWidth), cut(orNoData(m.Currency), 3), micros(m.PartnerMicros, false),
				micros(m.MissingMicros, false), micros(m.SurplusMicros, false), micros(m.RecordedMicros, false),
				signedRate(m.DiscrepancyMicros(), m.PartnerMicros)})
		}
	}
	if len(rows) == 1 {
		return ""
	}
	return grid(rows, 2, 0)
}

// LostMoney is what one mechanism cost of one currency.
type LostMoney struct {
	Currency  string `json:"currency"`
	Mechanism string `json:"mechanism"` // a reason of lost_at_partner, lost_after_ack, double_counted, …
	Surplus   bool   `json:"surplus"`   // recorded beyond the claim; else claimed and missing
	Count     int64  `json:"count"`
	Micros    int64  `json:"micros"`
}

// mergeLostMoney adds what has the same currency, mechanism and direction.
func mergeLostMoney(list []Ledger) []LostMoney {
	sums := map[LostMoney]LostMoney{}
	for _, l := range list {
		for _, m := range l.LostMoney {
			key := LostMoney{Currency: m.Currency, Mechanism: m.Mechanism, Surplus: m.Surplus}
			sum := sums[key]
			key.Count, key.Micros = sum.Count+m.Count, sum.Micros+m.Micros
			sums[LostMoney{Currency: m.Currency, Mechanism: m.Mechanism, Surplus: m.Surplus}] = key
		}
	}
	merged := slices.AppendSeq(make([]LostMoney, 0, len(sums)), maps.Values(sums)) // never nil: nothing lost is known, too
	slices.SortFunc(merged, func(a, b LostMoney) int {
		return cmp.Or(strings.Compare(a.Currency, b.Currency), cmp.Compare(b.Micros, a.Micros), strings.Compare(a.Mechanism, b.Mechanism))
	})
	return merged
}

// usualMechanisms are shown although they cost nothing: that is news, too.
func usualMechanisms() []LostMoney {
	return []LostMoney{{Mechanism: "timed_out"}, {Mechanism: "queue_full"}, {Mechanism: "retries_exhausted"}, {Mechanism: "double_counted", Surplus: true}}
}

// mechanismsSection says what the discrepancy consists of.
func mechanismsSection(l *Ledger) string {
	if len(l.LostMoney) == 0 || l.AmountsOverflowed {
		return ""
	}
	lost := slices.Clone(l.LostMoney)
	for _, usual := range usualMechanisms() {
		same := func(m LostMoney) bool { return m.Mechanism == usual.Mechanism }
		if usual.Currency = l.LostMoney[0].Currency; !slices.ContainsFunc(lost, same) {
			lost = append(lost, usual)
		}
	}
	whole, claimed := map[string]int64{}, map[string]int64{}
	for _, m := range l.LostMoney {
		whole[m.Currency] += m.Micros
	}
	for _, m := range l.Money {
		claimed[m.Currency] = m.PartnerMicros
	}
	rows := [][]string{{"discrepancy by mechanism", "", "postbacks", "amount", "of the claim", "of the discrepancy"}}
	for _, m := range lost {
		sign := "-"
		if m.Surplus {
			sign = "+"
		}
		rows = append(rows, []string{"  " + sign + " " + cut(m.Mechanism, nameWidth), cut(orNoData(m.Currency), 3), fmt.Sprint(m.Count), micros(m.Micros, false),
			rateText(m.Micros, claimed[m.Currency]), rateText(m.Micros, whole[m.Currency])})
	}
	return grid(rows, 2, 0)
}

func rateText(part, whole int64) string {
	if rate := ratioOf(part, whole); rate != nil {
		return percent(*rate)
	}
	return noDataText
}
