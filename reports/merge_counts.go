package reports

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// sumKnown adds the figures that of returns; nil if one of them, or all
// because there are none, are not known.
func sumKnown[T any, N int64 | float64](list []T, of func(T) *N) *N {
	if len(list) == 0 {
		return nil
	}
	var sum N
	for _, item := range list {
		figure := of(item)
		if figure == nil {
			return nil
		}
		sum += *figure
	}
	return &sum
}

func mergeFates(list []Fates) Fates {
	f := Fates{
		Recorded:        sumKnown(list, func(f Fates) *int64 { return f.Recorded }),
		RecordedUnacked: sumKnown(list, func(f Fates) *int64 { return f.RecordedUnacked }),
		LostAfterAck:    sumKnown(list, func(f Fates) *int64 { return f.LostAfterAck }),
		LostAtPartner:   sumKnown(list, func(f Fates) *int64 { return f.LostAtPartner }),
		Rejected:        sumKnown(list, func(f Fates) *int64 { return f.Rejected }),
		ForgedAccepted:  sumKnown(list, func(f Fates) *int64 { return f.ForgedAccepted }),
	}
	if f.Judged() {
		f.LossRate = ratioOf(f.Lost(), f.Legitimate())
	}
	return f
}

func mergeLedgers(list []Ledger) Ledger {
	var merged Ledger
	fates := make([]Fates, len(list))
	merged.Balanced = true
	judged := len(list) > 0
	for i, l := range list {
		fates[i] = l.Fates
		merged.Intents += l.Intents
		merged.Attempts += l.Attempts
		merged.Acked += l.Acked
		merged.Refused += l.Refused
		merged.TimedOut += l.TimedOut
		merged.Errored += l.Errored
		merged.DuplicatesDropped += l.DuplicatesDropped
		merged.AmountsOverflowed = merged.AmountsOverflowed || l.AmountsOverflowed
		merged.Balanced = merged.Balanced && l.Balanced
		judged = judged && l.Judged()
	}
	merged.Fates = mergeFates(fates)
	merged.DoubleCounted = sumKnown(list, func(l Ledger) *int64 { return l.DoubleCounted })
	merged.Phantom = sumKnown(list, func(l Ledger) *int64 { return l.Phantom })
	merged.WrongVerdict = sumKnown(list, func(l Ledger) *int64 { return l.WrongVerdict })
	merged.WrongPayload = sumKnown(list, func(l Ledger) *int64 { return l.WrongPayload })
	merged.Conflicts = sumKnown(list, func(l Ledger) *int64 { return l.Conflicts })
	merged.FilteredRows = sumKnown(list, func(l Ledger) *int64 { return l.FilteredRows })
	merged.CapRowsDropped = sumKnown(list, func(l Ledger) *int64 { return l.CapRowsDropped })
	merged.RowsAfterSettle = sumKnown(list, func(l Ledger) *int64 { return l.RowsAfterSettle })
	// A ledger that keeps duplicate rows may have had none in some round: nil
	// there is zero, unless it is nil everywhere.
	keeping := slices.DeleteFunc(slices.Clone(list), func(l Ledger) bool { return l.FalseDuplicate == nil })
	merged.FalseDuplicate = sumKnown(keeping, func(l Ledger) *int64 { return l.FalseDuplicate })
	merged.Worst = mergeWorst(list)
	if !judged {
		return merged
	}
	merged.Verdicts = map[string]int64{}
	for _, l := range list {
		addTo(merged.Verdicts, l.Verdicts)
	}
	merged.Money, merged.LostMoney = mergeMoney(list), mergeLostMoney(list)
	merged.DiscrepancyRate = DiscrepancyRate(merged.Money)
	return merged
}

func mergeMoney(list []Ledger) []Money {
	var all []Money
	for _, l := range list {
		all = append(all, l.Money...)
	}
	return sumMoney(all)
}

// sumMoney adds by currency.
func sumMoney(list []Money) []Money {
	byCurrency := map[string]Money{}
	for _, m := range list {
		sum := byCurrency[m.Currency]
		sum.Currency = m.Currency
		sum.PartnerCount += m.PartnerCount
		sum.RecordedCount += m.RecordedCount
		sum.MissingCount += m.MissingCount
		sum.SurplusCount += m.SurplusCount
		sum.LeftOutCount += m.LeftOutCount
		sum.PartnerMicros += m.PartnerMicros
		sum.RecordedMicros += m.RecordedMicros
		sum.MissingMicros += m.MissingMicros
		sum.SurplusMicros += m.SurplusMicros
		sum.LeftOutMicros += m.LeftOutMicros
		byCurrency[m.Currency] = sum
	}
	return slices.SortedFunc(maps.Values(byCurrency), func(a, b Money) int { return strings.Compare(a.Currency, b.Currency) })
}

// mergeWorst orders by what is worse: lost after an ack first, because that
// breaks a promise, then by payout, then by time.
func mergeWorst(list []Ledger) []LostPostback {
	worst := []LostPostback{}
	for _, l := range list {
		worst = append(worst, l.Worst...)
	}
	slices.SortStableFunc(worst, func(a, b LostPostback) int {
		return cmp.Or(
			strings.Compare(a.Fate, b.Fate), // "lost_after_ack" < "lost_at_partner"
			cmp.Compare(b.PayoutMicros, a.PayoutMicros),
			cmp.Compare(a.RunNumber, b.RunNumber),
			cmp.Compare(a.Index, b.Index),
		)
	})
	return worst[:min(len(worst), MaxWorst)]
}

func mergeCaps(list []*Caps) *Caps {
	if len(list) == 0 || slices.Contains(list, nil) {
		return nil
	}
	merged := Caps{}
	windows := 0
	for _, c := range list {
		windows += c.Offers
		merged.Offers = max(merged.Offers, c.Offers)
		merged.BilledOvershoot += c.BilledOvershoot
		// The pair stays together: the rows and the percent of different windows
		// would describe one that never was.
		if cmp.Or(cmp.Compare(c.BilledOvershootMaxPct, merged.BilledOvershootMaxPct),
			cmp.Compare(c.BilledOvershootMax, merged.BilledOvershootMax)) > 0 {
			merged.BilledOvershootMax, merged.BilledOvershootMaxPct = c.BilledOvershootMax, c.BilledOvershootMaxPct
		}
		merged.TrafficOvershootMaxPct = larger(merged.TrafficOvershootMaxPct, c.TrafficOvershootMaxPct)
		merged.VisibleP95Us = larger(merged.VisibleP95Us, c.VisibleP95Us)
		merged.RouterPollUs = max(merged.RouterPollUs, c.RouterPollUs)
	}
	merged.Undershoot = sumKnown(list, func(c *Caps) *int64 { return c.Undershoot })
	// The mean over all offers of all rounds, so each round weighs as many.
	sum := sumKnown(list, func(c *Caps) *float64 {
		if c.TrafficOvershootMeanPct == nil {
			return nil
		}
		weighted := *c.TrafficOvershootMeanPct * float64(c.Offers)
		return &weighted
	})
	if sum == nil || windows == 0 {
		merged.TrafficOvershootMaxPct = nil
		return &merged
	}
	*sum /= float64(windows)
	merged.TrafficOvershootMeanPct = sum
	return &merged
}

// worstClock returns the clock with the largest error, of equals a measured
// one. Runs whose clocks could not be compared have no recorded latency and so
// no say.
func worstClock(runs []Variant) *Clock {
	var worst *Clock
	for _, run := range runs {
		c := run.Clock
		switch {
		case c == nil:
		case worst == nil, c.ErrorUs > worst.ErrorUs, c.ErrorUs == worst.ErrorUs && worst.SameBoot && !c.SameBoot:
			worst = c
		}
	}
	return worst
}

// mergeStages weighs each run's means by its acked responses. The requests
// between p90 and p99 are those of each run, not of all together. In a stage
// that a run does not have its requests spent nothing, so that what adds up in
// each run adds up in all; a run without any stage has no say.
func mergeStages(runs []Variant) []Stage {
	var lists [][]Stage
	var weight, tailWeight float64
	byName := map[string]Stage{}
	for i := range runs {
		run := &runs[i]
		lists = append(lists, run.Stages)
		responses := float64(run.Latency.Response.Count)
		if len(run.Stages) > 0 {
			weight += responses
		}
		if tailSumUs(run) > 0 { // else nobody between p90 and p99 was acked
			tailWeight += responses
		}
		for _, stage := range run.Stages {
			sum := byName[stage.Name]
			sum.MeanUs += responses * stage.MeanUs
			sum.P90ToP99MeanUs += responses * stage.P90ToP99MeanUs
			byName[stage.Name] = sum
		}
	}
	stages := []Stage{}
	for _, name := range stageOrder(lists) {
		if sum := byName[name]; weight > 0 {
			stages = append(stages, Stage{Name: name, MeanUs: sum.MeanUs / weight, P90ToP99MeanUs: sum.P90ToP99MeanUs / max(1, tailWeight)})
		}
	}
	return stages
}

func mergeResources(runs []Variant) Resources {
	merged := Resources{
		ServerCPUS:     sumKnown(runs, func(v Variant) *float64 { return v.Resources.ServerCPUS }),
		ClientCPUS:     sumKnown(runs, func(v Variant) *float64 { return v.Resources.ClientCPUS }),
		UDPKernelDrops: sumKnown(runs, func(v Variant) *int64 { return v.Resources.UDPKernelDrops }),
	}
	for _, run := range runs {
		merged.ServerGCStopMaxUs = larger(merged.ServerGCStopMaxUs, run.Resources.ServerGCStopMaxUs)
		merged.RSSMaxBytes = larger(merged.RSSMaxBytes, run.Resources.RSSMaxBytes)
	}
	merged.ServerGCStops = sumKnown(runs, func(v Variant) *int64 { return v.Resources.ServerGCStops })
	merged.AllocsPerRequest = meanPerAttempt(runs, func(v *Variant) *float64 { return v.Resources.AllocsPerRequest })
	merged.SQLQueries = meanPerAttempt(runs, func(v *Variant) *float64 { return v.Resources.SQLQueries })
	return merged
}

// meanPerAttempt is the mean of a figure per attempt over the attempts of all
// runs; nil where it is not known of all.
func meanPerAttempt(runs []Variant, figure func(*Variant) *float64) *float64 {
	var attempts float64
	for i := range runs {
		attempts += float64(runs[i].Ledger.Attempts)
	}
	sum := sumKnown(runs, func(v Variant) *float64 {
		of := figure(&v)
		if of == nil {
			return nil
		}
		total := *of * float64(v.Ledger.Attempts)
		return &total
	})
	if sum == nil || attempts == 0 {
		return nil
	}
	*sum /= attempts
	return sum
}
