package cli

import (
	"strconv"

	"github.com/postbench/postbench/internal/hist"
	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/loadgen"
	"github.com/postbench/postbench/loadgen/audit"
	"github.com/postbench/postbench/reports"
)

// variant turns a measurement into the result document's form.
func (p *plan) variant(m *measurement) reports.Variant {
	l := &m.outcome.Latencies
	v := reports.Variant{
		Name: m.variant, Components: m.components,
		Latency: reports.Latencies{
			Response: reports.NewLatency(l.Response), Service: reports.NewLatency(l.Service),
			ServiceRefused: reports.NewLatency(l.ServiceRefused),
			LagGenerator:   reports.NewLatency(l.LagGenerator), LagQueue: reports.NewLatency(l.LagQueue),
		},
		Phases: reports.Phases{DNS: reports.NewLatency(l.DNS), Connect: reports.NewLatency(l.Connect), TLS: reports.NewLatency(l.TLS),
			Wait: reports.NewLatency(l.Wait), Body: reports.NewLatency(l.Body)},
		Responses: responsesOf(m.outcome.Responses),
		Timeline:  timelineOf(m.outcome.Timeline),
		Partners:  p.partnersOf(m),
		Networks:  m.networks(),
		Stages:    stagesOf(m.outcome.Budget),
		Costs:     m.costs,
		Ledger:    ledgerOf(m),
		Resources: reports.Resources{ClientCPUS: &m.clientCPUS},
		Path:      m.path,
		Netem:     m.netem,
		Faults:    m.faults,
		Validity:  validityOf(m.doubts.all()),
	}
	var pollNs int64
	if m.caps != nil {
		pollNs = m.caps.PollPeriod.MeanNs()
	}
	v.Caps = capsOf(m.sheet, m.caps != nil, pollNs)
	if m.clock.known {
		v.Clock = &reports.Clock{SameBoot: m.clock.offset.SameBoot, OffsetUs: -float64(m.clock.offset.AddNs) / 1e3,
			ErrorUs: float64(m.clock.offset.ErrorNs) / 1e3}
	}
	if m.path != nil {
		v.Resources.UDPKernelDrops = &m.path.KernelDrops
	}
	if m.serverCPUS >= 0 {
		v.Resources.ServerCPUS = &m.serverCPUS
	}
	if m.goWork != nil {
		maxStopUs, allocs := float64(m.goWork.maxStopNs)/1e3, m.goWork.perRequest(m.outcome.Attempts.Total)
		v.Resources.ServerGCStopMaxUs, v.Resources.ServerGCStops, v.Resources.AllocsPerRequest = &maxStopUs, &m.goWork.stops, allocs
	}
	v.Resources.SQLQueries = m.sqlQueries
	v.OfferedPerS, v.AchievedPerS = p.rates(m)
	if m.sheet != nil {
		v.Latency.Delivery = reports.NewLatency(m.sheet.Delivery)
		if m.sheet.Recorded != nil {
			v.Latency.Recorded = reports.NewLatency(m.sheet.Recorded)
		}
	}
	return v.WithRound(m.number, uint64(m.runNumber), m.outcome.Start.UnixNano(), int64(m.outcome.Duration), m.counted)
}

// rates are the intents that became due and the intents that were acked, per
// second of the time in which they were due.
func (p *plan) rates(m *measurement) (offeredPerS, achievedPerS float64) {
	o := m.outcome
	// Until the last ack, not the end of the run: a partner that waits for an
	// hour with its next retry achieves no less by that.
	scheduled, until := p.duration().Seconds(), max(p.duration(), m.lastAck).Seconds()
	if p.replay != nil || o.Interrupted {
		scheduled, until = m.lastDue.Seconds(), max(m.lastDue, m.lastAck).Seconds()
	}
	if until == 0 || scheduled == 0 {
		return 0, 0
	}
	return float64(o.Intents) / scheduled, float64(m.acked) / until
}

func validityOf(reasons []string) reports.Validity {
	if len(reasons) > 0 {
		return reports.Validity{Verdict: reports.VerdictInvalid, Reasons: reasons}
	}
	return reports.Validity{Verdict: reports.VerdictValid, Reasons: []string{}}
}

func responsesOf(counts map[string]int64) []reports.Response {
	byStatus, byError := map[int]int64{}, map[string]int64{}
	for name, n := range counts {
		if status, err := strconv.Atoi(name); err == nil {
			byStatus[status] += n
			continue
		}
		byError[name] += n
	}
	return reports.NewResponses(byStatus, byError)
}

func timelineOf(seconds []loadgen.Second) []reports.TimelineSecond {
	var list []reports.TimelineSecond
	for _, s := range seconds {
		list = append(list, reports.TimelineSecond{Second: s.Second, Due: s.Intents, Acked: s.Acked,
			P50Us: usOrNull(s.P50Ns), P99Us: usOrNull(s.P99Ns), MaxUs: usOrNull(maxOrNone(s))})
	}
	return list
}

// maxOrNone is -1 where no attempt was acked.
func maxOrNone(s loadgen.Second) int64 {
	if s.Acked == 0 {
		return -1
	}
	return s.MaxNs
}

// usOrNull turns ns into µs; negative means not known.
func usOrNull(ns int64) *float64 {
	if ns < 0 {
		return nil
	}
	us := float64(ns) / 1e3
	return &us
}

func fatesOf(f *audit.Fates) reports.Fates {
	return reports.NewFates(f.Recorded, f.RecordedUnacked, f.LostAfterAck, f.LostAtPartner, f.Rejected, f.ForgedAccepted)
}

func ledgerOf(m *measurement) reports.Ledger {
	a := m.outcome.Attempts
	ledger := reports.Ledger{Intents: int64(m.outcome.Intents), Attempts: a.Total, Acked: a.Acked, Refused: a.Refused,
		TimedOut: a.TimedOut, Errored: a.Errored, Balanced: len(m.doubts.books) == 0, DuplicatesDropped: m.outcome.DuplicatesDropped}
	if m.sheet != nil {
		judged(&ledger, m.sheet)
		ledger.RowsAfterSettle = &m.settled
		for i := range ledger.Worst {
			ledger.Worst[i].RunNumber = uint64(m.runNumber)
		}
	}
	return ledger
}

// judged fills in what only the judge knows.
func judged(ledger *reports.Ledger, s *audit.Sheet) {
	ledger.Fates = fatesOf(&s.Fates)
	ledger.DoubleCounted, ledger.Phantom = &s.DoubleCounted, &s.Phantom
	ledger.WrongVerdict, ledger.WrongPayload, ledger.FalseDuplicate = &s.WrongVerdict, &s.WrongPayload, s.FalseDuplicates
	ledger.FilteredRows, ledger.Conflicts, ledger.CapRowsDropped = &s.FilteredRows, &s.Conflicts, &s.CapRowsDropped
	ledger.Verdicts = map[string]int64{}
	for verdict, n := range s.Verdicts {
		if n > 0 {
			ledger.Verdicts[intent.Verdict(verdict).String()] = n
		}
	}
	ledger.Money, ledger.AmountsOverflowed = moneyOf(s.Money)
	ledger.LostMoney = lostMoneyOf(s.LostMoney)
	ledger.DiscrepancyRate = reports.DiscrepancyRate(ledger.Money)
	ledger.Worst = worstOf(s)
}

func worstOf(s *audit.Sheet) []reports.LostPostback {
	var list []reports.LostPostback
	for _, lost := range s.Worst {
		entry := reports.LostPostback{
			Index: int64(lost.Index), ClickID: lost.ClickID, TxID: lost.TxID, Event: lost.Event.String(), Partner: s.Partners[lost.Partner].Name,
			Fate: lost.Fate.String(), DueNs: lost.DueNs, LastStatus: lost.LastStatus, Attempts: lost.Attempts,
			PayoutMicros: int64(lost.Payout), Currency: lost.Currency.String(), LastOutcome: lost.LastOutcome.String(),
		}
		if lost.Fate == audit.FateLostAfterAck {
			entry.AckNs = &lost.AckNs
		}
		if lost.Fate == audit.FateLostAtPartner {
			entry.Reason = lost.Reason.String()
		}
		if lost.Attempts > 0 {
			entry.DispatchedNs, entry.EndNs = &lost.DispatchedNs, &lost.LastEndNs
		}
		list = append(list, entry)
	}
	return list
}

// capsOf sums up the cap windows; nil without capped offers or a ledger.
// routed says that a router watched, pollNs how often it looked on average.
func capsOf(sheet *audit.Sheet, routed bool, pollNs int64) *reports.Caps {
	if sheet == nil || len(sheet.Caps) == 0 {
		return nil
	}
	caps := &reports.Caps{Offers: len(sheet.Caps), RouterPollUs: float64(pollNs) / 1e3}
	visible := hist.New()
	var trafficSum, trafficMax float64
	var undershoot, watched int64
	for i := range sheet.Caps {
		w := &sheet.Caps[i]
		billed := w.BilledOvershoot()
		caps.BilledOvershoot += billed
		if pct := percentOf(billed, w.Cap); pct > caps.BilledOvershootMaxPct || pct == caps.BilledOvershootMaxPct && billed > caps.BilledOvershootMax {
			caps.BilledOvershootMax, caps.BilledOvershootMaxPct = billed, pct
		}
		undershoot += w.Undershoot()
		if w.Unwatched || !w.Reached() {
			continue // nothing is known of its traffic, or nobody had to stop it
		}
		watched++
		traffic := percentOf(w.TrafficOvershoot(), w.Cap)
		trafficSum += traffic
		trafficMax = max(trafficMax, traffic)
		if w.VisibleNs >= 0 {
			visible.Record(w.VisibleNs)
		}
	}
	if !routed { // then nobody looked whether the offers were empty, either
		return caps
	}
	caps.Undershoot = &undershoot
	if watched > 0 {
		mean := trafficSum / float64(watched)
		caps.TrafficOvershootMeanPct, caps.TrafficOvershootMaxPct = &mean, &trafficMax
	}
	if ns, ok := visible.Percentile(95); ok {
		caps.VisibleP95Us = usOrNull(ns)
	}
	return caps
}

func percentOf(part, whole int64) float64 { return 100 * float64(part) / float64(whole) }
