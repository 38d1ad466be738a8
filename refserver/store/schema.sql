CREATE TABLE clicks (
	click_id       TEXT NOT NULL PRIMARY KEY,
	offer_id       TEXT NOT NULL,
	clicked_unix_s INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE offers (
	offer_id             TEXT NOT NULL PRIMARY KEY,
	cap                  INTEGER NOT NULL,
	payout               INTEGER NOT NULL, -- millionths
	currency             TEXT NOT NULL,
	attribution_window_s INTEGER NOT NULL,
	cap_window_s         INTEGER NOT NULL -- 0: the cap counts the whole life
) WITHOUT ROWID;

-- Billable conversions by offer and cap window. A window's number is the
-- second of receipt / cap_window_s, rounded down: it begins at a whole multiple
-- of cap_window_s since the Unix epoch. Of the whole life it is 0.
CREATE TABLE cap_counters (
	offer_id     TEXT NOT NULL,
	cap_window_s INTEGER NOT NULL,
	cap_window   INTEGER NOT NULL,
	billable     INTEGER NOT NULL,
	PRIMARY KEY (offer_id, cap_window_s, cap_window)
) WITHOUT ROWID;

CREATE TABLE keys (
	kid    TEXT NOT NULL PRIMARY KEY,
	secret BLOB NOT NULL
) WITHOUT ROWID;

-- The dedup set is this table: its window is the life of the record.
CREATE TABLE conversions (
	id               INTEGER PRIMARY KEY,
	click_id         TEXT NOT NULL,
	txid             TEXT NOT NULL,
	event            TEXT NOT NULL,
	verdict          TEXT NOT NULL,
	offer_id         TEXT NOT NULL, -- the click's offer
	claimed_offer_id TEXT NOT NULL, -- what the postback said
	payout           INTEGER NOT NULL, -- millionths
	currency         TEXT NOT NULL,
	received_unix_ns INTEGER NOT NULL,
	recorded_unix_ns INTEGER NOT NULL,
	cap_window_s     INTEGER NOT NULL, -- of the offer when this was decided
	UNIQUE (click_id, txid, event)
);

-- Same identity as a conversion, other payload: each payload is kept once.
CREATE TABLE conflicts (
	id               INTEGER PRIMARY KEY,
	click_id         TEXT NOT NULL,
	txid             TEXT NOT NULL,
	event            TEXT NOT NULL,
	offer_id         TEXT NOT NULL,
	claimed_offer_id TEXT NOT NULL,
	payout           INTEGER NOT NULL,
	currency         TEXT NOT NULL,
	received_unix_ns INTEGER NOT NULL,
	recorded_unix_ns INTEGER NOT NULL,
	UNIQUE (click_id, txid, event, claimed_offer_id, payout, currency)
);
