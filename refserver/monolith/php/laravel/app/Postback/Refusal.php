<?php

declare(strict_types=1);

namespace App\Postback;

use Exception;

/** A postback that is not taken: the status of the answer, and its line. */
final class Refusal extends Exception
{
    private function __construct(public readonly int $status, string $line)
    {
        parent::__construct($line);
    }

    public static function method(): self
    {
        return new self(405, 'method not allowed here');
    }

    public static function body(): self
    {
        return new self(400, 'a postback carries no body');
    }

    public static function queryTooLong(): self
    {
        return new self(414, 'too long');
    }

    public static function unsigned(): self
    {
        return new self(403, 'unsigned postbacks are not taken here, use /pb/signed');
    }

    /** A wrong signature and an unknown key look the same from outside. */
    public static function signature(): self
    {
        return new self(403, 'postback: signature refused');
    }

    public static function stale(): self
    {
        return new self(403, 'ts is more than 48 h in the past or 5 min in the future');
    }

    public static function badEscape(): self
    {
        return new self(400, 'postback: query: '.Invalid::BAD_ESCAPE);
    }

    public static function namelessParameter(): self
    {
        return new self(400, 'postback: parameter without a name: '.Invalid::UNKNOWN_NAME);
    }

    /** @param string $name the sender's bytes if it is unknown */
    public static function parameter(string $name, Invalid $why): self
    {
        return new self($why->tooLong ? 414 : 400, 'postback: parameter '.Quoted::bytes($name).': '.$why->getMessage());
    }

    /** A store that did not get to it in time; nothing was written. */
    public static function busy(string $operation): self
    {
        return new self(503, $operation.': store is busy');
    }
}
