package strictyaml

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// decoder walks the parsed document itself instead of using the library's own
// decoder, which cuts 1.7 to 1, takes "5" for 5 and a missing value for zero,
// names one mistake at a time (a random one of several unknown fields) and
// loses the position of whatever UnmarshalText refuses.
type decoder struct {
	file  string
	errs  []*Error
	extra int // mistakes beyond MaxErrors
	// unread are the paths without a value that could be read; true: nor is
	// there anything below them.
	unread map[string]bool
}

func (d *decoder) document(root ast.Node, out any) {
	v := reflect.ValueOf(out)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		panic(fmt.Sprintf("BUG: strictyaml.Decode into %T, want a non-nil pointer", out))
	}
	d.value(v.Elem(), root, "")
}

// joined returns the mistakes of form together with those of meaning.
func (d *decoder) joined(meaning []*Error) error {
	errs := inOrder(append(d.errs, meaning...))
	if d.extra > 0 {
		errs = append(errs, fmt.Errorf("%s: and %d more", d.file, d.extra))
	}
	return joinOrSingle(errs)
}

// fail says why the value at path cannot be read.
func (d *decoder) fail(node ast.Node, path, msg string) {
	d.forget(path)
	if path != "" {
		msg = path + ": " + msg
	}
	d.complain(node, msg)
}

// forget notes that nothing is known of path and what is below it.
func (d *decoder) forget(path string) {
	if d.unread == nil {
		d.unread = map[string]bool{}
	}
	d.unread[path] = true
}

func (d *decoder) complain(node ast.Node, msg string) {
	if len(d.errs) == MaxErrors {
		d.extra++
		return
	}
	d.errs = append(d.errs, errorAt(d.file, node, msg))
}

func (d *decoder) value(dst reflect.Value, node ast.Node, path string) {
	switch node.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode, *ast.DirectiveNode:
		d.fail(node, path, "anchors, aliases and tags are not supported: write the value out")
		return
	case *ast.NullNode:
		d.fail(node, path, "no value: write one or remove the entry")
		return
	}
	if text, ok := dst.Addr().Interface().(encoding.TextUnmarshaler); ok {
		d.text(text, node, path)
		return
	}
	if _, ok := dst.Addr().Type().MethodByName("UnmarshalYAML"); ok {
		panic(fmt.Sprintf("BUG: strictyaml: %s has UnmarshalYAML, want UnmarshalText", dst.Type()))
	}
	switch dst.Kind() {
	case reflect.Pointer:
		dst.Set(reflect.New(dst.Type().Elem()))
		d.value(dst.Elem(), node, path)
	case reflect.Struct:
		d.structure(dst, node, path)
	case reflect.Map:
		d.mapping(dst, node, path)
	case reflect.Slice:
		d.list(dst, node, path)
	default:
		d.scalar(dst, node, path)
	}
}

func (d *decoder) structure(dst reflect.Value, node ast.Node, path string) {
	fields := map[string]reflect.Value{}
	allowed := collectFields(dst, fields, nil)
	present, meant := map[string]bool{}, []string(nil)
	d.entries(node, path, "a mapping with "+strings.Join(allowed, ", "), func(key string, keyNode, value ast.Node) {
		field, ok := fields[key]
		if !ok {
			d.complain(keyNode, Unknown("field", key, allowed))
			meant = append(meant, nearest(key, allowed))
			return
		}
		present[key] = true
		d.entryValue(field, keyNode, value, joinPath(path, key))
	})
	for _, key := range meant {
		if key != "" && !present[key] {
			d.forget(joinPath(path, key)) // it is there, only misspelt
		}
	}
}

func (d *decoder) mapping(dst reflect.Value, node ast.Node, path string) {
	if dst.Type().Key().Kind() != reflect.String {
		panic(fmt.Sprintf("BUG: strictyaml: map %s, want string keys", dst.Type()))
	}
	dst.Set(reflect.MakeMap(dst.Type()))
	d.entries(node, path, "a mapping", func(key string, keyNode, value ast.Node) {
		element := reflect.New(dst.Type().Elem()).Elem()
		d.entryValue(element, keyNode, value, joinPath(path, key))
		if _, failed := d.unread[joinPath(path, key)]; failed && isLeaf(element.Kind()) {
			d.unread[joinPath(path, key)] = false // "p99.9" is not below "p99"
		}
		dst.SetMapIndex(reflect.ValueOf(key).Convert(dst.Type().Key()), element)
	})
}

// entries calls each for every key of a mapping, once per key.
func (d *decoder) entries(node ast.Node, path, want string, each func(key string, keyNode, value ast.Node)) {
	mapping, ok := node.(ast.MapNode)
	if !ok {
		d.fail(node, path, "want "+want+", got "+describe(node))
		return
	}
	firstLine := map[string]int{}
	for iter := mapping.MapRange(); iter.Next(); {
		keyNode := iter.Key()
		if keyNode.IsMergeKey() {
			d.fail(keyNode, path, "merge keys are not supported: write the values out")
			continue
		}
		key := keyText(keyNode)
		if key == "" {
			d.fail(keyNode, path, "want a plain word as key")
			continue
		}
		if line, repeated := firstLine[key]; repeated {
			d.complain(keyNode, fmt.Sprintf("duplicate key %q; it is set in line %d already", key, line))
			continue
		}
		firstLine[key] = keyNode.GetToken().Position.Line
		each(key, keyNode, iter.Value())
	}
}

// entryValue puts the blame for a missing value on the key: the parser places
// the absent value after the end of the line.
func (d *decoder) entryValue(dst reflect.Value, keyNode, value ast.Node, path string) {
	if _, empty := value.(*ast.NullNode); empty {
		d.fail(keyNode, path, "no value: write one or remove the key")
		return
	}
	d.value(dst, value, path)
}

func (d *decoder) list(dst reflect.Value, node ast.Node, path string) {
	sequence, ok := node.(*ast.SequenceNode)
	if !ok {
		d.fail(node, path, "want a list, got "+describe(node))
		return
	}
	dst.Set(reflect.MakeSlice(dst.Type(), len(sequence.Values), len(sequence.Values)))
	for i, element := range sequence.Values {
		d.value(dst.Index(i), element, fmt.Sprintf("%s[%d]", path, i))
	}
}

func (d *decoder) text(dst encoding.TextUnmarshaler, node ast.Node, path string) {
	text, _, ok := scalarText(node)
	if !ok {
		d.fail(node, path, "want one value, got "+describe(node))
		return
	}
	if err := dst.UnmarshalText([]byte(text)); err != nil {
		d.fail(node, path, err.Error())
	}
}

// scalar leaves dst as it is when there is nothing that it could be set to.
func (d *decoder) scalar(dst reflect.Value, node ast.Node, path string) {
	if dst.Type() == reflect.TypeFor[time.Duration]() {
		duration := Duration(dst.Int())
		d.text(&duration, node, path)
		dst.SetInt(int64(duration))
		return
	}
	text, plain, ok := scalarText(node)
	read, want := reflect.New(dst.Type()).Elem(), ""
	switch dst.Kind() {
	case reflect.String:
		if ok && plain && !isText(node) {
			d.fail(node, path, fmt.Sprintf("want text, got %s; put it in quotes: %q", describe(node), text))
			return
		}
		want = "text"
		read.SetString(text)
	case reflect.Bool:
		_, isBool := node.(*ast.BoolNode)
		ok, want = ok && isBool, "true or false"
		read.SetBool(text == "true")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, dst.Type().Bits())
		ok, want = ok && plain && err == nil && decimal(text), "a whole number"+rangeHint(err, dst)
		read.SetInt(n)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := strconv.ParseUint(text, 10, dst.Type().Bits())
		ok, want = ok && plain && err == nil && decimal(text), "a whole number, zero or more"+rangeHint(err, dst)
		read.SetUint(n)
	case reflect.Float32, reflect.Float64:
		f, err := strconv.ParseFloat(text, dst.Type().Bits())
		ok, want = ok && plain && err == nil && decimal(text), "a number"
		read.SetFloat(f)
	default:
		panic(fmt.Sprintf("BUG: strictyaml cannot decode into %s", dst.Type()))
	}
	if !ok {
		d.fail(node, path, "want "+want+", got "+describe(node)+quotesHint(dst.Kind(), node))
		return
	}
	dst.Set(read)
}

// quotesHint is for text that YAML takes for a mapping of one entry: "b: x" for
// its colon, "{x}" for its braces.
func quotesHint(want reflect.Kind, node ast.Node) string {
	mapping, ok := node.(ast.MapNode)
	if !ok || want != reflect.String {
		return ""
	}
	iter := mapping.MapRange()
	if !iter.Next() {
		return ""
	}
	key, value := keyText(iter.Key()), iter.Value()
	if iter.Next() {
		return ""
	}
	text, plain, scalar := scalarText(value)
	_, empty := value.(*ast.NullNode)
	flow, isMapping := node.(*ast.MappingNode)
	switch inBraces := isMapping && flow.IsFlowStyle; {
	case inBraces && empty:
		return fmt.Sprintf("; text in braces needs quotes: %q", shorten("{"+key+"}", maxQuotedRunes))
	case inBraces:
		return ""
	case scalar && plain:
		return fmt.Sprintf("; text with a colon needs quotes: %q", shorten(key+": "+text, maxQuotedRunes))
	}
	return "; text with a colon needs quotes"
}

// collectFields fills fields with the settable fields of a struct by key and
// returns the keys in order of declaration.
func collectFields(v reflect.Value, fields map[string]reflect.Value, keys []string) []string {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if name == "-" || !field.IsExported() {
			continue
		}
		if slices.Contains(strings.Split(options, ","), "inline") {
			keys = collectFields(v.Field(i), fields, keys)
			continue
		}
		if name == "" {
			name = strings.ToLower(field.Name)
		}
		if _, taken := fields[name]; taken {
			panic(fmt.Sprintf("BUG: strictyaml: %s has two fields for key %q", v.Type(), name))
		}
		fields[name] = v.Field(i)
		keys = append(keys, name)
	}
	return keys
}

// scalarText returns a scalar as it is written, quotes removed; plain says that
// it had none.
func scalarText(node ast.Node) (text string, plain, ok bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, n.Token.Type != token.SingleQuoteType && n.Token.Type != token.DoubleQuoteType, true
	case *ast.LiteralNode:
		return n.Value.Value, false, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true, true
	}
	return "", false, false
}

// isLeaf says that nothing can lie below a value of that kind.
func isLeaf(kind reflect.Kind) bool {
	return kind != reflect.Struct && kind != reflect.Map && kind != reflect.Slice && kind != reflect.Pointer
}

func isText(node ast.Node) bool {
	_, isString := node.(*ast.StringNode)
	return isString
}

// decimal says that text is a number in the notation everybody reads alike: no
// 0x10, 1_000, 012 (eight or twelve?), inf or nan.
func decimal(text string) bool {
	digits := strings.TrimPrefix(text, "-")
	return digits != "" && strings.Trim(digits, "0123456789.eE+-") == "" &&
		(digits[0] != '0' || len(digits) == 1 || digits[1] < '0' || digits[1] > '9')
}

func rangeHint(err error, dst reflect.Value) string {
	if errors.Is(err, strconv.ErrRange) {
		return fmt.Sprintf(" that fits %d bits", dst.Type().Bits())
	}
	return ""
}

func describe(node ast.Node) string {
	switch node.(type) {
	case ast.MapNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	}
	text, plain, ok := scalarText(node)
	if !ok {
		return "something else"
	}
	if plain && !isText(node) {
		return shorten(text, maxQuotedRunes)
	}
	return strconv.Quote(shorten(text, maxQuotedRunes))
}

func joinPath(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
