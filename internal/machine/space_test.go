package machine

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"
)

func TestSpace(t *testing.T) {
	dir := t.TempDir()
	total, free, err := Space(dir)
	if err != nil || total == 0 || free > total {
		t.Errorf("%d bytes, %d of them free, %v", total, free, err)
	}
	if _, _, err := Space(filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of nothing: %v", err)
	}
}
