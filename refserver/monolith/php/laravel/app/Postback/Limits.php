<?php

declare(strict_types=1);

namespace App\Postback;

/** The longest values, in bytes once decoded, and the age of a signature. */
final class Limits
{
    public const QUERY_BYTES = 2048; // raw
    public const SHORT_BYTES = 32; // every value that has no limit of its own
    public const BYTES = ['click_id' => 128, 'txid' => 128, 'offer_id' => 64, 'kid' => 32];

    private const MAX_PAST_S = 48 * 3600; // partners send old URLs again for hours
    private const MAX_FUTURE_S = 5 * 60;

    public static function ofValue(string $name): int
    {
        return self::BYTES[$name] ?? self::SHORT_BYTES;
    }

    public static function checkAge(int $tsUnixS, int $receivedUnixS): void
    {
        $ageS = $receivedUnixS - $tsUnixS;
        if ($ageS > self::MAX_PAST_S || $ageS < -self::MAX_FUTURE_S) {
            throw Refusal::stale();
        }
    }
}
