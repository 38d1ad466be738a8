<?php

declare(strict_types=1);

namespace App\Store;

/** A click that ClickHouse knows. */
final class Click
{
    public function __construct(public readonly string $offerId, public readonly int $clickedUnixS)
    {
    }
}
