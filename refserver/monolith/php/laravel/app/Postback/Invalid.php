<?php

declare(strict_types=1);

namespace App\Postback;

use Exception;

/** What is wrong with one value; Refusal::parameter() adds whose it is. */
final class Invalid extends Exception
{
    public const MISSING = 'missing or empty';
    public const TWICE = 'given more than once';
    public const BAD_ESCAPE = 'bad escape, expected % and two hexadecimal digits';
    public const UNKNOWN_NAME = 'not allowed here, expected click_id txid offer_id event payout currency kid ts sig';
    public const SIG_NOT_LAST = 'must be the last parameter';
    public const NOT_TEXT = 'not printable UTF-8 text';
    public const NEGATIVE = 'negative payout, only a reversal takes money back';

    public function __construct(string $reason, public readonly bool $tooLong = false)
    {
        parent::__construct($reason);
    }

    public static function value(string $expected): self
    {
        return new self('bad value: '.$expected);
    }

    public static function tooLong(?int $maxBytes = null): self
    {
        return new self('too long'.($maxBytes === null ? '' : ": at most $maxBytes bytes once decoded"), true);
    }
}
