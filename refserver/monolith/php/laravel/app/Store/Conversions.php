<?php

declare(strict_types=1);

namespace App\Store;

use App\Http\Arrival;
use App\Http\Timing;
use App\Postback\Postback;
use App\Postback\Refusal;
use Illuminate\Database\Connection;
use Illuminate\Database\DetectsConcurrencyErrors;
use Throwable;

/**
 * The conversions in MariaDB. Identity and cap counter are read in statements
 * of their own before the transaction that inserts, as ordinary code does: an
 * identity is recorded once all the same, since the unique key has the last
 * word, but conversions that race can pass the cap.
 */
final class Conversions
{
    use DetectsConcurrencyErrors;

    private const ATTEMPTS = 5; // at a transaction that lost against others

    // MariaDB shows a commit to others before it is on the disk. Below this age an
    // original may not be there yet; the server syncs its log once a second in any case.
    private const SYNC_DOUBT_NS = 10_000_000_000;
    private const SYNC_SLOTS = 16; // workers that sync at the same time seldom wait for each other

    private const SELECT_EXISTING = 'SELECT claimed_offer_id, payout, currency, recorded_unix_ns FROM conversions WHERE click_id = ? AND txid = ? AND event = ?';

    private const SELECT_OFFER = 'SELECT o.cap, COALESCE(n.billable, 0) AS billable, o.attribution_window_s, o.cap_window_s
        FROM offers o LEFT JOIN cap_counters n ON n.offer_id = o.offer_id AND n.cap_window_s = o.cap_window_s
            AND n.cap_window = CASE o.cap_window_s WHEN 0 THEN 0 ELSE ? DIV o.cap_window_s END
        WHERE o.offer_id = ?';

    private const BUMP_COUNTER = 'INSERT INTO cap_counters (offer_id, cap_window_s, cap_window, billable) VALUES (?, ?, ?, 1)
        ON DUPLICATE KEY UPDATE billable = billable + 1';

    // A row that is there already is left as it is, and 0 rows are affected.
    private const INSERT_CONVERSION = 'INSERT INTO conversions
        (click_id, txid, event, verdict, offer_id, claimed_offer_id, payout, currency, received_unix_ns, recorded_unix_ns, cap_window_s)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON DUPLICATE KEY UPDATE id = id';

    private const INSERT_CONFLICT = 'INSERT INTO conflicts
        (click_id, txid, event, offer_id, claimed_offer_id, payout, currency, received_unix_ns, recorded_unix_ns)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON DUPLICATE KEY UPDATE id = id';

    // A change of any row makes the server sync its log, with all earlier commits.
    private const SYNC = 'INSERT INTO syncs (slot, n) VALUES (?, 1) ON DUPLICATE KEY UPDATE n = n + 1';

    private bool $isInDoubt = false; // the original that was found may not be on the disk

    public function __construct(private readonly Connection $db)
    {
    }

    /** When it returns, the row (of a repetition: the original) is on the disk. */
    public function commit(Postback $postback, ?Click $click, int $receivedUnixNs, Timing $timing): Outcome
    {
        [$verdict, $offer] = $this->check($postback, $click, $receivedUnixNs);
        $timing->mark('cap');
        try {
            if ($verdict === Verdict::Duplicate) {
                $outcome = new Outcome($verdict, true);
            } else {
                $row = new Row($postback, $click, $offer, $receivedUnixNs);
                $outcome = $this->db->transaction(fn (): Outcome => $this->record($row, $verdict), self::ATTEMPTS);
            }
            if ($outcome->repeated && $this->isInDoubt) {
                $this->db->affectingStatement(self::SYNC, [getmypid() % self::SYNC_SLOTS]);
            }

            return $outcome;
        } catch (Throwable $e) {
            throw $this->causedByConcurrencyError($e) ? Refusal::busy('insert conversion') : $e;
        } finally {
            $timing->mark('insert');
        }
    }

    /** @return array{Verdict, Offer} the two reads, and what follows from them */
    private function check(Postback $postback, ?Click $click, int $receivedUnixNs): array
    {
        $existing = $this->existing($postback);
        if ($existing !== null) {
            return [$existing, new Offer()];
        }
        $offer = new Offer();
        if ($click !== null) {
            $found = $this->db->selectOne(self::SELECT_OFFER, [intdiv($receivedUnixNs, 1_000_000_000), $click->offerId]);
            if ($found !== null) { // an offer nobody loaded has no cap
                $offer = new Offer((int) $found->cap, (int) $found->billable, (int) $found->attribution_window_s, (int) $found->cap_window_s);
            }
        }

        return [Verdict::ofNew($postback, $receivedUnixNs, $click, $offer), $offer];
    }

    /** Duplicate, conflict, or null for an identity that is new. */
    private function existing(Postback $postback): ?Verdict
    {
        $found = $this->db->selectOne(self::SELECT_EXISTING, [$postback->clickId, $postback->txId, $postback->event]);
        if ($found === null) {
            return null;
        }
        $this->isInDoubt = Arrival::nowUnixNs() - (int) $found->recorded_unix_ns < self::SYNC_DOUBT_NS;
        $same = $found->claimed_offer_id === $postback->offerId && (int) $found->payout === $postback->payout
            && $found->currency === $postback->currency;

        return $same ? Verdict::Duplicate : Verdict::Conflict;
    }

    /**
     * Writes the row as decided. If another request has taken the identity since
     * the check, the unique key says so, and the verdict becomes duplicate or conflict.
     */
    private function record(Row $row, Verdict $verdict): Outcome
    {
        $nowNs = Arrival::nowUnixNs();
        if ($verdict !== Verdict::Conflict) {
            if ($this->db->affectingStatement(self::INSERT_CONVERSION, $row->conversion($verdict, $nowNs)) > 0) {
                if ($verdict === Verdict::Billable) {
                    $this->db->affectingStatement(self::BUMP_COUNTER, $row->counter());
                }

                return new Outcome($verdict, false);
            }
            if ($this->existing($row->postback) === Verdict::Duplicate) {
                return new Outcome(Verdict::Duplicate, true);
            }
        }
        $written = $this->db->affectingStatement(self::INSERT_CONFLICT, $row->conflict($nowNs)) > 0;
        $this->isInDoubt = ! $written; // how old the one is that was kept, nobody has read

        return new Outcome(Verdict::Conflict, ! $written);
    }
}
