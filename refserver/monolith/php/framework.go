package php

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/postbench/postbench/refserver/parts"
)

// frameworkWait is how long PHP may hold its output after its end.
const frameworkWait = time.Second

// askVersion finds Laravel as the application does: in PHP's include path.
const askVersion = `if ((@include 'Illuminate/autoload.php') !== false) { echo \Illuminate\Foundation\Application::VERSION; }`

// Framework is the version of the Laravel that Start would run. The error wraps
// parts.ErrMissing when PHP or Laravel is not installed. It runs PHP for a moment.
func Framework(ctx context.Context) (version string, err error) {
	path, err := parts.Look(laravelPackage, "php")
	if err != nil {
		return "", err
	}
	command := exec.CommandContext(ctx, path, "-d", "display_errors=0", "-r", askVersion)
	command.WaitDelay = frameworkWait
	said, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("ask PHP for the version of Laravel: %w", err)
	}
	version = strings.TrimSpace(string(bytes.ToValidUTF8(said, nil)))
	if version == "" {
		return "", fmt.Errorf("laravel %w: apt-get install %s, or make deps-debian for every real part", parts.ErrMissing, laravelPackage)
	}
	return version, nil
}
