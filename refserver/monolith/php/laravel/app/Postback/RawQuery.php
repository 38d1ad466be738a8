<?php

declare(strict_types=1);

namespace App\Postback;

/** The bytes between "?" and the end of a request's target. */
final class RawQuery
{
    private const HEX = '0123456789abcdefABCDEF';

    /**
     * The pairs as they were sent, nothing decoded, empty ones included.
     *
     * @return list<array{string, string, bool}> name, value, whether there is a "="
     */
    public static function pairs(string $raw): array
    {
        if ($raw === '') {
            return [];
        }
        $pairs = [];
        foreach (explode('&', $raw) as $pair) {
            $parts = explode('=', $pair, 2);
            $pairs[] = [$parts[0], $parts[1] ?? '', isset($parts[1])];
        }

        return $pairs;
    }

    /**
     * Decodes %XX and, if it means a space, "+".
     *
     * @throws Invalid for a bad escape or too long a value, whichever comes first
     */
    public static function unescape(string $raw, int $maxBytes, bool $plusIsSpace): string
    {
        $plain = strcspn($raw, '%+');
        if ($plain > $maxBytes) {
            throw Invalid::tooLong($maxBytes);
        }
        $out = substr($raw, 0, $plain);
        for ($i = $plain, $end = strlen($raw); $i < $end; ) {
            $byte = $raw[$i++];
            if ($byte === '%') {
                if (strspn($raw, self::HEX, $i, 2) < 2) {
                    throw new Invalid(Invalid::BAD_ESCAPE);
                }
                $byte = chr((int) hexdec(substr($raw, $i, 2)));
                $i += 2;
            } elseif ($byte === '+') {
                $byte = $plusIsSpace ? ' ' : throw new Invalid(Invalid::BAD_ESCAPE);
            }
            if (strlen($out) === $maxBytes) {
                throw Invalid::tooLong($maxBytes);
            }
            $out .= $byte;
        }

        return $out;
    }

    /** Whether every "%" begins an escape. */
    public static function isWellEscaped(string $raw): bool
    {
        return preg_match('/%(?![0-9a-fA-F]{2})/', $raw) === 0;
    }
}
