<?php

declare(strict_types=1);

namespace App\Postback;

use App\Http\Arrival;
use App\Http\Timing;

/** Reads a kind of postback, and believes it. */
interface Reader
{
    /** @throws Refusal when it is malformed or not the partner's own */
    public function read(Arrival $arrival, Timing $timing): Postback;
}
