<?php

declare(strict_types=1);

namespace App\Console;

use Illuminate\Foundation\Console as Commands;
use Illuminate\Foundation\Console\Kernel as ConsoleKernel;

/** The commands that "optimize" consists of. */
final class Kernel extends ConsoleKernel
{
    protected $commands = [
        Commands\OptimizeCommand::class,
        Commands\ConfigCacheCommand::class,
        Commands\ConfigClearCommand::class,
        Commands\RouteCacheCommand::class,
        Commands\RouteClearCommand::class,
    ];
}
