<?php

declare(strict_types=1);

namespace App\Store;

use App\Postback\Refusal;

/** The clicks in ClickHouse. */
final class Clicks
{
    // What the format TabSeparated writes for bytes that mean something to it.
    private const UNESCAPED = [
        '\\\\' => '\\', "\\'" => "'", '\\b' => "\x08", '\\f' => "\f", '\\n' => "\n", '\\r' => "\r", '\\t' => "\t", '\\0' => "\0",
    ];

    public function __construct(private readonly ClickHouse $clickHouse)
    {
    }

    /** Null for a click that nobody knows. */
    public function find(string $clickId): ?Click
    {
        // Versions before 19 have no parameters in queries over HTTP.
        $literal = "'".strtr($clickId, ['\\' => '\\\\', "'" => "\\'"])."'";
        try {
            $answer = $this->clickHouse->ask("SELECT offer_id, clicked_unix_s FROM clicks WHERE click_id = $literal LIMIT 1 FORMAT TabSeparated");
        } catch (Timeout) {
            throw Refusal::busy('attribute click');
        }
        if ($answer === '') {
            return null;
        }
        [$offerId, $clickedUnixS] = explode("\t", rtrim($answer, "\n"));

        return new Click(strtr($offerId, self::UNESCAPED), (int) $clickedUnixS);
    }
}
