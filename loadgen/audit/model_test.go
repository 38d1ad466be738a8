package audit

import (
	"cmp"
	"slices"

	"github.com/postbench/postbench/internal/hist"
	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
)

// model comes to the sheet in the plainest way there is: it keeps all rows,
// groups them by intent in a map, and then looks at each intent with all its
// rows at hand. It shares no code with the Judge.
func model(cfg *Config, rows []Row) *Sheet {
	spec := cfg.Intents.Spec()
	m := &modelRun{cfg: cfg, spec: spec, money: map[purse]*Money{}, lost: map[loss]*LostMoney{}, windows: map[[2]string]*modelWindow{}, timed: cfg.ClockKnown}
	m.sheet = &Sheet{Delivery: hist.New(), Recorded: hist.New()}
	for _, p := range spec.Partners {
		m.sheet.Partners = append(m.sheet.Partners, PartnerSheet{Name: p.Name})
	}
	accounts := m.group(rows)
	for index := range cfg.Cells {
		if cfg.Cells[index].Flags&Released != 0 {
			m.account(uint64(index), accounts[uint64(index)])
		}
	}
	return m.close()
}

type modelRun struct {
	cfg     *Config
	spec    *intent.Spec
	sheet   *Sheet
	money   map[purse]*Money
	lost    map[loss]*LostMoney
	windows map[[2]string]*modelWindow // offer id, window
	falseD  int64
	timed   bool
}

type modelWindow struct {
	CapWindow
	offer   int
	times   []int64
	dues    []int64 // of its identities
	untimed bool
}

// group finds the intent of each row and deals with the rows that have none.
func (m *modelRun) group(rows []Row) map[uint64][]Row {
	accounts := map[uint64][]Row{}
	ids := m.ids()
	for _, row := range rows {
		whose := m.step(ids.lookUp(&row), &row)
		switch {
		case whose.otherRun:
			m.sheet.FilteredRows++
			continue
		case whose.known && m.matches(whose.index, &row):
			ownTxID := m.carries(whose.index).TxID && row.TxID != nil
			if m.spec.Clicks != nil && !ownTxID && m.earlier(&row, 1e9) {
				m.sheet.FilteredRows++
				continue
			}
			accounts[whose.index] = append(accounts[whose.index], row)
			if m.at(whose.index).ChainSteps > 0 && row.Event == postback.EventNone {
				m.sheet.ChainRowsWithoutEvent++
			}
			continue
		case m.earlier(&row, 0):
			m.sheet.FilteredRows++
			continue
		}
		m.sheet.Phantom++
		if row.Verdict == intent.Billable {
			m.unwanted(nobody, row.Currency, row.Payout, "phantom")
			m.bill(&row, -1)
		}
	}
	return accounts
}

type modelOwner struct {
	index           uint64
	known, otherRun bool
}

type modelIDs struct {
	byTx, byClick map[string]modelOwner
	own           bool
}

// modelSpare is how many intents after the planned ones a test may name.
const modelSpare = 4

// ids are all that a row can name, also of runs before and after this one.
func (m *modelRun) ids() modelIDs {
	ids := modelIDs{byTx: map[string]modelOwner{}, byClick: map[string]modelOwner{}, own: m.spec.Clicks != nil}
	for _, delta := range []uint32{1, ^uint32(0), 0} {
		spec := *m.spec
		spec.RunNumber += delta
		if spec.RunNumber > intent.MaxRunNumber {
			continue
		}
		g, err := intent.New(spec)
		if err != nil {
			panic(err)
		}
		for index := len(m.cfg.Cells) + modelSpare - 1; index >= 0; index-- {
			var it intent.Intent
			g.At(uint64(index), &it)
			owner := modelOwner{index: uint64(index), known: delta == 0, otherRun: delta != 0}
			ids.byTx[string(it.TxID)] = owner
			if !ids.own || it.Kind == intent.UnknownClick || delta == 0 && index < m.spec.Clicks.Len() {
				ids.byClick[string(it.ClickID)] = owner
			}
		}
	}
	return ids
}

func (ids *modelIDs) lookUp(row *Row) modelOwner {
	if owner, ok := ids.byTx[string(row.TxID)]; ok && ids.own {
		return owner
	}
	return ids.byClick[string(row.ClickID)]
}

// step looks for the step of a chain that a row's event stands for.
func (m *modelRun) step(owner modelOwner, row *Row) modelOwner {
	if !owner.known || len(m.spec.Mix.Chains) == 0 {
		return owner
	}
	for index := range len(m.cfg.Cells) + modelSpare {
		if it := m.at(uint64(index)); it.Origin == owner.index && it.Event == row.Event {
			owner.index = it.Index
			break
		}
	}
	return owner
}

func (m *modelRun) at(index uint64) *intent.Intent {
	it := &intent.Intent{}
	m.cfg.Intents.At(index, it)
	return it
}

func (m *modelRun) carries(index uint64) Carries { return m.cfg.Carries[m.at(index).Partner] }

func (m *modelRun) matches(index uint64, row *Row) bool {
	if index >= uint64(len(m.cfg.Cells)) {
		return false
	}
	cell, it, carries := &m.cfg.Cells[index], m.at(index), m.carries(index)
	sent := cell.Flags&Released != 0 && cell.Attempts > 0
	sameTx := !carries.TxID || row.TxID == nil || string(row.TxID) == string(it.TxID)
	sameEvent := !carries.Event || row.Event == postback.EventNone || row.Event == it.Event
	return sent && sameTx && sameEvent && string(row.ClickID) == string(it.ClickID)
}

func (m *modelRun) earlier(row *Row, byNs int64) bool {
	for _, at := range []int64{row.RecordedUnixNs, row.ReceivedUnixNs} {
		if at > 0 && at+m.offsetNs() < m.cfg.StartUnixNs-byNs {
			return true
		}
	}
	return false
}

func (m *modelRun) offsetNs() int64 {
	if m.cfg.ClockKnown {
		return m.cfg.ClockOffsetNs
	}
	return 0
}

// bill books a billable or over_cap row in its cap window and returns that.
func (m *modelRun) bill(row *Row, offer int) *modelWindow {
	for i, o := range m.spec.Offers {
		if o.ID == string(row.OfferID) {
			offer = i
		}
	}
	if offer < 0 || m.spec.Offers[offer].Cap == 0 {
		return nil
	}
	o := m.spec.Offers[offer]
	key := [2]string{o.ID, row.CapWindow}
	w := m.windows[key]
	if w == nil {
		w = &modelWindow{offer: offer, CapWindow: CapWindow{OfferID: o.ID, Window: row.CapWindow, Cap: o.Cap, VisibleNs: -1}}
		m.windows[key] = w
	}
	if row.Verdict == intent.Billable {
		w.Billable++
		w.times = append(w.times, row.RecordedUnixNs)
		w.untimed = w.untimed || row.RecordedUnixNs <= 0
	}
	return w
}

// account judges one intent by all its rows.
func (m *modelRun) account(index uint64, rows []Row) {
	cell, it, s := &m.cfg.Cells[index], m.at(index), m.sheet
	billable, originals := 0, 0
	has := map[intent.Verdict]bool{}
	for i := range rows {
		verdict := rows[i].Verdict
		s.Verdicts[verdict]++
		has[verdict] = true
		if verdict == intent.Billable {
			billable++
		}
		if verdict != intent.Duplicate && verdict != intent.Conflict {
			originals++
		}
	}
	s.Repeats += int64(max(0, len(rows)-1))
	s.DoubleCounted += int64(max(0, billable-1))
	fate := m.fate(it, cell, len(rows), originals)
	m.count(it, cell, fate)
	if it.Kind.Legitimate() {
		m.wrong(it, cell, rows, has)
		m.times(cell, rows, originals)
	}
	m.cap(it, cell, rows, has)
	m.pay(it, cell, rows, has, fate)
	if fate == FateLostAfterAck || fate == FateLostAtPartner {
		s.Worst = append(s.Worst, Lost{Index: index, ClickID: string(it.ClickID), TxID: string(it.TxID), Event: it.Event, Partner: it.Partner,
			Payout: it.Payout, Currency: it.Currency, Fate: fate, Reason: intent.Reason(cell.Reason), DueNs: cell.DueNs,
			DispatchedNs: cell.DispatchedNs, AckNs: cell.AckNs, LastEndNs: cell.LastEndNs, LastStatus: int(cell.LastStatus),
			Attempts: int(cell.Attempts), LastOutcome: intent.Outcome(cell.LastOutcome)})
	}
}

func (m *modelRun) fate(it *intent.Intent, cell *Cell, rows, originals int) Fate {
	if !it.Kind.Legitimate() {
		if rows > 0 {
			return FateForgedAccepted
		}
		return FateRejected
	}
	if originals > 0 {
		if cell.Acked > 0 {
			return FateRecorded
		}
		return FateRecordedUnacked
	}
	if cell.Acked > 0 {
		return FateLostAfterAck
	}
	return FateLostAtPartner
}

func (m *modelRun) count(it *intent.Intent, cell *Cell, fate Fate) {
	s, p := m.sheet, &m.sheet.Partners[it.Partner]
	s.Intents, p.Intents = s.Intents+1, p.Intents+1
	s.Attempts, p.Attempts = s.Attempts+int64(cell.Attempts), p.Attempts+int64(cell.Attempts)
	s.AckedAttempts += int64(cell.Acked)
	p.AttemptsPerIntent[min(8, int(cell.Attempts))]++
	for _, f := range []*Fates{&s.Fates, &p.Fates} {
		*[]*int64{&f.Recorded, &f.RecordedUnacked, &f.LostAfterAck, &f.LostAtPartner, &f.Rejected, &f.ForgedAccepted}[fate]++
	}
	if fate == FateLostAtPartner {
		reason := givenUp(cell)
		s.Drops[reason]++
		p.Drops[reason]++
	}
}

// wrong finds the faults that a legitimate intent's rows show by themselves.
func (m *modelRun) wrong(it *intent.Intent, cell *Cell, rows []Row, has map[intent.Verdict]bool) {
	carries, offer := m.cfg.Carries[it.Partner], m.spec.Offers[it.Offer]
	wrongPayload, wrongVerdict, originals := false, false, 0
	for _, row := range rows {
		if row.Verdict == intent.Duplicate {
			continue
		}
		wrongPayload = wrongPayload || carries.Payout && row.HasPayout && row.Payout != it.Payout ||
			carries.Currency && row.Currency != postback.Currency{} && row.Currency != it.Currency ||
			carries.OfferID && len(row.OfferID) > 0 && string(row.OfferID) != offer.ID
		if row.Verdict != intent.Conflict {
			originals++
			wrongVerdict = wrongVerdict || !slices.Contains(m.allowed(it, cell), row.Verdict)
		}
	}
	for _, fault := range []struct {
		present bool
		counter *int64
	}{{wrongPayload, &m.sheet.WrongPayload}, {wrongVerdict, &m.sheet.WrongVerdict}, {has[intent.Conflict], &m.sheet.Conflicts},
		{has[intent.Duplicate] && originals == 0, &m.falseD}} {
		if fault.present {
			*fault.counter++
		}
	}
}

// allowed are the verdicts that a legitimate intent may get.
func (m *modelRun) allowed(it *intent.Intent, cell *Cell) []intent.Verdict {
	offer := m.spec.Offers[it.Offer]
	list := []intent.Verdict{intent.Billable}
	switch {
	case it.Kind == intent.UnknownClick:
		return []intent.Verdict{intent.Unattributed}
	case it.Event == postback.EventRejected || it.Event == postback.EventRefund:
		return []intent.Verdict{intent.Reversal}
	case it.Payout <= 0:
		list = []intent.Verdict{intent.NonBillable}
	case offer.Cap > 0:
		list = append(list, intent.OverCap)
	}
	if offer.AttributionWindowS == 0 {
		return list
	}
	if m.spec.Clicks != nil {
		return append(list, intent.Late)
	}
	onServer := m.cfg.StartUnixNs - m.offsetNs()
	arrivedFrom, arrivedTo := onServer+cell.DispatchedNs, onServer+cell.LastEndNs
	if cell.Attempts > cell.Acked {
		arrivedTo += m.cfg.MaxAttemptNs
	}
	end := m.cfg.Intents.ClickUnixS(it.Index) + offer.AttributionWindowS
	if arrivedFrom >= (end+1)*1e9 {
		return []intent.Verdict{intent.Late}
	}
	if arrivedTo >= end*1e9 {
		list = append(list, intent.Late)
	}
	return list
}

func (m *modelRun) times(cell *Cell, rows []Row, originals int) {
	if cell.DueNs < m.cfg.WarmupNs {
		return
	}
	if cell.Acked > 0 {
		m.sheet.Delivery.Record(cell.AckNs - cell.DueNs)
	} else {
		m.sheet.Delivery.RecordCensored()
	}
	first := int64(0)
	for _, row := range rows {
		if row.Verdict != intent.Duplicate && row.Verdict != intent.Conflict && row.RecordedUnixNs > 0 && (first == 0 || row.RecordedUnixNs < first) {
			first = row.RecordedUnixNs
		}
	}
	switch {
	case originals == 0:
		m.sheet.Recorded.RecordCensored()
	case first == 0:
		m.timed = false
	default:
		m.sheet.Recorded.Record(first + m.cfg.ClockOffsetNs - m.cfg.StartUnixNs - cell.DueNs)
	}
}

// cap books all rows, and the identity in the first of their windows.
func (m *modelRun) cap(it *intent.Intent, cell *Cell, rows []Row, has map[intent.Verdict]bool) {
	var windows []*modelWindow
	for i := range rows {
		if rows[i].Verdict == intent.Billable || rows[i].Verdict == intent.OverCap {
			if w := m.bill(&rows[i], it.Offer); w != nil {
				windows = append(windows, w)
			}
		}
	}
	if len(windows) == 0 || !it.Kind.Legitimate() {
		return
	}
	w := slices.MinFunc(windows, func(a, b *modelWindow) int {
		return cmp.Or(cmp.Compare(a.offer, b.offer), cmp.Compare(a.Window, b.Window))
	})
	w.dues = append(w.dues, cell.DueNs)
	if has[intent.OverCap] && !has[intent.Billable] {
		w.OverCap++
	}
}

// closing is when the router saw a window closed, if it can be known.
func (m *modelRun) closing(w *modelWindow) (ns int64, known bool) {
	if m.cfg.ClosedSeenNs == nil {
		return 0, false
	}
	named := false
	for _, c := range m.cfg.Closings {
		if c.Offer == w.offer && c.Window == w.Window {
			return c.ClosedNs, true
		}
		named = named || c.Offer == w.offer
	}
	if named {
		return 0, false
	}
	ns = m.cfg.ClosedSeenNs[w.offer]
	for _, other := range m.windows {
		if other.offer == w.offer && ns != NeverClosed && other.before(w) {
			return 0, false
		}
	}
	return ns, true
}

// before reports whether the run came to this window first; to one without an
// identity it never came.
func (w *modelWindow) before(o *modelWindow) bool {
	first := func(dues []int64) int64 { return slices.Min(append([]int64{NeverClosed}, dues...)) }
	return cmp.Or(cmp.Compare(first(w.dues), first(o.dues)), cmp.Compare(w.Window, o.Window)) < 0
}

// close orders what was collected.
func (m *modelRun) close() *Sheet {
	s := m.sheet
	m.closeMoney()
	s.Caps = []CapWindow{}
	for i, o := range m.spec.Offers {
		seen := false
		for _, w := range m.windows {
			seen = seen || w.offer == i
		}
		if o.Cap > 0 && !seen {
			s.Caps = append(s.Caps, CapWindow{OfferID: o.ID, Cap: o.Cap, VisibleNs: -1})
		}
	}
	for _, w := range m.windows {
		slices.Sort(w.times)
		closed, known := m.closing(w)
		w.Unwatched = m.cfg.ClosedSeenNs != nil && !known
		for _, due := range w.dues {
			if known && due < closed {
				w.BeforeClosing++
			}
		}
		if m.cfg.ClockKnown && known && !w.untimed && int64(len(w.times)) >= w.Cap {
			if ns := closed + m.cfg.StartUnixNs - m.cfg.ClockOffsetNs - w.times[w.Cap-1]; closed != NeverClosed && ns >= 0 {
				w.VisibleNs = ns
			}
		}
		s.Caps = append(s.Caps, w.CapWindow)
	}
	slices.SortFunc(s.Caps, func(a, b CapWindow) int {
		return cmp.Or(cmp.Compare(a.OfferID, b.OfferID), cmp.Compare(a.Window, b.Window))
	})
	slices.SortStableFunc(s.Worst, func(a, b Lost) int {
		return cmp.Or(cmp.Compare(a.Fate, b.Fate), cmp.Compare(b.Payout, a.Payout), cmp.Compare(a.Index, b.Index))
	})
	s.Worst = s.Worst[:min(len(s.Worst), MaxWorst)]
	if s.Verdicts[intent.Duplicate] > 0 {
		s.FalseDuplicates = &m.falseD
	}
	if !m.timed {
		s.Recorded = nil
	}
	return s
}
