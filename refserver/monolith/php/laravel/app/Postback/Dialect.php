<?php

declare(strict_types=1);

namespace App\Postback;

/**
 * A partner's own way to write a postback. What is wrong with one was found
 * before the server started; see the settings' "dialects".
 */
final class Dialect
{
    private const MAX_NAME_BYTES = 64; // of a parameter, decoded
    private const REDACTED = 'redacted';

    public readonly string $partner;
    public readonly string $auth;
    public readonly string $ok;
    public readonly string $duplicate;
    public readonly string $authParam; // the parameter with the signature, or ''
    public readonly string $secret;
    /** @var list<string> what md5 hashes: literals and, at odd places, the names of values */
    public readonly array $digest;

    private readonly string $pathStart;
    private readonly ?string $pathEnd; // what follows the token; null without one
    /** @var array<string, string> our name of a parameter by the partner's */
    private array $names = [];
    /** @var array<string, string> our word for an event by the partner's */
    private array $events = [];

    /** @param array<string, mixed> $settings */
    public function __construct(string $prefix, array $settings)
    {
        $this->partner = $settings['partner'];
        $this->auth = ($settings['auth'] ?? '') ?: 'none';
        $this->secret = base64_decode($settings['secret'] ?? '', true);
        $this->ok = ($settings['ok'] ?? '') ?: 'OK';
        $this->duplicate = ($settings['duplicate'] ?? '') ?: 'DUP';
        $this->authParam = match ($this->auth) {
            'hmac-sha256' => 'sig',
            'hmac-sha1', 'md5' => $settings['auth_param'],
            default => '',
        };
        $target = explode('?', $settings['target'], 2);
        $path = explode('{token}', $target[0], 2);
        $this->pathStart = $prefix.$path[0];
        $this->pathEnd = $path[1] ?? null;
        foreach (RawQuery::pairs($target[1] ?? '') as [$name, $value]) {
            if (str_starts_with($value, '{')) { // the others are sent as they are, and mean nothing
                $this->names[$name] = substr($value, 1, -1);
            }
        }
        if ($this->authParam !== '') {
            $this->names[$this->authParam] = 'sig';
        }
        foreach (Values::EVENTS as $event) {
            $this->events[$settings['events'][$event] ?? $event] = $event;
        }
        $this->digest = preg_split('/\{(click_id|txid|offer_id|event|payout|currency|kid|ts)\}/', $settings['digest'] ?? '', -1, PREG_SPLIT_DELIM_CAPTURE);
    }

    /** Whether a path, as it was sent, is this partner's, whatever token it holds. */
    public function isPath(string $path): bool
    {
        if ($this->pathEnd === null) {
            return $path === $this->pathStart;
        }

        return strlen($path) >= strlen($this->pathStart) + strlen($this->pathEnd)
            && str_starts_with($path, $this->pathStart) && str_ends_with($path, $this->pathEnd)
            && ! str_contains($this->tokenIn($path), '/');
    }

    public function hasTokenInPath(): bool
    {
        return $this->pathEnd !== null;
    }

    /** The token in a path that is this partner's. */
    public function tokenIn(string $path): string
    {
        return substr($path, strlen($this->pathStart), strlen($path) - strlen($this->pathStart) - strlen($this->pathEnd));
    }

    /** Our name of a parameter, "sig" and "token" included; null for one that means nothing. */
    public function ourName(string $rawName): ?string
    {
        try {
            return $this->names[RawQuery::unescape($rawName, self::MAX_NAME_BYTES, true)] ?? null;
        } catch (Invalid) {
            return null;
        }
    }

    /** The partner's name of one of our parameters; ours if it has none. */
    public function theirName(string $name): string
    {
        $found = array_search($name, $this->names, true);

        return $found === false ? $name : (string) $found;
    }

    public function event(string $word): string
    {
        return $this->events[$word] ?? throw Invalid::value("none of the partner's words for an event");
    }

    /** A target for a log: whoever reads it must not be able to speak for the partner. */
    public function redact(string $target): string
    {
        $parts = explode('?', $target, 2);
        $redacted = $this->pathEnd === null ? $parts[0] : $this->pathStart.self::REDACTED.$this->pathEnd;
        if (! isset($parts[1])) {
            return $redacted;
        }
        $pairs = [];
        foreach (RawQuery::pairs($parts[1]) as [$name, $value, $hasValue]) {
            $secret = in_array($this->ourName($name), ['sig', 'token'], true);
            $pairs[] = $name.($secret ? '='.self::REDACTED : ($hasValue ? '='.$value : ''));
        }

        return $redacted.'?'.implode('&', $pairs);
    }
}
