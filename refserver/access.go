package refserver

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"

	"github.com/postbench/postbench/refserver/accesslog"
)

// accessLogName is the access log below a process's directory.
const accessLogName = "access.log"

// accessFile is an access log with its file; the log is nil where the
// composition has none.
type accessFile struct {
	log  *accesslog.Log
	file *os.File
}

func openAccessLog(dir string, c *Composition) (*accessFile, error) {
	if c.Log == None {
		return &accessFile{}, nil
	}
	file, err := os.OpenFile(filepath.Join(dir, accessLogName), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the access log: %w", err)
	}
	return &accessFile{log: accesslog.New(file, accesslog.Options{Background: c.LogWrite == LogInBackground}), file: file}, nil
}

// Close writes what is pending.
func (a *accessFile) Close() error {
	if a.log == nil {
		return nil
	}
	return cmp.Or(a.log.Close(), a.file.Close())
}
