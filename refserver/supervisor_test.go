package refserver

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/postbench/postbench/internal/netem"
	"github.com/postbench/postbench/internal/wholefile"
)

// A reserved address belongs to the edges: several listen there at once, and
// nobody else can.
func TestReserve(t *testing.T) {
	r, err := reserve("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	for range 2 {
		edge, err := listenShared(t.Context(), r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer edge.Close()
	}
	if other, err := net.Listen("tcp", r.addr); err == nil {
		_ = other.Close()
		t.Error("a program that does not share the port got it")
	}
	if _, err := reserve(r.addr); !errors.Is(err, ErrAddrInUse) {
		t.Errorf("a second server on the port: %v, want ErrAddrInUse", err)
	}
}

func TestReservedPortGoesToTheLivingEdge(t *testing.T) {
	r, err := reserve("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	dead, err := listenShared(t.Context(), r.addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	if conn, err := net.Dial("tcp", r.addr); err == nil {
		_ = conn.Close()
		t.Fatal("somebody answers while no edge lives")
	}
	edge, err := listenShared(t.Context(), r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer edge.Close()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got, err := edge.Accept(); err != nil {
		t.Error(err)
	} else {
		_ = got.Close()
	}
}

// One server at a time, and nobody on another's kind of data.
func TestOwnDataDir(t *testing.T) {
	dir := t.TempDir()
	single, edges := Composition{Name: "single", Uplink: None}, Composition{Name: "edges", Uplink: UplinkUDP, Buffer: BufferShm}
	first, err := ownDataDir(dir, &edges)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ownDataDir(dir, &edges); !errors.Is(err, ErrDataDir) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("while another server runs: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := ownDataDir(dir, &single); !errors.Is(err, ErrDataDir) || strings.Contains(err.Error(), "\n") {
		t.Errorf("another kind of data: %v", err)
	}
	again, err := ownDataDir(dir, &edges)
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Close()
}

func TestCrashOf(t *testing.T) {
	for _, test := range []struct {
		crash string
		role  Role
		node  int
		want  string
	}{
		{"edge:answered-not-buffered#7", RoleEdge, 0, "answered-not-buffered#7"},
		{"edge/1:answered-not-buffered#7", RoleEdge, 1, "answered-not-buffered#7"},
		{"edge/1:answered-not-buffered#7", RoleEdge, 0, ""},
		{"edge:answered-not-buffered#7", RoleBatcher, 0, ""},
		{"edge/x:answered-not-buffered#7", RoleEdge, 0, ""},
		{"", RoleEdge, 0, ""},
	} {
		c := Config{Crash: test.crash}
		if got := c.crashOf(test.role, test.node); got != test.want {
			t.Errorf("%q of %s/%d: %q, want %q", test.crash, test.role, test.node, got, test.want)
		}
	}
	if crashPoint("") != nil || crashPoint("nowhere") != nil || crashPoint("x#many") != nil {
		t.Error("a crash point out of nothing")
	}
}

func TestConfigOfProcesses(t *testing.T) {
	udp, err := LoadVariant("udp-batch")
	if err != nil {
		t.Fatal(err)
	}
	monolith, err := LoadVariant("monolith")
	if err != nil {
		t.Fatal(err)
	}
	program := func(string) (string, []string) { return "", nil }
	good := Config{Composition: udp, Addr: "127.0.0.1:0", DataDir: "x", Program: program, TimeScale: 60}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Config){
		"needs a program to start":   func(c *Config) { c.Program = nil },
		"time scale":                 func(c *Config) { c.TimeScale = -1 },
		"no UDP and no processes":    func(c *Config) { c.Composition, c.UDP = monolith, netem.Impairment{Loss: 0.1} },
		"no UDP and no processes to": func(c *Config) { c.Composition, c.Crash = monolith, "edge:x#1" },
	} {
		bad := good
		change(&bad)
		if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestRoleConfigRoundTrip(t *testing.T) {
	file := t.TempDir() + "/edge.role"
	want := RoleConfig{Role: RoleEdge, Node: 2, Control: "c", LaneSlots: 64, PSKFiles: []string{"a", "b"}}
	if err := want.write(file); err != nil {
		t.Fatal(err)
	}
	got, err := ReadRoleConfig(file)
	if err != nil || got.Role != want.Role || got.Node != 2 || got.LaneSlots != 64 || len(got.PSKFiles) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	for name, text := range map[string]string{"empty": "", "no role": "{}", "not JSON": "role: edge"} {
		if err := wholefile.Write(file, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadRoleConfig(file); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
