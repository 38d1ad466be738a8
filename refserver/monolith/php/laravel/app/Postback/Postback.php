<?php

declare(strict_types=1);

namespace App\Postback;

/** A postback as it was read. Its identity is click_id, txid and event. */
final class Postback
{
    public string $clickId = '';
    public string $txId = '';
    public string $offerId = ''; // as the partner says; the click's own offer counts
    public string $event = ''; // '' is "not given"
    public int $payout = 0; // millionths
    public string $currency = ''; // '' is "not given"
    public string $kid = '';
    public int $tsUnixS = 0;
    public string $sig = ''; // hexadecimal, as claimed: worth nothing before it is verified

    /** A reversal takes back what came before, or will come. */
    public function reverses(): bool
    {
        return $this->event === 'rejected' || $this->event === 'refund';
    }

    /** Sets one of our parameters from its decoded value, which is not empty. */
    public function set(string $name, string $value): void
    {
        match ($name) {
            'click_id' => $this->clickId = $value,
            'txid' => $this->txId = $value,
            'offer_id' => $this->offerId = $value,
            'kid' => $this->kid = $value,
            'event' => $this->event = Values::event($value, 'expected lead, sale, rejected, refund or rebill'),
            'payout' => $this->payout = Money::parse($value),
            'currency' => $this->currency = Values::currency($value),
            'ts' => $this->tsUnixS = Values::ts($value),
        };
    }
}
