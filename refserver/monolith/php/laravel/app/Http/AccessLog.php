<?php

declare(strict_types=1);

namespace App\Http;

use App\Exceptions\Failures;
use RuntimeException;

/** One line of JSON for each request; refserver/accesslog/FORMAT.md describes it. */
final class AccessLog
{
    private const MAX_METHOD_BYTES = 16;
    private const MAX_URI_BYTES = 4_096;
    // A parameter named sig, however its name is written.
    private const SIG = '/([?&;#](?:s|%53|%73)(?:i|%49|%69)(?:g|%47|%67)=)[^&]*/i';

    /** @param string $file '' means that nothing is logged */
    public function __construct(private readonly string $file, private readonly Failures $failures)
    {
    }

    public function isOn(): bool
    {
        return $this->file !== '';
    }

    /**
     * Writes one line, whole: it is appended in one piece. A line that cannot be
     * written changes no answer, for the postback may be recorded already.
     */
    public function write(Arrival $arrival, string $uri, int $status, int $durationNs): void
    {
        $kept = substr($uri, 0, self::MAX_URI_BYTES);
        $line = sprintf(
            '{"unix_ns":%d,"duration_ns":%d,"status":%d,"method":"%s","uri":"%s"',
            $arrival->receivedUnixNs, $durationNs, $status, self::escaped(substr($arrival->method, 0, self::MAX_METHOD_BYTES)),
            self::escaped(preg_replace(self::SIG, '$1redacted', $kept)),
        );
        if (strlen($uri) > self::MAX_URI_BYTES) {
            $line .= ',"uri_bytes":'.strlen($uri);
        }
        if (@file_put_contents($this->file, $line."}\n", FILE_APPEND) === false) {
            $this->failures->report(new RuntimeException("could not write to the access log $this->file; is its disk full?"));
        }
    }

    /** Every byte as the character with its number, in ASCII. */
    private static function escaped(string $bytes): string
    {
        return preg_replace_callback('/["\\\\]|[^ -~]/', static function (array $match): string {
            $byte = $match[0];

            return $byte === '"' || $byte === '\\' ? '\\'.$byte : sprintf('\u%04x', ord($byte));
        }, $bytes);
    }
}
