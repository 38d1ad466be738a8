<?php

declare(strict_types=1);

namespace App\Http\Controllers;

use App\Store\ClickHouse;
use Illuminate\Contracts\Foundation\Application;
use Illuminate\Database\Connection;
use Illuminate\Http\JsonResponse;

/** Says that the whole path to both databases works, and what it consists of. */
final class ReadyController
{
    public function __invoke(Application $app, Connection $db, ClickHouse $clickHouse): JsonResponse
    {
        $db->selectOne('SELECT 1');
        $clickHouse->ask('SELECT 1');

        return new JsonResponse([
            'nginx' => (string) ($_SERVER['POSTBENCH_NGINX'] ?? ''),
            'php' => PHP_VERSION,
            'laravel' => $app->version(),
        ]);
    }
}
