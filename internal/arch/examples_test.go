package arch

import (
	"fmt"
	"slices"
	"strings"
)

const own = modulePath + "/"

// file joins the lines of a source; the first is the package clause.
func file(lines ...string) string { return strings.Join(lines, "\n") + "\n" }

// imports is a file of package p with one import a line, from line 2 on.
func imports(paths ...string) string {
	lines := []string{"package p"}
	for _, p := range paths {
		lines = append(lines, fmt.Sprintf("import _ %q", p))
	}
	return file(lines...)
}

func importExamples() []example {
	const r = "import directions"
	return []example{
		{r, "loadgen to refserver", files{"loadgen/a.go": imports(own+"refserver/decide", own+"refserver")}, []string{"loadgen/a.go:2", "loadgen/a.go:3"}},
		{r, "audit to decide, in a test", files{"loadgen/audit/a_test.go": imports(own + "refserver/decide")}, []string{"loadgen/audit/a_test.go:2"}},
		{r, "refserver to loadgen", files{"refserver/edge/a.go": imports(own + "loadgen")}, []string{"refserver/edge/a.go:2"}},
		{r, "a name that only begins alike", files{"loadgen/a.go": imports(own + "refserverx")}, nil},
		{r, "reports to others", files{"reports/a.go": imports(own+"internal/hist", own+"internal/postback", own+"loadgen", own+"reports/x", "fmt")}, []string{"reports/a.go:3", "reports/a.go:4"}},
		{r, "others to reports", files{"loadgen/a.go": imports(own + "reports")}, []string{"loadgen/a.go:2"}},
		{r, "cli to all", files{"internal/cli/a.go": imports(own+"reports", own+"loadgen", own+"refserver", own+"scenarios", "github.com/alecthomas/kong")}, nil},
		{r, "main to cli", files{"main.go": imports(own+"internal/cli", own+"reports")}, nil},
		{r, "internal to what is above", files{"internal/proc/a.go": imports(own+"loadgen", own+"refserver/store", own+"scenarios", own+"profiles", own+"internal/machine")}, []string{"internal/proc/a.go:2", "internal/proc/a.go:3", "internal/proc/a.go:4", "internal/proc/a.go:5"}},
		{r, "vegeta elsewhere", files{"loadgen/transport/a.go": imports("github.com/tsenart/vegeta/v12/lib")}, []string{"loadgen/transport/a.go:2"}},
		{r, "vegeta in its place", files{"loadgen/transport/vegeta/a.go": imports("github.com/tsenart/vegeta/v12/lib")}, nil},
		{r, "command line elsewhere", files{"refserver/a.go": imports("github.com/alecthomas/kong", "github.com/spf13/cobra")}, []string{"refserver/a.go:2", "refserver/a.go:3"}},
	}
}

func pureExamples() []example {
	const r, exits = "purity", "exits and flags"
	return []example{
		{r, "I/O", files{"internal/postback/a.go": imports("net", "net/http", "os", "os/exec", "syscall", "golang.org/x/sys/unix", "crypto/rand")}, []string{
			"internal/postback/a.go:2", "internal/postback/a.go:3", "internal/postback/a.go:4", "internal/postback/a.go:5",
			"internal/postback/a.go:6", "internal/postback/a.go:7", "internal/postback/a.go:8"}},
		{r, "no I/O", files{"internal/postback/a.go": imports("net/url", "io", "time", "math/rand/v2", "crypto/hmac")}, nil},
		{r, "test", files{"internal/postback/a_test.go": imports("os")}, nil},
		{r, "not a pure package", files{"internal/proc/a.go": imports("os", "net")}, nil},
		{r, "clock", files{"loadgen/schedule/a.go": file(
			"package schedule", `import "time"`,
			"func f() { _ = time.Now() }",
			"func g(d time.Duration) { <-time.After(d); time.Sleep(d) }",
			"var h = time.Since",
			"func ok(d time.Duration) int64 { return d.Nanoseconds() + int64(time.Second) }",
			"type clock struct{}", "func (clock) Now() int { return 0 }",
			"func hidden(time clock) { _ = time.Now() }")},
			[]string{"loadgen/schedule/a.go:3", "loadgen/schedule/a.go:4", "loadgen/schedule/a.go:4", "loadgen/schedule/a.go:5"}},
		{r, "clock by another name", files{"refserver/decide/a.go": file(
			"package decide", `import t "time"`, "func f() { _ = t.Now() }")}, []string{"refserver/decide/a.go:3"}},
		{r, "clock by dot import", files{"refserver/decide/a.go": file(
			"package decide", `import . "time"`, "func f() { _ = Now() }")}, []string{"refserver/decide/a.go:2"}},
		{r, "global chance", files{"internal/intent/a.go": file(
			"package intent", `import "math/rand/v2"`, "func f() int { return rand.IntN(3) }", "func g() uint64 { return rand.Uint64() }")},
			[]string{"internal/intent/a.go:3", "internal/intent/a.go:4"}},
		{r, "global chance, old", files{"internal/intent/a.go": file(
			"package intent", `import "math/rand"`, "func f() { rand.Seed(1) }")}, []string{"internal/intent/a.go:3"}},
		{r, "seeded chance", files{"internal/intent/a.go": file(
			"package intent", `import "math/rand/v2"`, "func f(r *rand.Rand) int { return rand.New(rand.NewPCG(1, 2)).IntN(3) + r.IntN(3) }")}, nil},

		{exits, "in a library", files{"refserver/a.go": file(
			"package refserver", "import (", `"flag"`, `"log"`, `"os"`, ")",
			"func f() { os.Exit(1) }",
			"func g(e error) { log.Fatal(e); log.Fatalf(e.Error()) }",
			"func ok() { log.Print(os.Args) }", "var _ = flag.Parse")},
			[]string{"refserver/a.go:3", "refserver/a.go:7", "refserver/a.go:8", "refserver/a.go:8"}},
		{exits, "in main", files{"main.go": file("package main", "import (", `"flag"`, `"os"`, ")", "func main() { flag.Parse(); os.Exit(1) }")}, nil},
		{exits, "in cli", files{"internal/cli/a.go": file("package cli", `import "os"`, "func f() { os.Exit(1) }")}, nil},
		{exits, "in a test", files{"reports/a_test.go": file("package reports", `import "flag"`, "var update = flag.Bool(``, false, ``)")}, nil},
	}
}

// variables is a file whose line 5 is the declaration.
func variables(declaration string) files {
	return files{"reports/a.go": file("package reports", `import ("errors"; "fmt"; "regexp"; "sync"; "embed"; "hash/crc32";`,
		`"`+own+`internal/strictyaml")`, "type T struct{ N int }", declaration)}
}

func globalExamples() []example {
	const r, w = "package-level variables", "writes to such variables"
	var list []example
	for _, ok := range []string{
		`var ErrX = errors.New("x")`, `var ErrX = fmt.Errorf("x: %w", ErrY)`, `var _ fmt.Stringer = (*T)(nil)`,
		`var re = regexp.MustCompile("x")`, `var table = []int{1, 2}`, `var table = [...]T{{1}, {2}}`,
		`var byName = map[string]T{"a": {1}}`, `var prefix = []byte("pb1")`, `var t = T{N: 1}`,
		`var presets = strictyaml.Presets{What: "x"}`, `var castagnoli = crc32.MakeTable(crc32.Castagnoli)`,
		`var verbs = map[string]func() any{"a": func() any { return &T{} }}`, "//go:embed x\nvar fs embed.FS",
		"var (\n//go:embed x\nfs embed.FS\n)", `const c = 1`, `func f() { var local int; _ = local }`,
	} {
		list = append(list, example{r, ok, variables(ok), nil})
	}
	for _, bad := range []string{
		`var n int`, `var n = 1`, `var name = "x"`, `var mu sync.Mutex`, `var pool = sync.Pool{New: nil}`,
		`var p = &T{}`, `var list = []int{}`, `var list []int`, `var m = map[string]int{}`, `var m = make(map[string]int)`,
		`var byName = map[string]*T{"a": &T{1}}`, `var hook = fmt.Println`, `var f = func() {}`,
		`var x = fmt.Sprint("x")`, `var a, b = errors.New("a"), 1`, `var chans = []chan int{make(chan int)}`,
	} {
		list = append(list, example{r, bad, variables(bad), []string{"reports/a.go:5"}})
	}
	return append(list,
		example{r, "test", files{"reports/a_test.go": file("package reports", "var n int")}, nil},
		example{r, "generated", files{"reports/a.pb.go": file("package reports", "var n int")}, nil},
		example{w, "read only", files{"reports/a.go": file("package reports", "var table = []int{1}",
			"func f() int { n := 0; n++; table2 := table; return table[0] + n + len(table2) }",
			"func hidden(table []int) { table[0] = 1 }",
			"func alsoHidden() { table := []int{1}; table[0]++ }",
			"var _ = table", "func g() { _ = table }")}, nil},
		example{w, "changed", files{
			"reports/a.go": file("package reports", "var table = []int{1}", "var m = map[string]T{}", "type T struct{ N []int }",
				"func f() { table[0] = 1; table = nil }", "func g() { delete(m, ``); m[``].N[0]++ }"),
			"reports/b.go": file("package reports", "func h() { copy(table[1:], nil); (table)[0] += 2 }"),
		}, []string{"reports/a.go:5", "reports/a.go:5", "reports/a.go:6", "reports/a.go:6", "reports/b.go:2", "reports/b.go:2"}},
	)
}

func shapeExamples() []example {
	const r, names, ini = "sizes", "package names", "init"
	function := func(lines int) string {
		return file(slices.Concat([]string{"package p", "func f() {"}, slices.Repeat([]string{"_ = 1"}, lines-2), []string{"}"})...)
	}
	empty := func(lines int) string { return "package p" + strings.Repeat("\n", lines) }
	return []example{
		{r, "longest file", files{"reports/a.go": empty(maxFileLines)}, nil},
		{r, "file too long", files{"reports/a.go": empty(maxFileLines + 1)}, []string{"reports/a.go:501"}},
		{r, "file too long, last line open", files{"reports/a.go": empty(maxFileLines) + "//"}, []string{"reports/a.go:501"}},
		{r, "test too long", files{"reports/a_test.go": empty(maxFileLines + 1)}, []string{"reports/a_test.go:501"}},
		{r, "generated", files{"reports/a.capnp.go": empty(maxFileLines + 1)}, nil},
		{r, "longest function", files{"reports/a.go": function(maxFuncLines)}, nil},
		{r, "function too long", files{"reports/a.go": function(maxFuncLines + 1)}, []string{"reports/a.go:2"}},
		{r, "long function of a test", files{"reports/a_test.go": function(maxFuncLines + 1)}, nil},

		{names, "by clause", files{"internal/x/a.go": "package util"}, []string{"internal/x/a.go:1"}},
		{names, "by directory", files{"internal/helpers/a.go": "package x"}, []string{"internal/helpers/a.go:1"}},
		{names, "of a test", files{"internal/x/a_test.go": "package common_test"}, []string{"internal/x/a_test.go:1"}},
		{names, "that says something", files{"internal/utility/a.go": "package utility"}, nil},

		{ini, "function", files{"reports/a.go": file("package p", "func init() {}")}, []string{"reports/a.go:2"}},
		{ini, "in a test", files{"reports/a_test.go": file("package p", "func init() {}")}, []string{"reports/a_test.go:2"}},
		{ini, "generated", files{"reports/a.pb.go": file("package p", "func init() {}")}, nil},
		{ini, "method", files{"reports/a.go": file("package p", "type T int", "func (T) init() {}", "func initial() {}")}, nil},
	}
}

func commentExamples() []example {
	const r, pkg, sleep, mark = "comments on exported", "package comment", "sleeps in tests", "markers"
	return []example{
		{r, "none", files{"reports/a.go": file("package p",
			"func F() {}", "type T int", "func (T) M() {}", "func (*T) N() {}", "const C = 1", "var a, V = 1, 2",
			"//go:noinline", "func G() {}", "type L[K any] struct{}", "func (l *L[K]) M() {}", "type (", "A int", ")")},
			[]string{"reports/a.go:2", "reports/a.go:3", "reports/a.go:4", "reports/a.go:5", "reports/a.go:6", "reports/a.go:7",
				"reports/a.go:9", "reports/a.go:10", "reports/a.go:11", "reports/a.go:13"}},
		{r, "all", files{"reports/a.go": file("package p",
			"// F is.", "func F() {}", "// T is.", "type T int", "// M is.", "func (T) M() {}",
			"// Colours.", "const (", "A = 1", "B = 2", ")", "const (", "C = 1 // is", "// D is.", "D = 2", ")",
			"func f() {}", "type t int", "func (t) M() {}", "func (*t) N() {}", "const c = 1")}, nil},
		{r, "one for two lines", files{"reports/a.go": file("package p", "const (", "// A and B are.", "A = 1", "B = 2", ")")}, nil},
		{r, "one for two lines, apart", files{"reports/a.go": file("package p", "const (", "// A and B are.", "A = 1", "", "B = 2", ")")}, []string{"reports/a.go:6"}},
		{r, "one that forgets the second line", files{"reports/a.go": file("package p", "const (", "// A is. Bs are not.", "A = 1", "B = 2", ")")}, []string{"reports/a.go:5"}},
		{r, "test", files{"reports/a_test.go": file("package p", "func TestF() {}")}, nil},

		{pkg, "none", files{"reports/a.go": "package reports", "reports/b.go": "package reports"}, []string{"reports/a.go:1"}},
		{pkg, "begins otherwise", files{"reports/a.go": file("// This is it.", "package reports")}, []string{"reports/a.go:2"}},
		{pkg, "apart", files{"reports/a.go": file("// Package reports is.", "", "package reports")}, []string{"reports/a.go:3"}},
		{pkg, "only in a test", files{"reports/a.go": "package reports", "reports/b_test.go": file("// Package reports is.", "package reports")}, []string{"reports/a.go:1"}},
		{pkg, "in one file", files{"reports/a.go": "package reports", "reports/b.go": file("// Package reports is.", "package reports")}, nil},
		{pkg, "of nothing but tests", files{"internal/e2e/a_test.go": file("// Package e2e is.", "package e2e")}, nil},
		{pkg, "of a command", files{"main.go": file("// Postbench does.", "package main")}, nil},

		{sleep, "without a reason", files{"reports/a_test.go": file("package p", `import "time"`, "func f() {", "time.Sleep(1)", "}")}, []string{"reports/a_test.go:4"}},
		{sleep, "reason too far", files{"reports/a_test.go": file("package p", `import "time"`, "func f() {", "// why", "_ = 1", "time.Sleep(1)", "}")}, []string{"reports/a_test.go:6"}},
		{sleep, "reason beside", files{"reports/a_test.go": file("package p", `import "time"`, "func f() {", "time.Sleep(1) // why", "}")}, nil},
		{sleep, "reason above", files{"reports/a_test.go": file("package p", `import "time"`, "func f() {", "// because", "// so", "time.Sleep(1)", "}")}, nil},
		{sleep, "not a test", files{"reports/a.go": file("package p", `import "time"`, "func f() {", "time.Sleep(1)", "}")}, nil},

		{mark, "in comments", files{"reports/a.go": file("package p", "// TO"+"DO: x", "/* y", "FIX"+"ME */", "var x = 1 // HA"+"CK, XX"+"X")},
			[]string{"reports/a.go:2", "reports/a.go:4", "reports/a.go:5", "reports/a.go:5"}},
		{mark, "elsewhere", files{"reports/a_test.go": file("package p", "// A TO"+"DOLIST is not one, nor is a hack.", `var none = "XX`+`X"`)}, nil},
	}
}
