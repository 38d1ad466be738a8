<?php

declare(strict_types=1);

namespace App\Postback;

/** Reads single values, decoded and not empty. */
final class Values
{
    public const EVENTS = ['lead', 'sale', 'rejected', 'refund', 'rebill'];

    public static function event(string $value, string $expected): string
    {
        return in_array($value, self::EVENTS, true) ? $value : throw Invalid::value($expected);
    }

    /** Any three upper-case letters: the list of assigned codes changes under us. */
    public static function currency(string $value): string
    {
        return preg_match('/\A[A-Z]{3}\z/', $value) === 1
            ? $value : throw Invalid::value('not a currency such as EUR (three upper-case letters, ISO 4217)');
    }

    /** Unix seconds. */
    public static function ts(string $value): int
    {
        if (preg_match('/\A[1-9][0-9]*\z/', $value) === 1) {
            $ts = filter_var($value, FILTER_VALIDATE_INT); // false beyond 64 bits
            if ($ts !== false) {
                return $ts;
            }
        }
        throw Invalid::value('expected unix seconds, a positive integer without leading zeros');
    }

    /** Printable ASCII, from space to tilde. */
    public static function isPrintable(string $value): bool
    {
        return preg_match('/\A[ -~]*\z/', $value) === 1;
    }

    /** UTF-8 without control characters and without the mark of a failed decoding. */
    public static function isText(string $value): bool
    {
        return preg_match('/\A[^\x00-\x1f\x7f\x{FFFD}]*\z/u', $value) === 1;
    }
}
