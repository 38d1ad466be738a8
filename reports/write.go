package reports

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// MaxResultBytes bounds what ReadFile reads.
const MaxResultBytes = 256 << 20

// Errors of ReadFile.
var (
	ErrSchema   = errors.New("not a result document of this version")
	ErrTooLarge = errors.New("result document too large")
)

// WriteFile writes the result as indented JSON to path: whole, or not at all.
// Whatever stood at path stays until the new document is safe on disk. It sets
// the schema name and writes lists that are nil as empty ones.
func WriteFile(path string, r Result) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false) // commands hold URLs, which people read
	if err := encoder.Encode(r.complete()); err != nil {
		return fmt.Errorf("write result %s: %w", path, err)
	}
	if err := ReplaceFile(path, text.Bytes()); err != nil {
		return fmt.Errorf("write result %s: %w", path, err)
	}
	return nil
}

// ReplaceFile writes data to path, whole or not at all: to a new file in the
// same directory, which is synced and then renamed. The file is readable for
// everybody (mode 0644). Errors are those of package os; after one, path is as
// it was.
func ReplaceFile(path string, data []byte) error {
	return replaceFile(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// replaceFile fills a new file beside path and, once it is synced, renames it
// to path. On any error the new file is removed and path is as it was.
func replaceFile(path string, fill func(io.Writer) error) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err == nil {
			return
		}
		if removeErr := os.Remove(file.Name()); removeErr != nil {
			err = fmt.Errorf("%w (and its temporary file stays: %v)", err, removeErr)
		}
	}()
	writeErr := writeSynced(file, fill)
	if err := cmp.Or(writeErr, file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

func writeSynced(file *os.File, fill func(io.Writer) error) error {
	buffered := bufio.NewWriter(file)
	if err := fill(buffered); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	// CreateTemp makes files private; a result is for everybody.
	if err := file.Chmod(0o644); err != nil {
		return err
	}
	return file.Sync()
}

// ReadFile reads a result document. It refuses, naming the file, one of another
// schema version (ErrSchema), unknown fields, wrong types, trailing data, and
// more than MaxResultBytes (ErrTooLarge).
func ReadFile(path string) (Result, error) {
	data, err := readLimited(path)
	if err != nil {
		return Result{}, fmt.Errorf("read result: %w", err)
	}
	r, err := decode(data)
	if err != nil {
		return Result{}, fmt.Errorf("read result %s: %w", path, err)
	}
	return r, nil
}

func readLimited(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, MaxResultBytes+1))
	if err == nil && len(data) > MaxResultBytes {
		err = fmt.Errorf("%s: %w: more than %d bytes", path, ErrTooLarge, MaxResultBytes)
	}
	return data, err
}

func decode(data []byte) (Result, error) {
	// The version comes first: of another version's document, every other
	// complaint would only mislead.
	var version struct {
		Schema string `json:"schema"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return Result{}, atLine(data, err)
	}
	if version.Schema != SchemaV1 {
		return Result{}, fmt.Errorf("%w: its schema is %q, this build reads %q", ErrSchema, version.Schema, SchemaV1)
	}
	var r Result
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&r); err != nil {
		return Result{}, atLine(data, err)
	}
	return r, nil
}

// atLine puts the line of a JSON error in front of it, where it has one.
func atLine(data []byte, err error) error {
	offset := int64(-1)
	if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
		offset = syntax.Offset
	}
	if wrongType := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrongType) {
		offset = wrongType.Offset
	}
	if offset < 0 || offset > int64(len(data)) {
		return err
	}
	return fmt.Errorf("line %d: %w", 1+bytes.Count(data[:offset], []byte("\n")), err)
}

// complete returns the result as the schema wants it: its version set, no list
// missing. The caller's lists are left as they are.
func (r Result) complete() Result {
	r.Schema = SchemaV1
	r.Command = orEmpty(r.Command)
	r.Comparison, r.Expectations = orEmpty(r.Comparison), orEmpty(r.Expectations)
	r.Variants = mapped(r.Variants, Variant.complete)
	if r.Story != nil {
		story := *r.Story
		story.Seeds, story.Rungs, story.Calibrated = orEmpty(story.Seeds), orEmpty(story.Rungs), orEmpty(story.Calibrated)
		r.Story = &story
	}
	if r.Month != nil {
		month := *r.Month
		month.Rows = mapped(month.Rows, func(row MonthRow) MonthRow { row.Slower = orEmpty(row.Slower); return row })
		month.Tails = mapped(month.Tails, func(tail TailShares) TailShares { tail.Networks = orEmpty(tail.Networks); return tail })
		r.Month = &month
	}
	return r
}

func (v Variant) complete() Variant {
	v.Components = orEmpty(v.Components)
	v.Responses = orEmpty(v.Responses)
	v.Timeline = orEmpty(v.Timeline)
	v.Stages, v.Faults = orEmpty(v.Stages), orEmpty(v.Faults)
	v.Networks, v.Costs = orEmpty(v.Networks), orEmpty(v.Costs)
	v.Partners = mapped(v.Partners, Partner.complete)
	v.Rounds = mapped(v.Rounds, Round.complete)
	v.Ledger = v.Ledger.complete()
	v.Validity = v.Validity.complete()
	return v
}

func (r Round) complete() Round {
	r.Ledger = r.Ledger.complete()
	r.Validity = r.Validity.complete()
	return r
}

func (p Partner) complete() Partner {
	if p.Drops == nil {
		p.Drops = map[string]int64{}
	}
	p.AttemptsPerIntent, p.QueueDepthPerS = orEmpty(p.AttemptsPerIntent), orEmpty(p.QueueDepthPerS)
	return p
}

func (l Ledger) complete() Ledger {
	l.Worst = orEmpty(l.Worst)
	return l
}

func (v Validity) complete() Validity {
	v.Reasons = orEmpty(v.Reasons)
	return v
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func mapped[T any](list []T, f func(T) T) []T {
	out := make([]T, 0, len(list))
	for _, item := range list {
		out = append(out, f(item))
	}
	return out
}
