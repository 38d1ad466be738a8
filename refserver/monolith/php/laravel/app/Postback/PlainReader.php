<?php

declare(strict_types=1);

namespace App\Postback;

use App\Http\Arrival;
use App\Http\Timing;

/** /pb: unsigned, in any order, unknown parameters ignored. */
final class PlainReader implements Reader
{
    public function __construct(private readonly bool $signedOnly)
    {
    }

    public function read(Arrival $arrival, Timing $timing): Postback
    {
        if ($this->signedOnly) {
            throw Refusal::unsigned();
        }
        try {
            return $this->parse($arrival->query);
        } finally {
            $timing->mark('parse');
        }
    }

    private function parse(string $query): Postback
    {
        $values = $this->values($query);
        $postback = new Postback();
        foreach (['click_id', 'txid', 'offer_id', 'event', 'payout', 'currency'] as $name) {
            try {
                $this->setOnce($postback, $name, $values[$name] ?? []);
            } catch (Invalid $e) {
                throw Refusal::parameter($name, $e);
            }
        }
        if ($postback->clickId === '') {
            throw Refusal::parameter('click_id', new Invalid(Invalid::MISSING));
        }

        return $postback;
    }

    /** @return array<string, list<string>> all values by name, decoded */
    private function values(string $query): array
    {
        // A semicolon separates for some and is a character for others.
        if (! RawQuery::isWellEscaped($query) || str_contains($query, ';')) {
            throw Refusal::badEscape();
        }
        $values = [];
        foreach (RawQuery::pairs($query) as [$name, $value]) {
            $values[urldecode($name)][] = urldecode($value);
        }

        return $values;
    }

    /** @param list<string> $values */
    private function setOnce(Postback $postback, string $name, array $values): void
    {
        if (count($values) > 1) {
            throw new Invalid(Invalid::TWICE); // either choice would be a guess about money
        }
        $value = $values[0] ?? '';
        if ($value === '') {
            return;
        }
        if (strlen($value) > Limits::ofValue($name)) {
            throw Invalid::tooLong();
        }
        if (! Values::isText($value)) {
            throw new Invalid(Invalid::NOT_TEXT);
        }
        if ($name === 'event') {
            $postback->event = Values::event($value, 'unknown event');
        } else {
            $postback->set($name, $value);
        }
    }
}
