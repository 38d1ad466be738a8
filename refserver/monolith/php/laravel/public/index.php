<?php

declare(strict_types=1);

use App\Http\Arrival;
use Illuminate\Contracts\Http\Kernel;
use Illuminate\Http\Request;

// The time of receipt is that of entry: loading the framework comes after it.
$entry = [microtime(), hrtime(true)];

$app = require __DIR__.'/../bootstrap/app.php';
$app->instance(Arrival::class, new Arrival($entry[0], $entry[1], $_SERVER));

$kernel = $app->make(Kernel::class);
$request = Request::capture();
$response = $kernel->handle($request);
$response->send();
$kernel->terminate($request, $response);
