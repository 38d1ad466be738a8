<?php

declare(strict_types=1);

namespace App\Postback;

/** How requests are signed. Digits are lower-case hexadecimal. */
final class Signature
{
    public const SHA256_BYTES = 32;
    public const SHA1_BYTES = 20;
    public const MD5_BYTES = 16;

    /** The digits of that many bytes, or null if it is anything else. */
    public static function digits(string $text, int $bytes): ?string
    {
        return strlen($text) === 2 * $bytes && strspn($text, '0123456789abcdef') === strlen($text) ? $text : null;
    }

    /** Checks "&sig=" and its digits at the end of the query (pb1), in constant time. */
    public static function isPb1(string $method, string $path, string $query, string $claimed, string $secret): bool
    {
        $signedBytes = strlen($query) - strlen('&sig=') - 2 * self::SHA256_BYTES;
        if ($signedBytes < 0 || substr($query, $signedBytes, strlen('&sig=')) !== '&sig=') {
            return false;
        }
        $text = "pb1\n$method\n$path\n".substr($query, 0, $signedBytes);

        return hash_equals(hash_hmac('sha256', $text, $secret), $claimed);
    }
}
