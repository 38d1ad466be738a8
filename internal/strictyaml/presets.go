package strictyaml

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

const extension = ".yaml"

// Presets are the embedded documents of one kind. A user names one of them or
// gives the path of a file of their own.
type Presets struct {
	What string // singular, for messages: "scenario"
	FS   fs.FS
	Dir  string // folder in FS, "." for its root; every *.yaml in it is a preset
}

// Names lists the presets in alphabetical order.
func (p Presets) Names() []string {
	// The pattern is well-formed and the files are embedded: no error can occur.
	files, _ := fs.Glob(p.FS, path.Join(p.Dir, "*"+extension))
	names := make([]string, len(files))
	for i, file := range files {
		names[i] = strings.TrimSuffix(path.Base(file), extension)
	}
	return names
}

// Read returns a preset by its name or a file by its path (IsPath), and the
// file name for messages. It reads at most MaxDocumentBytes+1 bytes. Errors:
// the unknown name with those that exist, or the file's own error, wrapped.
func (p Presets) Read(nameOrPath string) (file string, data []byte, err error) {
	if IsPath(nameOrPath) {
		data, err := readFile(nameOrPath)
		if err != nil {
			return "", nil, fmt.Errorf("read %s: %w", p.What, err)
		}
		return nameOrPath, data, nil
	}
	for _, name := range p.Names() {
		if name == nameOrPath {
			file := path.Join(p.Dir, name+extension)
			data, err := fs.ReadFile(p.FS, file)
			return file, data, err
		}
	}
	return "", nil, &UnknownPresetError{What: p.What, Name: nameOrPath, Allowed: p.Names()}
}

// UnknownPresetError is a name that no preset has.
type UnknownPresetError struct {
	What, Name string
	Allowed    []string
}

// Error lists the presets and says how to give a file instead.
func (e *UnknownPresetError) Error() string {
	return Unknown(e.What, e.Name, e.Allowed) + " (a file is given by its path, such as ./mine.yaml)"
}

// IsPath tells a path from a preset's name: it has a separator or ends in
// .yaml or .yml.
func IsPath(nameOrPath string) bool {
	ext := filepath.Ext(nameOrPath)
	return strings.ContainsRune(nameOrPath, '/') || strings.ContainsRune(nameOrPath, filepath.Separator) ||
		ext == extension || ext == ".yml"
}

// Beside returns the name or path that a document gives for another document:
// a relative path counts from the folder of file, the document that names it.
func Beside(file, nameOrPath string) string {
	if !IsPath(nameOrPath) || filepath.IsAbs(nameOrPath) {
		return nameOrPath
	}
	joined := filepath.Join(filepath.Dir(file), nameOrPath)
	if !strings.ContainsRune(joined, filepath.Separator) {
		return "." + string(filepath.Separator) + joined // else it would be taken for a preset's name
	}
	return joined
}

// readFile reads one byte more than Decode accepts, so that Decode says what is
// wrong with a device or a forgotten gigabyte.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxDocumentBytes+1))
}
