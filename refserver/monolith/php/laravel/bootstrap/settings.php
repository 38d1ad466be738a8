<?php

declare(strict_types=1);

// What the program that starts this application says about it.
return json_decode(file_get_contents(__DIR__.'/../settings.json'), true, 512, JSON_THROW_ON_ERROR);
