<?php

declare(strict_types=1);

namespace App\Http\Controllers;

use App\Exceptions\Failures;
use App\Http\Answers;
use App\Http\Arrival;
use App\Http\Timing;
use App\Postback\DialectReader;
use App\Postback\Dialects;
use App\Postback\Invalid;
use App\Postback\Limits;
use App\Postback\PlainReader;
use App\Postback\Reader;
use App\Postback\Refusal;
use App\Postback\SignedReader;
use App\Store\Clicks;
use App\Store\Conversions;
use App\Store\Outcome;
use Illuminate\Http\Response;
use Throwable;

/** One postback from entry to answer: read, attribute, check, insert, answer. */
final class PostbackController
{
    public function __construct(
        private readonly Arrival $arrival,
        private readonly Timing $timing,
        private readonly Answers $answers,
        private readonly Clicks $clicks,
        private readonly Conversions $conversions,
        private readonly Failures $failures,
    ) {
        $timing->mark('php'); // loading the framework, up to here
    }

    public function plain(PlainReader $reader): Response
    {
        return $this->answer($reader, 'OK', 'DUP');
    }

    public function signed(SignedReader $reader): Response
    {
        return $this->answer($reader, 'OK', 'DUP');
    }

    public function dialect(Dialects $dialects): Response
    {
        $dialect = $dialects->find($this->arrival->path);
        $reader = new DialectReader($dialect, config('postbench.signed_only'));

        return $this->answer($reader, $dialect?->ok ?? 'OK', $dialect?->duplicate ?? 'DUP');
    }

    private function answer(Reader $reader, string $ok, string $duplicate): Response
    {
        try {
            $outcome = $this->take($reader);

            return $this->answers->taken($outcome->repeated ? $duplicate : $ok);
        } catch (Refusal $refusal) {
            return $this->answers->refused($refusal);
        } catch (Throwable $e) {
            $this->failures->report($e);

            return $this->answers->failed();
        }
    }

    private function take(Reader $reader): Outcome
    {
        if ($this->arrival->method !== 'GET') { // HEAD too: a probe must not record anything
            throw Refusal::method();
        }
        if ($this->arrival->hasBody) {
            throw Refusal::body();
        }
        if (strlen($this->arrival->query) > Limits::QUERY_BYTES) {
            throw Refusal::queryTooLong();
        }
        $postback = $reader->read($this->arrival, $this->timing);
        if ($postback->payout < 0 && ! $postback->reverses()) {
            throw Refusal::parameter('payout', new Invalid(Invalid::NEGATIVE));
        }
        $this->timing->begin();
        $click = $this->clicks->find($postback->clickId);
        $this->timing->mark('attribution');

        return $this->conversions->commit($postback, $click, $this->arrival->receivedUnixNs, $this->timing);
    }
}
