<?php

declare(strict_types=1);

namespace App\Postback;

/** Amounts as integers, in millionths of a currency unit: never a float. */
final class Money
{
    private const DECIMALS = 6;
    private const MAX_TENTH = 922_337_203_685_477_580; // of 2^63, rounded down

    /**
     * Reads an optional minus sign, digits and optionally a point with up to six
     * digits behind it. It never rounds.
     */
    public static function parse(string $text): int
    {
        $negative = str_starts_with($text, '-');
        $digits = $negative ? substr($text, 1) : $text;
        $lastDigit = $negative ? 8 : 7; // of the greatest amount
        // Counted downwards: the smallest integer has no positive counterpart.
        $minus = 0;
        $decimals = -1; // no point seen yet
        foreach (str_split($digits) as $i => $c) {
            if ($c === '.' && $decimals < 0 && $i > 0) {
                $decimals = 0;
                continue;
            }
            if ($c === ',') {
                throw self::invalid('write the decimal point as a point, not as a comma');
            }
            if (! ctype_digit($c)) {
                throw self::syntax();
            }
            if ($decimals === self::DECIMALS) {
                throw self::invalid('more than '.self::DECIMALS.' decimals');
            }
            self::checkRoom($minus, (int) $c, $lastDigit);
            $minus = $minus * 10 - (int) $c;
            $decimals += $decimals >= 0 ? 1 : 0;
        }
        if ($digits === '' || $decimals === 0) {
            throw self::syntax();
        }
        for ($missing = self::DECIMALS - max($decimals, 0); $missing > 0; $missing--) {
            self::checkRoom($minus, 0, $lastDigit);
            $minus *= 10;
        }

        return $negative ? $minus : -$minus;
    }

    private static function checkRoom(int $minus, int $digit, int $lastDigit): void
    {
        $limit = -self::MAX_TENTH + ($digit > $lastDigit ? 1 : 0);
        if ($minus < $limit) {
            throw self::invalid('beyond ±9223372036854.775807');
        }
    }

    private static function syntax(): Invalid
    {
        return self::invalid('digits, at most one point, a minus sign in front');
    }

    private static function invalid(string $why): Invalid
    {
        return Invalid::value("not an amount such as 12.5 ($why)");
    }
}
