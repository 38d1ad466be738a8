package php

import (
	"io/fs"
	"strings"
	"testing"
)

// Without strict types PHP would turn "12abc" into a number.
func TestSourcesAreStrict(t *testing.T) {
	files := 0
	err := fs.WalkDir(sources, "laravel", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := sources.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		if !strings.HasPrefix(string(text), "<?php\n\ndeclare(strict_types=1);\n") {
			t.Errorf("%s does not begin with strict types", path)
		}
		return nil
	})
	if err != nil || files < 30 {
		t.Errorf("%d files, %v", files, err)
	}
}
