<?php

declare(strict_types=1);

namespace App\Postback;

use App\Http\Arrival;

/**
 * The partners' keys, in a file of PHP that opcache keeps in shared memory.
 * Since opcache never looks whether a file has changed, new keys come as a new
 * file, and a link tells which one is in force.
 */
final class Keyring
{
    private const ATTEMPTS = 3;

    /** @param string $link the symbolic link to the file */
    public function __construct(private readonly string $link)
    {
    }

    public function verify(Arrival $arrival, Postback $postback): bool
    {
        $secret = $this->secret($postback->kid);
        // An unknown key costs the same work as a known one: nobody can probe for it.
        $genuine = Signature::isPb1($arrival->method, $arrival->path, $arrival->query, $postback->sig, $secret ?? str_repeat("\0", 32));

        return $genuine && $secret !== null;
    }

    private function secret(string $kid): ?string
    {
        // The file may be replaced and removed between the two steps.
        for ($attempt = 1; ; $attempt++) {
            $file = dirname($this->link).'/'.readlink($this->link);
            $keys = @include $file;
            if (is_array($keys)) {
                $encoded = $keys[$kid] ?? null;

                return $encoded === null ? null : base64_decode($encoded, true);
            }
            if ($attempt === self::ATTEMPTS) {
                throw new \RuntimeException("read the partners' keys from $file");
            }
        }
    }
}
