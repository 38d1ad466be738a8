package php

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/internal/wholefile"
	"github.com/postbench/postbench/refserver/store"
)

// keysLink is the symbolic link to the keys in force: opcache never looks again
// at a file that it has read, so that new keys need a new file.
func keysLink(dir string) string { return filepath.Join(dir, "keys", "current") }

func keysFile(generation int) string { return fmt.Sprintf("keys-%d.php", generation) }

// replaceKeys writes the keys as a file of PHP and lets the link point at it.
// The file before stays: a request may have read the link already.
func replaceKeys(dir string, generation int, keys []store.Key) error {
	var b bytes.Buffer
	b.WriteString("<?php return [\n")
	for _, key := range keys {
		if err := postback.CheckKey(key.KID, key.Secret); err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s => '%s',\n", phpString(key.KID), base64.StdEncoding.EncodeToString(key.Secret))
	}
	b.WriteString("];\n")
	link := keysLink(dir)
	if err := wholefile.Write(filepath.Join(filepath.Dir(link), keysFile(generation)), b.Bytes()); err != nil {
		return err
	}
	if err := os.Remove(link + ".new"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(keysFile(generation), link+".new"); err != nil {
		return err
	}
	if err := os.Rename(link+".new", link); err != nil {
		return err
	}
	err := os.Remove(filepath.Join(filepath.Dir(link), keysFile(generation-2)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// phpString is text as a literal in single quotes.
func phpString(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
}
