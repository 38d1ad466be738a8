<?php

declare(strict_types=1);

namespace App\Exceptions;

use Throwable;

/** Tells the operator what failed: a line a second at most, since a failing disk fails every request. */
final class Failures
{
    /** @param string $lastTime a file whose time is that of the last line */
    public function __construct(private readonly string $lastTime)
    {
    }

    public function report(Throwable $e): void
    {
        clearstatcache(true, $this->lastTime);
        if ((@filemtime($this->lastTime) ?: 0) >= time()) {
            return;
        }
        @touch($this->lastTime); // on a full disk there are more lines
        $message = preg_replace('/\s+/', ' ', $e->getMessage());
        error_log(sprintf('request failed: %s (%s:%d)', substr($message, 0, 500), basename($e->getFile()), $e->getLine()));
    }
}
