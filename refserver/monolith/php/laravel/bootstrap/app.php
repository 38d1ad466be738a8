<?php

declare(strict_types=1);

use Illuminate\Foundation\Application;

// Debian's package puts the framework on PHP's include path.
require_once 'Illuminate/autoload.php';

if (! function_exists('postbench_autoload')) { // "optimize" makes several applications
    function postbench_autoload(string $class): void
    {
        if (str_starts_with($class, 'App\\')) {
            require __DIR__.'/../app/'.strtr(substr($class, strlen('App\\')), '\\', '/').'.php';
        }
    }
    spl_autoload_register('postbench_autoload');
}

$app = new Application(dirname(__DIR__));
$app->singleton(Illuminate\Contracts\Http\Kernel::class, App\Http\Kernel::class);
$app->singleton(Illuminate\Contracts\Console\Kernel::class, App\Console\Kernel::class);
$app->singleton(Illuminate\Contracts\Debug\ExceptionHandler::class, App\Exceptions\Handler::class);

return $app;
