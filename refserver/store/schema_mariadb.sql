-- The tables of schema.sql, column by column. Text is VARBINARY because
-- identity is byte-exact: the collations that all versions know ignore case or
-- trailing blanks. Its sizes are those of internal/postback, in bytes.

CREATE TABLE IF NOT EXISTS clicks (
	click_id       VARBINARY(128) NOT NULL PRIMARY KEY,
	offer_id       VARBINARY(64) NOT NULL,
	clicked_unix_s BIGINT NOT NULL
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS offers (
	offer_id             VARBINARY(64) NOT NULL PRIMARY KEY,
	cap                  BIGINT NOT NULL,
	payout               BIGINT NOT NULL,
	currency             VARBINARY(3) NOT NULL,
	attribution_window_s BIGINT NOT NULL,
	cap_window_s         BIGINT NOT NULL
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS cap_counters (
	offer_id     VARBINARY(64) NOT NULL,
	cap_window_s BIGINT NOT NULL,
	cap_window   BIGINT NOT NULL,
	billable     BIGINT NOT NULL,
	PRIMARY KEY (offer_id, cap_window_s, cap_window)
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS `keys` (
	kid    VARBINARY(32) NOT NULL PRIMARY KEY,
	secret VARBINARY(4096) NOT NULL
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS conversions (
	id               BIGINT NOT NULL PRIMARY KEY AUTO_INCREMENT,
	click_id         VARBINARY(128) NOT NULL,
	txid             VARBINARY(128) NOT NULL,
	event            VARBINARY(16) NOT NULL,
	verdict          VARBINARY(16) NOT NULL,
	offer_id         VARBINARY(64) NOT NULL,
	claimed_offer_id VARBINARY(64) NOT NULL,
	payout           BIGINT NOT NULL,
	currency         VARBINARY(3) NOT NULL,
	received_unix_ns BIGINT NOT NULL,
	recorded_unix_ns BIGINT NOT NULL,
	cap_window_s     BIGINT NOT NULL,
	UNIQUE KEY identity (click_id, txid, event)
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS conflicts (
	id               BIGINT NOT NULL PRIMARY KEY AUTO_INCREMENT,
	click_id         VARBINARY(128) NOT NULL,
	txid             VARBINARY(128) NOT NULL,
	event            VARBINARY(16) NOT NULL,
	offer_id         VARBINARY(64) NOT NULL,
	claimed_offer_id VARBINARY(64) NOT NULL,
	payout           BIGINT NOT NULL,
	currency         VARBINARY(3) NOT NULL,
	received_unix_ns BIGINT NOT NULL,
	recorded_unix_ns BIGINT NOT NULL,
	UNIQUE KEY payload (click_id, txid, event, claimed_offer_id, payout, currency)
) ENGINE = InnoDB;

-- Nothing is kept here: a change of a row makes the database sync its log, with
-- all that was committed before.
CREATE TABLE IF NOT EXISTS syncs (
	slot BIGINT NOT NULL PRIMARY KEY,
	n    BIGINT NOT NULL
) ENGINE = InnoDB
