<?php

declare(strict_types=1);

namespace App\Store;

use App\Postback\Postback;

/** A postback as the columns of the tables that it may go into. */
final class Row
{
    private readonly string $offerId; // a partner's claim never moves a conversion away from its click's offer

    public function __construct(
        public readonly Postback $postback,
        ?Click $click,
        private readonly Offer $offer,
        private readonly int $receivedUnixNs,
    ) {
        $this->offerId = $click === null ? $postback->offerId : $click->offerId;
    }

    /** @return list<string|int> */
    public function conversion(Verdict $verdict, int $recordedUnixNs): array
    {
        $p = $this->postback;

        return [
            $p->clickId, $p->txId, $p->event, $verdict->value, $this->offerId, $p->offerId, $p->payout, $p->currency,
            $this->receivedUnixNs, $recordedUnixNs, $this->offer->capWindowS,
        ];
    }

    /** @return list<string|int> */
    public function counter(): array
    {
        return [$this->offerId, $this->offer->capWindowS, $this->offer->capWindow($this->receivedUnixNs)];
    }

    /** @return list<string|int> */
    public function conflict(int $recordedUnixNs): array
    {
        $p = $this->postback;

        return [
            $p->clickId, $p->txId, $p->event, $this->offerId, $p->offerId, $p->payout, $p->currency,
            $this->receivedUnixNs, $recordedUnixNs,
        ];
    }
}
