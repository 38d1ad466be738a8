package scenarios

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/intent"
	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/internal/strictyaml"
	"github.com/postbench/postbench/profiles"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (run with -update to accept)\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

func load(t *testing.T, nameOrPath string) Scenario {
	t.Helper()
	s, err := Load(nameOrPath)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPresets(t *testing.T) {
	if got, want := Names(), []string{"cap-rush", "chaos", "default", "flash-crowd", "mixed", "month-2022", "month-2026", "partner-retry-storm", "plain", "smoke", "story"}; !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			s := load(t, name)
			text, err := os.ReadFile(name + ".yaml")
			if err != nil {
				t.Fatal(err)
			}
			if s.Name != name || s.About == "" || s.Source() != string(text) {
				t.Errorf("got name %q, about %q and a source of %d bytes", s.Name, s.About, len(s.Source()))
			}
			if got, want := s.SHA256(), fmt.Sprintf("%x", sha256.Sum256(text)); got != want {
				t.Errorf("SHA256 = %s, want %s", got, want)
			}
			if err := s.Validate(); err != nil {
				t.Error(err)
			}
			golden(t, name, s.Describe())
		})
	}
}

func TestDefault(t *testing.T) {
	s := Default()
	if !reflect.DeepEqual(s.Arrivals, Arrivals{Process: "constant", RatePerS: 100}) || s.Duration != strictyaml.Duration(10*time.Second) || s.Warmup != 0 {
		t.Errorf("got %+v for %s, warm-up %s", s.Arrivals, s.Duration, s.Warmup)
	}
	plain, err := profiles.LoadPartner("plain")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Partners) != 1 || s.Partners[0].Habits.Source() != plain.Source() || s.Partners[0].Share != 1 {
		t.Errorf("partners %+v, want one plain one", s.Partners)
	}
	noFaults := Mix{DuplicateAfter: strictyaml.Duration(50 * time.Millisecond), ChainAfter: strictyaml.Duration(100 * time.Millisecond)}
	if !reflect.DeepEqual(s.Mix, noFaults) {
		t.Errorf("mix %+v, want no faults", s.Mix)
	}
	want := OfferGroup{ID: "offer", Count: 1, Share: 1, Payout: 12_500_000, Currency: postback.Currency{'U', 'S', 'D'}}
	if !slices.Equal(s.Offers, []OfferGroup{want}) {
		t.Errorf("offers %+v, want %+v", s.Offers, want)
	}
}

// TestMixedPassesItsCaps counts the intents themselves: every capped offer of
// the default comparison must get clearly more paying conversions than its cap
// allows, early enough for the overshoot to show.
func TestMixedPassesItsCaps(t *testing.T) {
	s := load(t, "mixed")
	spec := s.IntentSpec()
	capped := 0
	for _, o := range spec.Offers {
		if o.Cap > 0 {
			capped++
		}
	}
	if len(spec.Offers) != 25 || capped != 5 {
		t.Errorf("%d offers, %d of them capped, want 25 and 5", len(spec.Offers), capped)
	}
	for run := range uint32(20) {
		spec.RunNumber = run
		g, err := intent.New(spec)
		if err != nil {
			t.Fatal(err)
		}
		paying := make([]int64, len(spec.Offers))
		var it intent.Intent
		for i := range uint64(s.intents()) {
			if g.At(i, &it); it.Kind == intent.Legitimate && it.Payable() {
				paying[it.Offer]++
			}
		}
		for i, o := range spec.Offers {
			if o.Cap > 0 && paying[i] < o.Cap+10 {
				t.Errorf("run %d: offer %s gets %d paying conversions, want well above its cap of %d", run, o.ID, paying[i], o.Cap)
			}
		}
	}
}

func TestOfferIDs(t *testing.T) {
	tests := []struct {
		count int
		want  string
	}{
		{1, "[a]"},
		{2, "[a-1 a-2]"},
		{10, "[a-01 a-02 a-03 a-04 a-05 a-06 a-07 a-08 a-09 a-10]"},
	}
	for _, test := range tests {
		if got := fmt.Sprint(OfferGroup{ID: "a", Count: test.count}.OfferIDs()); got != test.want {
			t.Errorf("%d offers: got %s, want %s", test.count, got, test.want)
		}
	}
	if longest := strictyaml.MaxNameBytes + len(fmt.Sprintf("-%d", MaxOffers)); longest > postback.MaxOfferIDBytes {
		t.Errorf("an offer id may have %d bytes, want at most %d", longest, postback.MaxOfferIDBytes)
	}
	if strictyaml.MaxNameBytes > postback.MaxKIDBytes {
		t.Errorf("a partner's name may be longer than a key id")
	}
}

func TestPartnerFilesLieBesideTheScenario(t *testing.T) {
	dir := t.TempDir()
	scenario := strings.Replace(Default().Source(), "profile: plain", "profile: ./own.yaml", 1)
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	path := write("scenario.yaml", scenario)

	_, err := Load(path)
	want := path + ":8:30: partners[0].profile: read partner profile: open " + filepath.Join(dir, "own.yaml")
	if !strings.HasPrefix(fmt.Sprint(err), want) {
		t.Errorf("without the file: got %v, want %s…", err, want)
	}

	own := write("own.yaml", "name: own\ntimeout: 3\n")
	_, err = Load(path)
	if want := own + `:2:10: timeout: "3" has no unit: write 3s or 3ms`; fmt.Sprint(err) != want {
		t.Errorf("with a broken file: got %v, want %s", err, want)
	}

	write("own.yaml", "name: own\ntimeout: 3s\n")
	s := load(t, path)
	if s.Partners[0].Profile != own || s.Partners[0].Habits.Timeout != strictyaml.Duration(3*time.Second) {
		t.Errorf("got %+v, want the habits of %s", s.Partners[0], own)
	}
}

func TestPartnerPath(t *testing.T) {
	tests := []struct{ file, profile, want string }{
		{"s.yaml", "plain", "plain"},
		{"s.yaml", "./own", "./own"},
		{"s.yaml", "own.yaml", "./own.yaml"},
		{"dir/s.yaml", "own.yaml", "dir/own.yaml"},
		{"dir/s.yaml", "../own.yaml", "./own.yaml"},
		{"dir/s.yaml", "/own.yaml", "/own.yaml"},
	}
	for _, test := range tests {
		if got := partnerPath(test.file, test.profile); got != test.want {
			t.Errorf("partnerPath(%q, %q) = %q, want %q", test.file, test.profile, got, test.want)
		}
	}
}

func TestValidateAfterAChange(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Scenario)
		want   string
	}{
		{"rate", func(s *Scenario) { s.Arrivals.RatePerS = 0 }, "arrivals.rate_per_s: want more than 0 and at most 1000000, got 0"},
		{"rate not a number", func(s *Scenario) { s.Arrivals.RatePerS = math.NaN() }, "arrivals.rate_per_s: want more than 0 and at most 1000000, got NaN"},
		{"negative time", func(s *Scenario) { s.Warmup = -1 }, "warmup: want less than the duration of 10s, which includes it, got -1ns"},
		{"no partner", func(s *Scenario) { s.Partners = nil }, "partners: want 1 to 64 partners, got 0"},
		{"forged", func(s *Scenario) { s.Mix.BadSignatures = 0.1 },
			"mix.bad_signatures: no partner authenticates its postbacks: give one a profile such as signed or set this to 0"},
		{"two at once", func(s *Scenario) { s.Name, s.RouterPoll = "", 0 },
			"name: want a name of 1 to 32 letters, digits, -, _ or ., got \"\"\nrouter_poll: want 1ms to 10s, got 0s"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := Default()
			test.change(&s)
			want := fmt.Sprintf("scenario %s: %s", s.Name, test.want)
			if err := s.Validate(); err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}
