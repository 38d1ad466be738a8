<?php

declare(strict_types=1);

namespace App\Store;

/** An offer at the moment of the decision. The default is one without cap and window. */
final class Offer
{
    public function __construct(
        public readonly int $cap = 0, // conversions; 0 means none
        public readonly int $billable = 0, // conversions billed so far, in the cap window
        public readonly int $attributionWindowS = 0, // after the click; 0 means none
        public readonly int $capWindowS = 0, // 0: the cap counts the whole life
    ) {
    }

    public function isClosed(): bool
    {
        return $this->cap > 0 && $this->billable >= $this->cap;
    }

    /** The number of the cap window that a time of receipt falls into. */
    public function capWindow(int $receivedUnixNs): int
    {
        return $this->capWindowS <= 0 ? 0 : intdiv(intdiv($receivedUnixNs, 1_000_000_000), $this->capWindowS);
    }
}
