package store

import "strings"

// dialect is what differs between the databases that the SQL store runs on.
type dialect struct {
	// divide is the division of integers that rounds down.
	divide string
	// orAddOne and orKeep end an INSERT whose unique key may be taken: count
	// one more in that row; leave that row alone and change nothing.
	orAddOne, orKeep string
	// lock ends a SELECT whose rows the transaction keeps for itself. It is
	// empty where a transaction has the whole database for itself.
	lock string
	// rowLocks says that transactions run side by side and may wait for each
	// other's rows, so that ctx must be able to end a wait within one.
	rowLocks bool
	// touch is a write that syncs all earlier commits; empty where a commit is
	// synced before others see it. It takes a number below syncRows.
	touch string
	// loadRows is how many rows one statement of a bulk load carries.
	loadRows int
	// afterLoad is executed after a bulk load, if not empty.
	afterLoad string
}

// The name "keys" is quoted because MariaDB reserves the word; SQLite reads
// these quotes too.
const (
	selectClick = `SELECT offer_id, clicked_unix_s FROM clicks WHERE click_id = ?`

	selectKeys = "SELECT kid, secret FROM `keys` ORDER BY kid"

	selectExisting = `SELECT claimed_offer_id, payout, currency, recorded_unix_ns
		FROM conversions WHERE click_id = ? AND txid = ? AND event = ?`

	// Pages by id hold every row that was committed before: its id does not
	// change, and each page sees it. Rows that commit meanwhile may have lower
	// ids than rows read already, where transactions run side by side.
	selectConversions = `SELECT id, click_id, txid, event, verdict, offer_id, payout, currency, recorded_unix_ns, received_unix_ns, cap_window_s
		FROM conversions WHERE id > ? ORDER BY id LIMIT ?`

	selectConflicts = `SELECT id, click_id, txid, event, 'conflict', offer_id, payout, currency, recorded_unix_ns, received_unix_ns, 0
		FROM conflicts WHERE id > ? ORDER BY id LIMIT ?`
)

// selectOffer takes the second of receipt, see CapWindow, and the offer.
func (d *dialect) selectOffer() string {
	return `SELECT o.cap, coalesce(n.billable, 0), o.attribution_window_s, o.cap_window_s
		FROM offers o LEFT JOIN cap_counters n ON n.offer_id = o.offer_id AND n.cap_window_s = o.cap_window_s
			AND n.cap_window = CASE o.cap_window_s WHEN 0 THEN 0 ELSE ? ` + d.divide + ` o.cap_window_s END
		WHERE o.offer_id = ?`
}

// lockOffer is selectOffer that keeps offer and counter until the transaction
// ends. The offer is locked first, and the counter read after that, so that it
// counts too where there is no counter yet.
func (d *dialect) lockOffer() string { return d.selectOffer() + d.lock }

func (d *dialect) bumpCounter() string {
	return `INSERT INTO cap_counters (offer_id, cap_window_s, cap_window, billable) VALUES (?, ?, ?, 1) ` + d.orAddOne
}

func (d *dialect) insertConversion() string {
	return `INSERT INTO conversions
		(click_id, txid, event, verdict, offer_id, claimed_offer_id, payout, currency, received_unix_ns, recorded_unix_ns, cap_window_s)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ` + d.orKeep
}

func (d *dialect) insertConflict() string {
	return `INSERT INTO conflicts
		(click_id, txid, event, offer_id, claimed_offer_id, payout, currency, received_unix_ns, recorded_unix_ns)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ` + d.orKeep
}

// replace stores that many rows; a row whose key exists takes its place.
func (t table) replace(rows int) string {
	row := "(?" + strings.Repeat(", ?", t.columns-1) + ")"
	return "REPLACE INTO " + t.into + " VALUES " + row + strings.Repeat(", "+row, rows-1)
}
