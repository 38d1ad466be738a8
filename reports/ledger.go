package reports

// The fates that lose a postback.
const (
	FateLostAfterAck  = "lost_after_ack"
	FateLostAtPartner = "lost_at_partner"
)

// MaxWorst bounds the list of lost postbacks in a Ledger.
const MaxWorst = 20

// Fates counts what became of the intents. Each is in exactly one cell: the
// first four are the legitimate ones, the last two the others. Without a
// ledger all are nil.
type Fates struct {
	Recorded        *int64   `json:"recorded"`
	RecordedUnacked *int64   `json:"recorded_unacked"`
	LostAfterAck    *int64   `json:"lost_after_ack"`
	LostAtPartner   *int64   `json:"lost_at_partner"`
	Rejected        *int64   `json:"rejected"`
	ForgedAccepted  *int64   `json:"forged_accepted"`
	LossRate        *float64 `json:"loss_rate"` // lost / legitimate intents, 0..1; nil also when there are none
}

// NewFates returns the fates of a judged run, loss rate included.
func NewFates(recorded, recordedUnacked, lostAfterAck, lostAtPartner, rejected, forgedAccepted int64) Fates {
	f := Fates{
		Recorded: &recorded, RecordedUnacked: &recordedUnacked,
		LostAfterAck: &lostAfterAck, LostAtPartner: &lostAtPartner,
		Rejected: &rejected, ForgedAccepted: &forgedAccepted,
	}
	f.LossRate = ratioOf(lostAfterAck+lostAtPartner, f.Legitimate())
	return f
}

// Judged reports whether there was a ledger to judge by.
func (f Fates) Judged() bool { return f.Recorded != nil }

// Lost is the number of lost legitimate intents, acked or not; 0 unless Judged.
func (f Fates) Lost() int64 { return known(f.LostAfterAck) + known(f.LostAtPartner) }

// Legitimate is the number of legitimate intents; 0 unless Judged.
func (f Fates) Legitimate() int64 { return known(f.Recorded) + known(f.RecordedUnacked) + f.Lost() }

// sum is the number of intents that the fates account for.
func (f Fates) sum() int64 { return f.Legitimate() + known(f.Rejected) + known(f.ForgedAccepted) }

// PartnerLedger is one partner's part of the balance sheet.
type PartnerLedger struct {
	Intents  int64 `json:"intents"`
	Attempts int64 `json:"attempts"`
	Fates
}

// Ledger is the whole balance sheet of a run: Intents = the sum of its fates,
// Attempts = Acked + Refused + TimedOut + Errored. The attempts are the
// client's own books and always known; pointers, Verdicts and Money are nil
// without a ledger.
type Ledger struct {
	Intents  int64 `json:"intents"`
	Attempts int64 `json:"attempts"`
	Acked    int64 `json:"acked"`
	Refused  int64 `json:"refused"`
	TimedOut int64 `json:"timed_out"`
	Errored  int64 `json:"errored"`
	Fates
	DoubleCounted  *int64 `json:"double_counted"` // billable rows beyond the first of an identity
	Phantom        *int64 `json:"phantom"`        // rows that nobody sent
	WrongVerdict   *int64 `json:"wrong_verdict"`
	WrongPayload   *int64 `json:"wrong_payload"`
	FalseDuplicate *int64 `json:"false_duplicate"` // nil also where the ledger keeps no duplicate rows
	Conflicts      *int64 `json:"conflicts"`       // legitimate intents with a conflict row
	FilteredRows   *int64 `json:"filtered_rows"`   // rows of other runs or older ones, left out
	// CapRowsDropped are rows that no cap window could take: above zero, the
	// overshoot is a lower bound.
	CapRowsDropped *int64 `json:"cap_rows_dropped"`
	// DuplicatesDropped are deliberate duplicates that were never sent.
	DuplicatesDropped int64 `json:"duplicates_dropped"`
	// AmountsOverflowed says that the amounts in Money mean nothing; its counts
	// do.
	AmountsOverflowed bool             `json:"amounts_overflowed"`
	Verdicts          map[string]int64 `json:"verdicts"` // rows by verdict
	Money             []Money          `json:"money"`    // one entry a currency, sorted by it
	// LostMoney splits Money's missing and surplus by what caused them.
	LostMoney       []LostMoney    `json:"lost_money"`
	DiscrepancyRate *float64       `json:"discrepancy_rate"`
	RowsAfterSettle *int64         `json:"rows_after_settle"`
	Balanced        bool           `json:"balanced"` // our own books; false is a fault of postbench, not of the target
	Worst           []LostPostback `json:"worst"`    // at most MaxWorst
}

// Money is one currency's claim by the partners against what was recorded as
// billable, in postbacks and in millionths of the currency's unit (micros).
// Partner − Missing + Surplus = Recorded holds for both. What was recorded and
// rightly not paid (over the cap, late, unattributed) is in neither side.
type Money struct {
	Currency       string `json:"currency"`       // ISO 4217; empty when the postbacks carried none
	PartnerCount   int64  `json:"partner_count"`  // legitimate unique payable intents
	RecordedCount  int64  `json:"recorded_count"` // billable rows
	MissingCount   int64  `json:"missing_count"`
	SurplusCount   int64  `json:"surplus_count"`
	LeftOutCount   int64  `json:"left_out_count"`
	PartnerMicros  int64  `json:"partner_micros"`
	RecordedMicros int64  `json:"recorded_micros"`
	MissingMicros  int64  `json:"missing_micros"` // claimed, not recorded
	SurplusMicros  int64  `json:"surplus_micros"` // recorded, not claimed
	LeftOutMicros  int64  `json:"left_out_micros"`
}

// DiscrepancyMicros returns recorded − claimed: negative when money is missing
// in the books, positive when there is too much.
func (m Money) DiscrepancyMicros() int64 { return m.RecordedMicros - m.PartnerMicros }

// DiscrepancyRate returns (recorded − claimed) / claimed postbacks over all
// currencies: negative when postbacks are missing. It counts postbacks because
// money of different currencies cannot be added. Nil when none was claimed.
func DiscrepancyRate(money []Money) *float64 {
	var claimed, recorded int64
	for _, m := range money {
		claimed += m.PartnerCount
		recorded += m.RecordedCount
	}
	return ratioOf(recorded-claimed, claimed)
}

// ratioOf returns part/whole, nil when whole is 0.
func ratioOf(part, whole int64) *float64 {
	if whole == 0 {
		return nil
	}
	ratio := float64(part) / float64(whole)
	return &ratio
}

// known returns the count, 0 when it is not known.
func known(count *int64) int64 {
	if count == nil {
		return 0
	}
	return *count
}

// LostPostback is one lost legitimate intent with its timeline. Times are
// nanoseconds since the start of its round.
type LostPostback struct {
	RunNumber    uint64 `json:"run_number"`
	Index        int64  `json:"index"` // of the intent within its run number
	ClickID      string `json:"click_id"`
	TxID         string `json:"txid"`
	Event        string `json:"event"`
	Partner      string `json:"partner"`
	Fate         string `json:"fate"`   // FateLostAfterAck or FateLostAtPartner
	Reason       string `json:"reason"` // why it was lost at the partner; empty for FateLostAfterAck
	DueNs        int64  `json:"due_ns"`
	DispatchedNs *int64 `json:"dispatched_ns"` // of the first attempt; nil: never sent
	AckNs        *int64 `json:"ack_ns"`        // end of the first acked attempt; nil: never acked
	EndNs        *int64 `json:"end_ns"`        // of the last attempt; nil: never sent
	LastStatus   int    `json:"last_status"`   // 0: no HTTP answer
	LastOutcome  string `json:"last_outcome"`  // of the last attempt; empty: not known
	Attempts     int    `json:"attempts"`
	PayoutMicros int64  `json:"payout_micros"`
	Currency     string `json:"currency"`
}
