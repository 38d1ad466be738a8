<?php

declare(strict_types=1);

namespace App\Store;

use RuntimeException;

/** No answer in time. */
final class Timeout extends RuntimeException
{
}
