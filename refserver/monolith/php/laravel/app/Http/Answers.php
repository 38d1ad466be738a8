<?php

declare(strict_types=1);

namespace App\Http;

use App\Postback\Dialects;
use App\Postback\Refusal;
use Illuminate\Http\Response;

/** Answers in one line of text, after it is in the access log. */
final class Answers
{
    private const RETRY_AFTER_S = '1';

    public function __construct(
        private readonly Arrival $arrival,
        private readonly Timing $timing,
        private readonly Dialects $dialects,
        private readonly AccessLog $accessLog,
    ) {
    }

    public function taken(string $words): Response
    {
        return $this->text(200, $words, []);
    }

    public function refused(Refusal $refusal): Response
    {
        return $this->text($refusal->status, $refusal->getMessage(), match ($refusal->status) {
            405 => ['Allow' => 'GET'],
            503 => ['Retry-After' => self::RETRY_AFTER_S],
            default => [],
        });
    }

    /** What failed inside a server is not for strangers: no paths, no statements. */
    public function failed(): Response
    {
        return $this->text(500, 'internal error', []);
    }

    /** @param array<string, string> $headers */
    private function text(int $status, string $line, array $headers): Response
    {
        if ($this->accessLog->isOn()) {
            $this->timing->begin();
            $arrival = $this->arrival;
            $uri = $this->dialects->find($arrival->path)?->redact($arrival->target) ?? $arrival->target;
            $this->accessLog->write($arrival, $uri, $status, hrtime(true) - $arrival->enteredNs);
            $this->timing->mark('log');
        }

        return new Response($line, $status, $headers + [
            'Content-Type' => 'text/plain; charset=utf-8',
            'Content-Length' => (string) strlen($line),
            'X-Content-Type-Options' => 'nosniff', // a reason may repeat the sender's bytes
            'Server-Timing' => $this->timing->header(),
        ]);
    }
}
