<?php

declare(strict_types=1);

namespace App\Postback;

/** Finds the partner that a path belongs to. */
final class Dialects
{
    private const PREFIX = '/p/';

    /** @param array<string, array<string, mixed>> $byPartner as the configuration has them */
    public function __construct(private readonly array $byPartner)
    {
    }

    /** Null when no partner's postback goes to the path, as it was sent. */
    public function find(string $path): ?Dialect
    {
        if (! str_starts_with($path, self::PREFIX)) {
            return null;
        }
        $partner = explode('/', substr($path, strlen(self::PREFIX)), 2)[0];
        $settings = $this->byPartner[$partner] ?? null;
        if ($settings === null) {
            return null;
        }
        $dialect = new Dialect(self::PREFIX.$partner, $settings); // of the others nothing is compiled

        return $dialect->isPath($path) ? $dialect : null;
    }
}
