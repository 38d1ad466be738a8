package cli

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/postbench/postbench/internal/dist"
	"github.com/postbench/postbench/internal/netem"
	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/cost"
)

// What startServer writes is what serve reads.
func TestServerExtrasRoundTrip(t *testing.T) {
	want := serverExtras{
		Dialects: []postback.Dialect{{Partner: "t", Target: "/x?c={click_id}&k={token}", Auth: postback.AuthToken,
			Secret: []byte("0123456789abcdef"), Events: map[string]string{"sale": "2"}}},
		Costs:  []cost.Spec{{Stage: "php", Workers: 4, Points: []dist.Point{{Percentile: 50, Ns: 5}, {Percentile: 95, Ns: 9}}}},
		Uplink: &netem.PathSpec{Name: "far", RTTNs: 85_000_000, Jitter: dist.Constant(7), Loss: netem.GilbertElliott{GoodLoss: 0.01}},
	}
	args, roots, err := want.write(t.TempDir())
	if err != nil || roots != nil {
		t.Fatal(err, roots)
	}
	f := &serveFlags{}
	command := serveCommandOf(f)
	if err := command.ParseFlags(append(args, "--variant", "edge-redis", "--data", "x")); err != nil {
		t.Fatal(err)
	}
	config, err := f.config(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := (serverExtras{Dialects: config.Dialects, Costs: config.Costs, Uplink: config.Uplink}); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if err := config.Validate(); err != nil {
		t.Error(err)
	}
	if args, roots, err := new(serverExtras).write("/nowhere"); len(args) != 0 || roots != nil || err != nil {
		t.Errorf("nothing asked for: %v, %v, %v", args, roots, err)
	}
}

// The throw-away certificate is believed by address and by name, and by nobody
// who was not told.
func TestThrowAwayCertificate(t *testing.T) {
	dir := t.TempDir()
	args, roots, err := (&serverExtras{TLS: true}).write(dir)
	if err != nil || len(args) != 4 {
		t.Fatal(args, err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _ = errors.Join(conn.(*tls.Conn).Handshake(), conn.Close()) }()
		}
	}()
	for _, test := range []struct {
		config *tls.Config
		ok     bool
	}{
		{&tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}, true},
		{&tls.Config{RootCAs: roots, ServerName: serverHost}, true},
		{&tls.Config{RootCAs: roots, ServerName: "127.0.0.2"}, false},
		{&tls.Config{ServerName: "127.0.0.1"}, false},
	} {
		conn, err := tls.Dial("tcp", listener.Addr().String(), test.config)
		if (err == nil) != test.ok {
			t.Errorf("%s: %v", test.config.ServerName, err)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
}

func TestReadExtraRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	var costs []cost.Spec
	if err := readExtra("costs", file, &costs); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	for _, text := range []string{"", "{}", `[{"stages":"php"}]`, "[] []"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := readExtra("costs", file, &costs); err == nil || !strings.HasPrefix(err.Error(), "--costs: ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
