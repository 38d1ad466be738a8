package refserver

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"

	"github.com/postbench/postbench/refserver/accesslog"
)

// The access log below a process's directory: lines, or messages.
const (
	accessLogName       = "access.log"
	mappedAccessLogName = "access.log.capnp"
)

// accessFile is an access log with its file; the log is nil where the
// composition has none, the file where the log has its own.
type accessFile struct {
	log  *accesslog.Log
	file *os.File
}

func openAccessLog(dir string, c *Composition) (*accessFile, error) {
	switch c.Log {
	case None:
		return &accessFile{}, nil
	case LogCapnp:
		log, err := accesslog.OpenMapped(filepath.Join(dir, mappedAccessLogName), accesslog.MappedOptions{})
		if err != nil {
			return nil, err
		}
		return &accessFile{log: log}, nil
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
	err := a.log.Close()
	if a.file == nil {
		return err
	}
	return cmp.Or(err, a.file.Close())
}
