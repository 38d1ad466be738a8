<?php

declare(strict_types=1);

namespace App\Store;

/** What Conversions did with a postback. */
final class Outcome
{
    /** @param bool $repeated nothing was written: the same had been recorded before */
    public function __construct(public readonly Verdict $verdict, public readonly bool $repeated)
    {
    }
}
