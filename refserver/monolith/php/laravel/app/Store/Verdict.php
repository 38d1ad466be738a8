<?php

declare(strict_types=1);

namespace App\Store;

use App\Postback\Postback;

/** What becomes of a postback, as the ledger spells it. */
enum Verdict: string
{
    case Billable = 'billable';
    case NonBillable = 'non_billable'; // pays nothing
    case Reversal = 'reversal'; // stands even before its sale
    case OverCap = 'over_cap';
    case Unattributed = 'unattributed'; // no such click
    case Late = 'late'; // after the attribution window: recorded, unpaid
    case Duplicate = 'duplicate'; // same identity, same payload: nothing new to record
    case Conflict = 'conflict'; // same identity, other payload: kept and flagged

    /**
     * Decides on a postback whose identity is new; the order of the rules is
     * part of the contract.
     */
    public static function ofNew(Postback $postback, int $receivedUnixNs, ?Click $click, Offer $offer): self
    {
        return match (true) {
            $click === null => self::Unattributed,
            $postback->reverses() => self::Reversal,
            self::isLate($receivedUnixNs, $click, $offer) => self::Late,
            $postback->payout <= 0 => self::NonBillable,
            $offer->isClosed() => self::OverCap,
            default => self::Billable,
        };
    }

    /** A fraction of a second beyond the window is late, too. */
    private static function isLate(int $receivedUnixNs, Click $click, Offer $offer): bool
    {
        if ($offer->attributionWindowS <= 0) {
            return false;
        }
        $ageS = intdiv($receivedUnixNs, 1_000_000_000) - $click->clickedUnixS;

        return $ageS > $offer->attributionWindowS
            || $ageS === $offer->attributionWindowS && $receivedUnixNs % 1_000_000_000 > 0;
    }
}
