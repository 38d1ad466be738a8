<?php

declare(strict_types=1);

namespace App\Postback;

use App\Http\Arrival;
use App\Http\Timing;

/**
 * /pb/signed: exactly these parameters, each once, sig last, printable ASCII.
 * Nothing is believed before the signature is checked.
 */
final class SignedReader implements Reader
{
    private const NAMES = ['click_id', 'txid', 'offer_id', 'event', 'payout', 'currency', 'kid', 'ts', 'sig'];
    private const SHOWN_BYTES = 32; // of an unknown name

    public function __construct(private readonly Keyring $keyring)
    {
    }

    public function read(Arrival $arrival, Timing $timing): Postback
    {
        try {
            $postback = $this->parse($arrival->query);
        } finally {
            $timing->mark('parse');
        }
        $genuine = $this->keyring->verify($arrival, $postback);
        $timing->mark('verify');
        if (! $genuine) {
            throw Refusal::signature();
        }
        Limits::checkAge($postback->tsUnixS, $arrival->receivedUnixS());

        return $postback;
    }

    private function parse(string $query): Postback
    {
        $postback = new Postback();
        $seen = [];
        foreach (RawQuery::pairs($query) as [$name, $value, $hasValue]) {
            if (! in_array($name, self::NAMES, true)) {
                throw $this->unknown($name);
            }
            try {
                $this->accept($postback, $seen, $name, $value, $hasValue);
            } catch (Invalid $e) {
                throw Refusal::parameter($e->getMessage() === Invalid::SIG_NOT_LAST ? 'sig' : $name, $e);
            }
        }
        foreach (self::NAMES as $name) {
            if (! isset($seen[$name])) {
                throw Refusal::parameter($name, new Invalid(Invalid::MISSING));
            }
        }

        return $postback;
    }

    private function unknown(string $name): Refusal
    {
        return $name === '' ? Refusal::namelessParameter()
            : Refusal::parameter(substr($name, 0, self::SHOWN_BYTES), new Invalid(Invalid::UNKNOWN_NAME));
    }

    /** @param array<string, true> $seen */
    private function accept(Postback $postback, array &$seen, string $name, string $raw, bool $hasValue): void
    {
        if (isset($seen[$name])) {
            throw new Invalid(Invalid::TWICE);
        }
        if (isset($seen['sig'])) {
            throw new Invalid(Invalid::SIG_NOT_LAST);
        }
        if (! $hasValue) {
            throw Invalid::value('expected name=value');
        }
        $seen[$name] = true;
        if ($raw === '') {
            if ($name !== 'txid') {
                throw new Invalid(Invalid::MISSING);
            }
        } elseif ($name === 'sig') {
            // Not decoded: the signed part ends where these digits begin.
            $postback->sig = Signature::digits($raw, Signature::SHA256_BYTES)
                ?? throw Invalid::value('expected 64 lower-case hexadecimal digits');
        } else {
            $value = RawQuery::unescape($raw, Limits::ofValue($name), false);
            if (! Values::isPrintable($value)) {
                throw Invalid::value('expected printable ASCII');
            }
            $postback->set($name, $value);
        }
    }
}
