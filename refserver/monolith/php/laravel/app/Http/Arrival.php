<?php

declare(strict_types=1);

namespace App\Http;

/**
 * What came: the bytes of the request line as nginx saw them, and when they
 * came. Laravel's Request would decode what signatures are made of.
 */
final class Arrival
{
    public readonly int $receivedUnixNs;
    public readonly string $method;
    public readonly string $target;
    public readonly string $path;
    public readonly string $query; // without the "?"
    public readonly bool $hasBody;

    /**
     * @param string $receivedAt what microtime() said at entry
     * @param int $enteredNs what hrtime() said at entry, to measure durations from
     * @param array<string, mixed> $server PHP's $_SERVER
     */
    public function __construct(string $receivedAt, public readonly int $enteredNs, array $server)
    {
        $testClock = $server['POSTBENCH_UNIX_S'] ?? null;
        $this->receivedUnixNs = $testClock === null ? self::nanoseconds($receivedAt) : (int) $testClock * 1_000_000_000;
        $this->method = (string) ($server['REQUEST_METHOD'] ?? '');
        $this->target = (string) ($server['POSTBENCH_TARGET'] ?? '');
        $parts = explode('?', $this->target, 2);
        $this->path = $parts[0];
        $this->query = $parts[1] ?? '';
        $this->hasBody = ! in_array($server['CONTENT_LENGTH'] ?? '', ['', '0'], true)
            || ($server['HTTP_TRANSFER_ENCODING'] ?? '') !== '';
    }

    public function receivedUnixS(): int
    {
        return intdiv($this->receivedUnixNs, 1_000_000_000);
    }

    /** The wall clock, in nanoseconds since 1970. PHP's ticks in microseconds. */
    public static function nowUnixNs(): int
    {
        return self::nanoseconds(microtime());
    }

    /** Reads microtime()'s "0.12345600 1700000000" without the rounding of a float. */
    private static function nanoseconds(string $microtime): int
    {
        [$fraction, $seconds] = explode(' ', $microtime);

        return (int) $seconds * 1_000_000_000 + (int) substr($fraction, 2, 6) * 1_000;
    }
}
