<?php

declare(strict_types=1);

$mariadb = (require __DIR__.'/../bootstrap/settings.php')['mariadb'];

return [
    'default' => 'mariadb',
    'connections' => [
        'mariadb' => [
            'driver' => 'mysql',
            'unix_socket' => $mariadb['socket'],
            'database' => $mariadb['database'],
            'username' => $mariadb['user'],
            'password' => '',
            'options' => [
                PDO::ATTR_TIMEOUT => 5, // seconds, to connect
                // A worker keeps its connection from one request to the next.
                PDO::ATTR_PERSISTENT => $mariadb['persistent'],
                // Once per connection; Laravel's own settings would be sent with every request.
                PDO::MYSQL_ATTR_INIT_COMMAND => "SET NAMES utf8mb4 COLLATE utf8mb4_bin, tx_isolation = 'READ-COMMITTED', sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', innodb_lock_wait_timeout = 1",
            ],
        ],
    ],
];
