package cli

import (
	"github.com/postbench/postbench/internal/hist"
	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/netem"
	"github.com/postbench/postbench/loadgen"
	"github.com/postbench/postbench/loadgen/audit"
	"github.com/postbench/postbench/reports"
)

func (p *plan) partnersOf(m *measurement) []reports.Partner {
	var list []reports.Partner
	for i := range m.partners {
		sheet := &m.partners[i]
		partner := reports.Partner{
			Name: sheet.Name, Network: m.ways.partner[i],
			Latency:           reports.PartnerLatency{Response: reports.NewLatency(m.outcome.Latencies.PartnerResponse[i])},
			Ledger:            reports.PartnerLedger{Intents: sheet.Intents, Attempts: sheet.Attempts},
			AttemptsPerIntent: trimmed(sheet.AttemptsPerIntent[:]),
			Drops:             map[string]int64{},
		}
		if i < len(m.outcome.QueueDepth) {
			depth := int64(m.outcome.QueueDepth[i])
			partner.QueueDepth = &depth
		}
		if i < len(m.outcome.Partners) {
			habits(&partner, &m.outcome.Partners[i])
		}
		if m.sheet != nil {
			partner.Ledger.Fates = fatesOf(&sheet.Fates)
			partner.Drops = dropsOf(sheet)
			partner.Money, _ = moneyOf(sheet.Money)
		}
		list = append(list, partner)
	}
	return list
}

// habits fills in what the loop saw of a partner.
func habits(partner *reports.Partner, saw *loadgen.PartnerOutcome) {
	partner.Phases = phasesOf([]*loadgen.PartnerOutcome{saw})
	partner.Handshakes, partner.Resumed, partner.Deactivated = saw.Handshakes, saw.Resumed, saw.Deactivated
	partner.LateAcks = saw.LateAcks
	for _, depth := range saw.QueueDepth {
		partner.QueueDepthPerS = append(partner.QueueDepthPerS, int64(depth))
	}
}

// phasesOf merges the phases of some partners.
func phasesOf(partners []*loadgen.PartnerOutcome) reports.Phases {
	merged := func(of func(*loadgen.PartnerOutcome) *hist.Histogram) reports.Latency {
		sum := hist.New()
		for _, p := range partners {
			if h := of(p); h != nil {
				sum.Merge(h)
			}
		}
		return reports.NewLatency(sum)
	}
	return reports.Phases{
		DNS:     merged(func(p *loadgen.PartnerOutcome) *hist.Histogram { return p.DNS }),
		Connect: merged(func(p *loadgen.PartnerOutcome) *hist.Histogram { return p.Connect }),
		TLS:     merged(func(p *loadgen.PartnerOutcome) *hist.Histogram { return p.TLS }),
		Wait:    merged(func(p *loadgen.PartnerOutcome) *hist.Histogram { return p.Wait }),
		Body:    merged(func(p *loadgen.PartnerOutcome) *hist.Histogram { return p.Body }),
	}
}

// networks is one entry for each path that was emulated.
func (m *measurement) networks() []reports.Network {
	var list []reports.Network
	for i := range m.truths {
		list = append(list, m.networkOf(&m.truths[i]))
	}
	return list
}

func (m *measurement) networkOf(truth *netem.Truth) reports.Network {
	response := hist.New()
	var partners []*loadgen.PartnerOutcome
	for _, i := range m.ways.on(truth.Name) {
		response.Merge(m.outcome.Latencies.PartnerResponse[i])
		if i < len(m.outcome.Partners) {
			partners = append(partners, &m.outcome.Partners[i])
		}
	}
	return reports.Network{
		Name: truth.Name, Latency: reports.PartnerLatency{Response: reports.NewLatency(response)}, Phases: phasesOf(partners),
		Connections: truth.Connections, Segments: truth.Segments, Lost: truth.Lost, Retransmissions: truth.Retransmissions,
		Timeouts: truth.Timeouts, Lookups: truth.Lookups,
	}
}

// trimmed leaves out the zeros behind the last count.
func trimmed(counts []int64) []int64 {
	for len(counts) > 0 && counts[len(counts)-1] == 0 {
		counts = counts[:len(counts)-1]
	}
	return counts
}

func dropsOf(p *audit.PartnerSheet) map[string]int64 {
	drops := map[string]int64{}
	for reason, n := range p.Drops {
		if n > 0 {
			drops[intent.Reason(reason).String()] = n
		}
	}
	return drops
}

func moneyOf(list []audit.Money) (money []reports.Money, overflowed bool) {
	money = []reports.Money{}
	for _, m := range list {
		overflowed = overflowed || m.Overflowed
		money = append(money, reports.Money{
			Currency: m.Currency.String(), PartnerCount: m.PartnerCount, RecordedCount: m.RecordedCount, MissingCount: m.MissingCount,
			SurplusCount: m.SurplusCount, LeftOutCount: m.LeftOutCount, PartnerMicros: int64(m.PartnerMicros), RecordedMicros: int64(m.RecordedMicros),
			MissingMicros: int64(m.MissingMicros), SurplusMicros: int64(m.SurplusMicros), LeftOutMicros: int64(m.LeftOutMicros),
		})
	}
	return money, overflowed
}

func lostMoneyOf(list []audit.LostMoney) []reports.LostMoney {
	lost := []reports.LostMoney{}
	for _, m := range list {
		lost = append(lost, reports.LostMoney{Currency: m.Currency.String(), Mechanism: m.Mechanism, Surplus: m.Surplus, Count: m.Count, Micros: int64(m.Micros)})
	}
	return lost
}
