<?php

declare(strict_types=1);

namespace App\Http;

use Illuminate\Foundation\Http\Kernel as HttpKernel;

/** Laravel's, without middleware: a postback has neither a session nor a body. */
final class Kernel extends HttpKernel
{
}
