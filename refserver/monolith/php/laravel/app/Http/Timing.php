<?php

declare(strict_types=1);

namespace App\Http;

/** The stages of one request, for the Server-Timing header. */
final class Timing
{
    private int $lastNs;
    /** @var list<string> */
    private array $stages = [];

    public function __construct(int $enteredNs)
    {
        $this->lastNs = $enteredNs;
    }

    /** Begins a stage now and leaves out what was since the last one. */
    public function begin(): void
    {
        $this->lastNs = hrtime(true);
    }

    /** Ends the stage and begins the next. */
    public function mark(string $stage): void
    {
        $nowNs = hrtime(true);
        $this->stages[] = sprintf('%s;dur=%.3F', $stage, ($nowNs - $this->lastNs) / 1e6);
        $this->lastNs = $nowNs;
    }

    public function header(): string
    {
        return implode(', ', $this->stages);
    }
}
