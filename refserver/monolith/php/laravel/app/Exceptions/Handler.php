<?php

declare(strict_types=1);

namespace App\Exceptions;

use App\Http\Answers;
use App\Http\Arrival;
use App\Postback\Refusal;
use Illuminate\Foundation\Exceptions\Handler as ExceptionHandler;
use Throwable;

/** What the framework refuses before the controller sees it, and what fails there. */
final class Handler extends ExceptionHandler
{
    public function report(Throwable $e): void
    {
        if (! $this->isRefusal()) {
            $this->container->make(Failures::class)->report($e);
        }
    }

    public function render($request, Throwable $e)
    {
        $answers = $this->container->make(Answers::class);

        return $this->isRefusal() ? $answers->refused(Refusal::method()) : $answers->failed();
    }

    /** The routes take every path that nginx sends here: only a method can be refused. */
    private function isRefusal(): bool
    {
        return $this->container->bound(Arrival::class) && $this->container->make(Arrival::class)->method !== 'GET';
    }
}
