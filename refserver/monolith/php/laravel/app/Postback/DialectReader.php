<?php

declare(strict_types=1);

namespace App\Postback;

use App\Http\Arrival;
use App\Http\Timing;

/** /p/<partner>/…: as lenient as /pb, in the partner's words, signed in its way. */
final class DialectReader implements Reader
{
    private const TOKEN_BYTES = 16; // of the secret, that a token shows
    private const SIGNATURE_BYTES = [
        'none' => 0,
        'token' => self::TOKEN_BYTES,
        'hmac-sha256' => Signature::SHA256_BYTES,
        'hmac-sha1' => Signature::SHA1_BYTES,
        'md5' => Signature::MD5_BYTES,
    ];

    /** @param Dialect|null $dialect null is a partner that nobody knows: to it, it looks like a wrong signature */
    public function __construct(private readonly ?Dialect $dialect, private readonly bool $signedOnly)
    {
    }

    public function read(Arrival $arrival, Timing $timing): Postback
    {
        $dialect = $this->dialect ?? throw Refusal::signature();
        try {
            if ($this->signedOnly && $dialect->auth === 'none') {
                throw Refusal::unsigned();
            }
            $postback = $this->parse($dialect, $arrival->query);
        } finally {
            $timing->mark('parse');
        }
        $genuine = $this->verify($dialect, $arrival, $postback);
        $timing->mark('verify');
        if (! $genuine) {
            throw Refusal::signature();
        }
        if ($dialect->auth === 'hmac-sha256') {
            Limits::checkAge($postback->tsUnixS, $arrival->receivedUnixS());
        }

        return $postback;
    }

    private function parse(Dialect $dialect, string $query): Postback
    {
        if (! RawQuery::isWellEscaped($query)) {
            throw Refusal::badEscape();
        }
        $postback = new Postback();
        if ($dialect->auth !== 'none' && $dialect->auth !== 'hmac-sha256') {
            $postback->kid = $dialect->partner;
        }
        $seen = [];
        foreach (RawQuery::pairs($query) as [$theirName, $raw]) {
            $name = $dialect->ourName($theirName);
            if ($name === null) {
                continue;
            }
            if (isset($seen[$name])) {
                throw Refusal::parameter($dialect->theirName($name), new Invalid(Invalid::TWICE));
            }
            $seen[$name] = true;
            try {
                $this->set($dialect, $postback, $name, $raw);
            } catch (Invalid $e) {
                throw Refusal::parameter($dialect->theirName($name), $e);
            }
        }
        if ($postback->clickId === '') {
            throw Refusal::parameter($dialect->theirName('click_id'), new Invalid(Invalid::MISSING));
        }
        $this->checkText($postback);

        return $postback;
    }

    private function set(Dialect $dialect, Postback $postback, string $name, string $raw): void
    {
        if ($name === 'sig' || $name === 'token') {
            $postback->sig = Signature::digits($raw, self::SIGNATURE_BYTES[$dialect->auth]) ?? '';

            return;
        }
        $value = RawQuery::unescape($raw, Limits::ofValue($name), true);
        if ($value === '') {
            return;
        }
        if ($name === 'event') {
            $postback->event = $dialect->event($value);
        } else {
            $postback->set($name, $value);
        }
    }

    private function checkText(Postback $postback): void
    {
        $texts = ['click_id' => $postback->clickId, 'txid' => $postback->txId, 'offer_id' => $postback->offerId, 'kid' => $postback->kid];
        foreach ($texts as $name => $text) {
            if (! Values::isText($text)) {
                throw Refusal::parameter($name, new Invalid(Invalid::NOT_TEXT));
            }
        }
    }

    /** Compares in constant time; digits that are missing or malformed are no signature. */
    private function verify(Dialect $dialect, Arrival $arrival, Postback $postback): bool
    {
        if ($dialect->auth === 'none') {
            return true;
        }
        $claimed = $dialect->hasTokenInPath()
            ? Signature::digits($dialect->tokenIn($arrival->path), self::TOKEN_BYTES) ?? ''
            : $postback->sig;
        if ($claimed === '') {
            return false;
        }

        return match ($dialect->auth) {
            'token' => hash_equals(bin2hex(substr($dialect->secret, 0, self::TOKEN_BYTES)), $claimed),
            'hmac-sha256' => Signature::isPb1($arrival->method, $arrival->path, $arrival->query, $claimed, $dialect->secret)
                && $postback->kid === $dialect->partner,
            'hmac-sha1' => $this->isSha1($dialect, $arrival, $claimed),
            'md5' => hash_equals(md5($this->digestInput($dialect, $arrival->query)), $claimed),
        };
    }

    /** Over the raw target, up to the signature at its end. */
    private function isSha1(Dialect $dialect, Arrival $arrival, string $claimed): bool
    {
        $suffix = "&$dialect->authParam=";
        $signedBytes = strlen($arrival->query) - strlen($suffix) - 2 * Signature::SHA1_BYTES;
        if ($signedBytes < 0 || substr($arrival->query, $signedBytes, strlen($suffix)) !== $suffix) {
            return false;
        }
        $signed = $arrival->path.'?'.substr($arrival->query, 0, $signedBytes);

        return hash_equals(hash_hmac('sha1', $signed, $dialect->secret), $claimed);
    }

    /**
     * The values as they were sent, which a Postback no longer has: "12.50" and
     * "12.5" are the same money, not the same digest.
     */
    private function digestInput(Dialect $dialect, string $query): string
    {
        $input = '';
        foreach ($dialect->digest as $i => $piece) {
            $input .= $i % 2 === 0 ? $piece : $this->sentValue($dialect, $query, $piece);
        }

        return $input.bin2hex($dialect->secret);
    }

    private function sentValue(Dialect $dialect, string $query, string $wanted): string
    {
        foreach (RawQuery::pairs($query) as [$theirName, $raw]) {
            if ($dialect->ourName($theirName) === $wanted) {
                return urldecode($raw);
            }
        }

        return '';
    }
}
