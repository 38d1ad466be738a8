<?php

declare(strict_types=1);

namespace App\Postback;

/** Bytes of a stranger in double quotes, with escapes for what is not printable. */
final class Quoted
{
    private const SHORT = [
        '"' => '\\"', '\\' => '\\\\', "\x07" => '\a', "\x08" => '\b', "\f" => '\f', "\n" => '\n', "\r" => '\r', "\t" => '\t', "\v" => '\v',
    ];

    public static function bytes(string $bytes): string
    {
        $out = '';
        while ($bytes !== '') {
            $char = self::firstCharacter($bytes);
            $out .= $char === null ? sprintf('\x%02x', ord($bytes[0])) : self::character($char);
            $bytes = substr($bytes, strlen($char ?? ' '));
        }

        return '"'.$out.'"';
    }

    /** The first character; null if the bytes do not begin with valid UTF-8. */
    private static function firstCharacter(string $bytes): ?string
    {
        for ($length = 1; $length <= 4; $length++) {
            if (preg_match('/\A.\z/su', substr($bytes, 0, $length)) === 1) {
                return substr($bytes, 0, $length);
            }
        }

        return null;
    }

    private static function character(string $char): string
    {
        if (isset(self::SHORT[$char])) {
            return self::SHORT[$char];
        }
        if (preg_match('/\A[\p{L}\p{M}\p{N}\p{P}\p{S} ]\z/u', $char) === 1) {
            return $char;
        }
        $code = mb_ord($char, 'UTF-8');
        if ($code < 0x20 || $code === 0x7F) {
            return sprintf('\x%02x', $code);
        }

        return sprintf($code < 0x10000 ? '\u%04x' : '\U%08x', $code);
    }
}
