<?php

declare(strict_types=1);

use App\Http\Controllers\PostbackController;
use App\Http\Controllers\ReadyController;
use Illuminate\Support\Facades\Route;

// nginx has chosen among these by the path. Every method leads here: the
// answer to a wrong one is ours.
Route::any('/pb', [PostbackController::class, 'plain']);
Route::any('/pb/signed', [PostbackController::class, 'signed']);
Route::any('/p', [PostbackController::class, 'dialect']);

// Under a name that only the program knows that starts this application.
Route::get('/ready', ReadyController::class);
