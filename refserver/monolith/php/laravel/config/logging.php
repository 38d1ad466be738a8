<?php

declare(strict_types=1);

// Laravel 8 is older than the PHP it runs on: its deprecations go nowhere.
// What fails is reported by App\Exceptions\Failures.
return [
    'default' => 'null',
    'deprecations' => 'null',
    'channels' => ['null' => ['driver' => 'monolog', 'handler' => Monolog\Handler\NullHandler::class]],
];
