// Package strictyaml reads configuration that a person wrote by hand: a small,
// strict part of YAML in which every mistake is an error with its position.
//
// It takes one document of mappings, lists and scalars. Unknown and repeated
// keys, keys without a value, numbers where text is wanted, anchors, aliases,
// tags and directives are errors, because each of them hides a typing mistake
// or makes a file mean something else than it seems to say.
package strictyaml

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	// MaxDocumentBytes is the longest document that Decode reads. Scenarios and
	// profiles are a few kilobytes; the parser's time grows with the square of
	// some hostile inputs.
	MaxDocumentBytes = 64 << 10
	// MaxFlowDepth is how many { and [ may be open at once.
	MaxFlowDepth = 16
	// MaxErrors is how many mistakes of one document are listed; the rest is
	// only counted.
	MaxErrors = 20
	// maxQuotedRunes is how much of a wrong value a message repeats.
	maxQuotedRunes = 60
	// maxParserMessageRunes is how much of the parser's own words a message repeats.
	maxParserMessageRunes = 160
)

// Error is one mistake in a document. Line and Column count from 1, columns in
// characters.
type Error struct {
	File         string
	Line, Column int
	Msg          string
}

// Error returns "file:line:column: message", one line.
func (e *Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Msg)
}

// Decode reads the one document in data into out, a pointer to a struct or map.
// Fields that the document leaves out keep the value they have, so a caller
// sets its defaults first; so do those that cannot be read. After an error out
// is partly filled.
//
// Destinations: struct (key = `yaml:"name"` tag, else the lower-case field
// name; "-" and unexported fields are skipped, ",inline" splices a struct),
// map[string]T, slice, pointer, string, bool, integers, floats, time.Duration
// ("10s") and everything with UnmarshalText, which receives the scalar as it is
// written, quotes removed. Any other type is a bug of the caller and panics.
//
// The error is an *Error, or several joined by errors.Join in document order.
// The file name is used in messages only.
func Decode(file string, data []byte, out any) error {
	return DecodeChecked(file, data, out, func(*Problems) {})
}

// DecodeChecked reads as Decode does and has check look at the meaning of what
// could be read into out, so that one look shows the mistakes of form and those
// of meaning, together in document order. The Problems know what could not be
// read, and check is not called where nothing could.
func DecodeChecked(file string, data []byte, out any, check func(*Problems)) error {
	root, err := parse(file, data)
	if err != nil {
		return err
	}
	d := decoder{file: file}
	d.document(root, out)
	problems := newProblems(d.unread)
	if !problems.Unread("") {
		check(problems)
	}
	return d.joined(problems.positions(file, root))
}

// Keys lists the keys of a document that is decoded into out, a struct or a
// pointer to one, in order of declaration.
func Keys(out any) []string {
	v := reflect.New(reflect.Indirect(reflect.ValueOf(out)).Type()).Elem()
	return collectFields(v, map[string]reflect.Value{}, nil)
}

// TopKeys lists the keys that a document has outside of all others, repeated
// ones too; none if it is no mapping or not even YAML.
func TopKeys(data []byte) []string {
	root, err := parse("", data)
	mapping, ok := root.(ast.MapNode)
	if err != nil || !ok {
		return nil
	}
	var keys []string
	for iter := mapping.MapRange(); iter.Next(); {
		keys = append(keys, keyText(iter.Key()))
	}
	return keys
}

// parse returns the body of the only document in data.
func parse(file string, data []byte) (body ast.Node, err error) {
	fail := func(msg string) (ast.Node, error) {
		return nil, &Error{File: file, Line: 1, Column: 1, Msg: msg}
	}
	if len(data) > MaxDocumentBytes {
		return fail(fmt.Sprintf("document longer than %d bytes", MaxDocumentBytes))
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if err := checkText(file, data); err != nil {
		return nil, err
	}
	// A hand-written file must never end the program with a stack trace, and the
	// parser is a foreign recursive one.
	defer func() {
		if r := recover(); r != nil {
			body, err = fail(fmt.Sprintf("the YAML parser cannot read this document (%v)", r))
		}
	}()
	tokens := lexer.Tokenize(string(data))
	if err := checkDepth(file, tokens); err != nil {
		return nil, err
	}
	f, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, syntaxError(file, err)
	}
	return onlyDocument(file, f.Docs)
}

func onlyDocument(file string, docs []*ast.DocumentNode) (ast.Node, error) {
	if len(docs) == 0 || len(docs) == 1 && docs[0].Body == nil {
		return nil, &Error{File: file, Line: 1, Column: 1, Msg: "empty document"}
	}
	if d, ok := docs[0].Body.(*ast.DirectiveNode); ok {
		return nil, errorAtToken(file, d.Start, "YAML directives are not supported: remove this line")
	}
	if len(docs) > 1 {
		start := docs[1].Start
		if start == nil && docs[1].Body != nil {
			start = docs[1].Body.GetToken()
		}
		return nil, errorAtToken(file, start, "a second document begins here: want exactly one per file")
	}
	return docs[0].Body, nil
}

// checkText refuses what no text editor writes on purpose and what would garble
// the terminal on which a message repeats it.
func checkText(file string, data []byte) error {
	line, column := 1, 1
	for rest := data; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		switch {
		case r == utf8.RuneError && size == 1:
			return &Error{File: file, Line: line, Column: column, Msg: "not UTF-8 text"}
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', r == 0x7f:
			return &Error{File: file, Line: line, Column: column,
				Msg: fmt.Sprintf("control character %U in the text", r)}
		}
		column++
		if r == '\n' {
			line, column = line+1, 1
		}
		rest = rest[size:]
	}
	return nil
}

func checkDepth(file string, tokens token.Tokens) error {
	depth := 0
	for _, t := range tokens {
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			depth++
		case token.MappingEndType, token.SequenceEndType:
			depth--
		}
		if depth > MaxFlowDepth {
			return errorAtToken(file, t, fmt.Sprintf("more than %d brackets open at once", MaxFlowDepth))
		}
	}
	return nil
}

func syntaxError(file string, err error) error {
	var positioned yaml.Error
	if !errors.As(err, &positioned) {
		return &Error{File: file, Line: 1, Column: 1, Msg: oneLine(err.Error())}
	}
	return errorAtToken(file, positioned.GetToken(), oneLine(positioned.GetMessage()))
}

func errorAtToken(file string, t *token.Token, msg string) *Error {
	e := &Error{File: file, Line: 1, Column: 1, Msg: msg}
	if t != nil && t.Position != nil {
		e.Line, e.Column = max(t.Position.Line, 1), max(t.Position.Column, 1)
	}
	return e
}

func oneLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return shorten(cmp.Or(strings.TrimSpace(s), "not YAML"), maxParserMessageRunes)
}

func shorten(s string, maxRunes int) string {
	if utf8.RuneCountInString(s) <= maxRunes {
		return s
	}
	return string([]rune(s)[:maxRunes]) + "…"
}
