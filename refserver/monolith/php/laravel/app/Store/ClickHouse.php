<?php

declare(strict_types=1);

namespace App\Store;

use RuntimeException;

/**
 * ClickHouse's HTTP interface over one connection, which PHP keeps from one
 * request of this worker to the next. (A handle of curl's ends with its request.)
 */
final class ClickHouse
{
    private const TIMEOUT_S = 5;
    private const MAX_LINE_BYTES = 8_192;
    private const MAX_ANSWER_BYTES = 1_048_576;

    /** @var resource|null while a question has no whole answer yet */
    private $asking = null;

    public function __construct(private readonly string $address, private readonly string $database)
    {
        // A connection with half an answer must not be the next request's.
        register_shutdown_function(fn () => $this->hangUp());
    }

    /** @throws Timeout @throws RuntimeException when ClickHouse answers an error or not at all */
    public function ask(string $query): string
    {
        $request = "POST /?database=$this->database HTTP/1.1\r\nHost: $this->address\r\nContent-Length: ".strlen($query)."\r\n\r\n$query";
        try {
            $status = $this->send($request);
            if ($status === null) { // the server had closed the connection meanwhile: once more, on a new one
                $status = $this->send($request) ?? throw new RuntimeException("ClickHouse at $this->address does not answer");
            }

            return $this->answer($status);
        } finally {
            $this->hangUp();
        }
    }

    /** @return string|null the first line of the answer; null when the connection was at its end */
    private function send(string $request): ?string
    {
        $stream = @stream_socket_client(
            "tcp://$this->address", $errno, $error, self::TIMEOUT_S, STREAM_CLIENT_CONNECT | STREAM_CLIENT_PERSISTENT,
        );
        if ($stream === false) {
            throw new RuntimeException("connect to ClickHouse at $this->address: $error");
        }
        $this->asking = $stream;
        stream_set_timeout($stream, self::TIMEOUT_S);
        $status = @fwrite($stream, $request) === strlen($request) ? @fgets($stream, self::MAX_LINE_BYTES) : false;
        if ($status !== false) {
            return $status;
        }
        $timedOut = stream_get_meta_data($stream)['timed_out'];
        $this->hangUp();

        return $timedOut ? throw new Timeout() : null;
    }

    private function answer(string $status): string
    {
        $headers = [];
        while (($line = rtrim($this->line(), "\r\n")) !== '') {
            [$name, $value] = explode(':', $line, 2) + [1 => ''];
            $headers[strtolower($name)] = strtolower(trim($value));
        }
        $body = match (true) {
            ($headers['transfer-encoding'] ?? '') === 'chunked' => $this->chunks(),
            isset($headers['content-length']) => $this->bytes((int) $headers['content-length']),
            default => throw new RuntimeException('ClickHouse does not say how long its answer is'),
        };
        if (($headers['connection'] ?? '') !== 'close') {
            $this->asking = null; // the next request may go on with it
        }
        if (preg_match('#^HTTP/1\.[01] 200 #', $status) !== 1) {
            throw new RuntimeException('ClickHouse: '.trim($status).': '.strtok($body, "\n"));
        }

        return $body;
    }

    private function chunks(): string
    {
        for ($body = ''; ($length = (int) hexdec(rtrim($this->line(), "\r\n"))) > 0; $this->line()) {
            $body .= $this->bytes($length);
            if (strlen($body) > self::MAX_ANSWER_BYTES) {
                throw new RuntimeException('ClickHouse answers more than anybody asked for');
            }
        }
        $this->line(); // the empty one behind the last chunk

        return $body;
    }

    private function line(): string
    {
        return $this->read(@fgets($this->asking, self::MAX_LINE_BYTES));
    }

    private function bytes(int $length): string
    {
        if ($length > self::MAX_ANSWER_BYTES) {
            throw new RuntimeException('ClickHouse answers more than anybody asked for');
        }
        for ($bytes = ''; strlen($bytes) < $length; ) {
            $bytes .= $this->read(@fread($this->asking, $length - strlen($bytes)));
        }

        return $bytes;
    }

    private function read(string|false $bytes): string
    {
        if ($bytes !== false && $bytes !== '') {
            return $bytes;
        }
        throw stream_get_meta_data($this->asking)['timed_out'] ? new Timeout() : new RuntimeException('ClickHouse hung up in the middle of its answer');
    }

    /** Closes a connection whose answer has not been read to its end. */
    private function hangUp(): void
    {
        if ($this->asking !== null) {
            fclose($this->asking);
            $this->asking = null;
        }
    }
}
