<?php

declare(strict_types=1);

namespace App\Providers;

use App\Exceptions\Failures;
use App\Http\AccessLog;
use App\Http\Answers;
use App\Http\Arrival;
use App\Http\Timing;
use App\Postback\Dialects;
use App\Postback\Keyring;
use App\Postback\PlainReader;
use App\Postback\SignedReader;
use App\Store\ClickHouse;
use App\Store\Clicks;
use App\Store\Conversions;
use Illuminate\Database\Connection;
use Illuminate\Support\ServiceProvider;

/** Makes the application's objects from its configuration, each when it is first asked for. */
final class PostbackServiceProvider extends ServiceProvider
{
    public function register(): void
    {
        $settings = $this->app['config']['postbench'];
        $app = $this->app;
        $app->singleton(Timing::class, fn () => new Timing($app[Arrival::class]->enteredNs));
        $app->singleton(Dialects::class, fn () => new Dialects($settings['dialects']));
        $app->singleton(AccessLog::class, fn () => new AccessLog($settings['access_log'], $app[Failures::class]));
        $app->singleton(Answers::class, fn () => new Answers($app[Arrival::class], $app[Timing::class], $app[Dialects::class], $app[AccessLog::class]));
        $app->singleton(Failures::class, fn () => new Failures($app->storagePath().'/last-failure'));
        $app->singleton(PlainReader::class, fn () => new PlainReader($settings['signed_only']));
        $app->singleton(SignedReader::class, fn () => new SignedReader(new Keyring($settings['keys'])));
        $app->singleton(ClickHouse::class, fn () => new ClickHouse($settings['clickhouse']['http'], $settings['clickhouse']['database']));
        $app->singleton(Clicks::class, fn () => new Clicks($app[ClickHouse::class]));
        $app->bind(Connection::class, fn () => $app['db']->connection());
        $app->singleton(Conversions::class, fn () => new Conversions($app[Connection::class]));
    }
}
