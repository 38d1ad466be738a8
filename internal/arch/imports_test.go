package arch

import (
	"go/ast"
	"slices"
	"strings"
)

// direction forbids imports. Paths of our own module are written from its root.
type direction struct {
	who     []string // these trees; none means all
	except  []string
	mayNot  []string // import these trees
	but     []string
	instead string
}

var directions = []direction{
	{
		who: []string{"loadgen"}, mayNot: []string{"refserver"},
		instead: "the judge shares no code with the judged: wire them in internal/cli or talk over the target contract",
	}, {
		who: []string{"refserver"}, mayNot: []string{"loadgen"},
		instead: "the server knows nothing of its tester: wire them in internal/cli or move what both need to internal/",
	}, {
		who: []string{"reports"}, mayNot: []string{"."}, but: []string{"reports", "internal/hist"},
		instead: "reports has its own model: let internal/cli fill it",
	}, {
		except: append(programs(), "reports"), mayNot: []string{"reports"},
		instead: "return plain data and let internal/cli assemble the report",
	}, {
		who: []string{"internal"}, except: programs(),
		mayNot:  []string{"loadgen", "refserver", "scenarios", "profiles", "reports"},
		instead: "internal/* lies below them: take what is needed as an argument",
	}, {
		except: []string{"loadgen/transport/vegeta"}, mayNot: []string{"github.com/tsenart/vegeta"},
		instead: "only loadgen/transport/vegeta may: use that package",
	}, {
		except:  []string{".", "internal/cli"},
		mayNot:  []string{"github.com/alecthomas/kong", "github.com/spf13/cobra", "github.com/spf13/pflag"},
		instead: "only internal/cli knows the command line: take values, not flags",
	},
}

func importDirections(s *source) (found []finding) {
	for _, d := range directions {
		if len(d.who) > 0 && !in(s.dir(), d.who...) || in(s.dir(), d.except...) {
			continue
		}
		for _, spec := range s.file.Imports {
			if p := importPath(spec); forbids(d, p) {
				found = append(found, s.at(spec.Pos(), d.instead, "%s must not import %s", s.dir(), p))
			}
		}
	}
	return found
}

func forbids(d direction, imported string) bool {
	own, isOwn := strings.CutPrefix(imported, modulePath+"/")
	if isOwn && slices.Contains(d.mayNot, ".") {
		return !in(own, d.but...)
	}
	return in(own, d.mayNot...) && !in(own, d.but...)
}

// purePackages are given time and seeds as arguments.
var purePackages = []string{
	"internal/postback", "internal/intent", "internal/hist", "internal/dist", "internal/expect",
	"loadgen/schedule", "loadgen/audit", "refserver/decide",
	"refserver/shm", "refserver/datagram", "refserver/batch", "refserver/replicate",
	"refserver/acked", "refserver/stream/delivery",
}

var impureImports = []string{"net", "os", "syscall", "golang.org/x/sys", "crypto/rand"}

// harmlessImports lie below an impure import and do no I/O.
var harmlessImports = []string{"net/url", "net/netip"}

var clockFunctions = []string{
	"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker",
}

// seededRand is what math/rand has besides the functions on its global source.
var seededRand = []string{
	"New", "NewSource", "NewZipf", "NewPCG", "NewChaCha8",
	"Rand", "Source", "Source64", "Zipf", "PCG", "ChaCha8",
}

func purity(s *source) (found []finding) {
	if s.isTest() || !in(s.dir(), purePackages...) {
		return nil
	}
	const noIO = "it is a pure package: leave I/O to its caller"
	for _, spec := range s.file.Imports {
		p := importPath(spec)
		if in(p, impureImports...) && !in(p, harmlessImports...) {
			found = append(found, s.at(spec.Pos(), noIO, "%s must not import %s", s.dir(), p))
		}
		if spec.Name != nil && spec.Name.Name == "." {
			found = append(found, s.at(spec.Pos(), "import it by name", "a dot import hides clock and chance from this test"))
		}
	}
	s.eachQualified(func(sel *ast.SelectorExpr, pkg, name string) {
		switch {
		case pkg == "time" && slices.Contains(clockFunctions, name):
			found = append(found, s.at(sel.Pos(), "it is a pure package: take the time as an argument", "time.%s", name))
		case (pkg == "math/rand" || pkg == "math/rand/v2") && !slices.Contains(seededRand, name):
			found = append(found, s.at(sel.Pos(), "it is a pure package: take a seed as an argument", "rand.%s uses the global source", name))
		}
	})
	return found
}

var exits = map[string][]string{
	"os":      {"Exit"},
	"syscall": {"Exit"},
	"log":     {"Fatal", "Fatalf", "Fatalln"},
}

// programs are the places where everything comes together: the program, the
// one that writes RESULTS.md, and the tests that start the real binary.
func programs() []string { return []string{".", "internal/cli", "internal/results", "internal/e2e"} }

// exitsAndFlags are for main.go and internal/cli; tests have flags and helpers too.
func exitsAndFlags(s *source) (found []finding) {
	if s.isTest() || in(s.dir(), programs()...) {
		return nil
	}
	for _, spec := range s.file.Imports {
		if importPath(spec) == "flag" {
			found = append(found, s.at(spec.Pos(), "take values as arguments", "flags outside main.go and internal/cli"))
		}
	}
	s.eachQualified(func(sel *ast.SelectorExpr, pkg, name string) {
		if slices.Contains(exits[pkg], name) {
			found = append(found, s.at(sel.Pos(), "return an error", "%s.%s outside main.go and internal/cli", pkg, name))
		}
	})
	return found
}
