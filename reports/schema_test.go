package reports

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := Schema("result")
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("result.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("result.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// asJSON returns the result as it is written, decoded into plain values.
func asJSON(t *testing.T, r Result) map[string]any {
	t.Helper()
	text, err := json.Marshal(r.complete())
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return value.(map[string]any)
}

func minimalResult() Result {
	return Result{
		Tool: Tool{Version: "dev"}, Machine: Machine{CPUs: 1},
		Variants: []Variant{{Name: "mine", Validity: Validity{Verdict: VerdictValid}}},
	}
}

func TestResultsFitTheSchema(t *testing.T) {
	schema := compiledSchema(t)
	empty := merged(t)
	empty.Name = "nothing was counted"
	silent := minimalResult()
	silent.Story, silent.Month = &Story{}, &Month{Variant: "mine"} // nobody was acked
	for name, r := range map[string]Result{
		"full":      fullResult(t),
		"minimal":   minimalResult(),
		"silent":    silent,
		"no rounds": {Tool: Tool{Version: "dev"}, Machine: Machine{CPUs: 1}, Variants: []Variant{empty}},
	} {
		if err := schema.Validate(asJSON(t, r)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBrokenDocumentsFail(t *testing.T) {
	schema, full := compiledSchema(t), fullResult(t)
	for name, edit := range map[string]func(root, variant map[string]any){
		"another version":    func(root, _ map[string]any) { root["schema"] = "postbench.result/v2" },
		"no version":         func(root, _ map[string]any) { delete(root, "schema") },
		"unknown at the top": func(root, _ map[string]any) { root["extra"] = 1 },
		"unknown in a block": func(_, v map[string]any) { in(v, "latency", "response")["p42_us"] = 1 },
		"unknown in the ledger": func(_, v map[string]any) {
			in(v, "ledger")["lost"] = 1
		},
		"negative count":     func(_, v map[string]any) { in(v, "ledger")["acked"] = -1 },
		"fractional count":   func(_, v map[string]any) { in(v, "ledger")["acked"] = 1.5 },
		"a latency as text":  func(_, v map[string]any) { in(v, "latency", "response")["p50_us"] = "1ms" },
		"a missing latency":  func(_, v map[string]any) { delete(in(v, "latency"), "lag_queue") },
		"hdr not base64":     func(_, v map[string]any) { in(v, "latency", "response")["hdr"] = "%%%" },
		"unknown verdict":    func(_, v map[string]any) { in(v, "validity")["verdict"] = "fine" },
		"invalid, no reason": func(_, v map[string]any) { in(v, "validity")["verdict"] = "invalid" },
		"loss beyond 1":      func(_, v map[string]any) { in(v, "ledger")["loss_rate"] = 1.1 },
		"too many worst": func(_, v map[string]any) {
			in(v, "ledger")["worst"] = slices.Repeat(list(in(v, "ledger"), "worst"), 21)
		},
		"status and error":    func(_, v map[string]any) { list(v, "responses")[0].(map[string]any)["error"] = "timeout" },
		"currency in words":   func(_, v map[string]any) { list(in(v, "ledger"), "money")[0].(map[string]any)["currency"] = "euro" },
		"short sha256":        func(root, _ map[string]any) { in(root, "scenario")["sha256"] = "abc" },
		"unknown metric":      func(root, _ map[string]any) { list(root, "comparison")[0].(map[string]any)["metric"] = "speed" },
		"a list that is null": func(_, v map[string]any) { v["rounds"] = nil },
		"a negative error":    func(_, v map[string]any) { in(v, "clock")["error_us"] = -1 },
		"unknown durability":  func(_, v map[string]any) { v["durability"] = "D9" },
	} {
		root := asJSON(t, full)
		edit(root, list(root, "variants")[0].(map[string]any))
		if schema.Validate(root) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func in(object map[string]any, path ...string) map[string]any {
	for _, key := range path {
		object = object[key].(map[string]any)
	}
	return object
}

func list(object map[string]any, key string) []any { return object[key].([]any) }

func TestSchemaNames(t *testing.T) {
	for _, name := range SchemaNames() {
		if _, err := Schema(name); err != nil {
			t.Error(err)
		}
	}
	if _, err := Schema("nonsense"); err == nil || !strings.Contains(err.Error(), "result") {
		t.Errorf("got %v, want the known names", err)
	}
}

// TestSchemaMatchesTheModel holds every struct field against the schema, and
// the other way round.
func TestSchemaMatchesTheModel(t *testing.T) {
	text, err := Schema("result")
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	w := walker{t: t, defs: in(root, "$defs"), used: map[string]bool{}}
	w.object("result", reflect.TypeFor[Result](), root)
	for name := range w.defs {
		if !w.used[name] {
			t.Errorf("$defs/%s is not used", name)
		}
	}
}

type walker struct {
	t    *testing.T
	defs map[string]any
	used map[string]bool
}

func (w walker) object(path string, typ reflect.Type, schema map[string]any) {
	if schema["additionalProperties"] != false {
		w.t.Errorf("%s: additionalProperties is not false", path)
	}
	properties := in(schema, "properties")
	required, _ := schema["required"].([]any)
	seen := map[string]bool{}
	for _, field := range reflect.VisibleFields(typ) {
		if field.Anonymous {
			continue
		}
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		seen[name] = true
		property, ok := properties[name].(map[string]any)
		if !ok {
			w.t.Errorf("%s.%s is not in the schema", path, name)
			continue
		}
		if slices.Contains(required, any(name)) == (options == "omitempty") {
			w.t.Errorf("%s.%s: required in the schema and omitempty in the model must exclude each other", path, name)
		}
		w.property(path+"."+name, field.Type, property)
	}
	for name := range properties {
		if !seen[name] {
			w.t.Errorf("%s.%s is not in the model", path, name)
		}
	}
}

func (w walker) property(path string, typ reflect.Type, schema map[string]any) {
	if schema["description"] == nil {
		w.t.Errorf("%s has no description", path)
	}
	w.value(path, typ, schema)
}

func (w walker) value(path string, typ reflect.Type, schema map[string]any) {
	if schema["const"] != nil {
		return
	}
	if choices, ok := schema["oneOf"].([]any); ok && typ.Kind() == reflect.Pointer {
		w.value(path, typ.Elem(), choices[0].(map[string]any))
		return
	}
	if name, ok := schema["$ref"].(string); ok {
		name = strings.TrimPrefix(name, "#/$defs/")
		w.used[name] = true
		w.object(path, typ, in(w.defs, name))
		return
	}
	wantType := map[reflect.Kind]string{reflect.String: "string", reflect.Bool: "boolean", reflect.Float64: "number",
		reflect.Int: "integer", reflect.Int64: "integer", reflect.Uint64: "integer", reflect.Slice: "array", reflect.Map: "object"}
	kind := typ.Kind()
	null := kind == reflect.Pointer
	if null {
		kind = typ.Elem().Kind()
	}
	got := fmt.Sprint(schema["type"])
	nullable := fmt.Sprintf("[%s null]", wantType[kind])
	// Of lists and maps, the schema decides whether nil has a meaning.
	canBeNull := kind == reflect.Slice || kind == reflect.Map
	if got != wantType[kind] && got != nullable || !canBeNull && null != (got == nullable) {
		w.t.Errorf("%s is %v in the model and %s in the schema", path, typ, got)
	}
	switch kind {
	case reflect.Slice:
		w.value(path+"[]", typ.Elem(), in(schema, "items"))
	case reflect.Map:
		w.value(path+"{}", typ.Elem(), in(schema, "additionalProperties"))
	}
}

// TestFixtureIsFull makes sure that the full result shows every field.
func TestFixtureIsFull(t *testing.T) {
	filled := map[string]bool{}
	note(reflect.ValueOf(fullResult(t).complete()), filled)
	for field, ok := range filled {
		if !ok {
			t.Errorf("%s is zero everywhere in the full result", field)
		}
	}
}

// note records for each field of each struct type whether it is ever set.
func note(v reflect.Value, filled map[string]bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			note(v.Elem(), filled)
		}
	case reflect.Slice:
		for i := range v.Len() {
			note(v.Index(i), filled)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			key := v.Type().Name() + "." + v.Type().Field(i).Name
			filled[key] = filled[key] || !v.Field(i).IsZero()
			note(v.Field(i), filled)
		}
	}
}
