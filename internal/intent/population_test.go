package intent

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the goldens instead of comparing with them")

func requireGolden(t *testing.T, name string, write func(io.Writer) error) {
	t.Helper()
	var got bytes.Buffer
	if err := write(&got); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%s differs:\n%s", path, got.Bytes())
	}
}

func TestPopulation(t *testing.T) {
	spec := testSpec()
	spec.Mix.UnknownClicks = 0.2
	g := newGenerator(t, spec)
	requireGolden(t, "clicks.csv", func(w io.Writer) error { return g.WriteClicks(w, 20) })
	requireGolden(t, "offers.csv", g.WriteOffers)
	requireGolden(t, "keys.csv", g.WriteKeys)
}

// Unknown clicks are left out, and nothing else is.
func TestWriteClicksLeavesOutTheUnknown(t *testing.T) {
	spec := testSpec()
	spec.Mix.UnknownClicks = 0.5
	g := newGenerator(t, spec)
	const n = 200
	var text bytes.Buffer
	if err := g.WriteClicks(&text, n); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(text.String(), "\n")[1:]
	var it Intent
	for i := range uint64(n) {
		g.At(i, &it)
		listed := strings.HasPrefix(lines[0], string(it.ClickID)+","+spec.Offers[it.Offer].ID+",")
		if listed == (it.Kind == UnknownClick) {
			t.Fatalf("intent %s, listed: %v", textOf(&it), listed)
		}
		if listed {
			lines = lines[1:]
		}
	}
	if len(lines) != 1 || lines[0] != "" {
		t.Errorf("left over: %q", lines)
	}
}

// What WriteClicks writes, ReadClicks reads.
func TestOwnClicksRoundTrip(t *testing.T) {
	spec := testSpec()
	spec.Mix.UnknownClicks = 0
	original := "\"a,b\",open\n\"c\"\"d\",free\ne,capped\n"
	spec.Clicks = ownClicks(t, original, spec.Offers)
	var text bytes.Buffer
	if err := newGenerator(t, spec).WriteClicks(&text, 3); err != nil {
		t.Fatal(err)
	}
	again := ownClicks(t, text.String(), spec.Offers)
	for i := range 3 {
		wantID, wantOffer := spec.Clicks.Click(i)
		if id, offer := again.Click(i); !bytes.Equal(id, wantID) || offer != wantOffer {
			t.Errorf("%q of offer %d became %q of offer %d", wantID, wantOffer, id, offer)
		}
	}
}

type fullDisk struct{ left int }

var errFull = errors.New("disk full")

func (d *fullDisk) Write(p []byte) (int, error) {
	if d.left -= len(p); d.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestPopulationReportsAFullDisk(t *testing.T) {
	g := newGenerator(t, testSpec())
	clicks := func(w io.Writer) error { return g.WriteClicks(w, 10_000) }
	for name, write := range map[string]func(io.Writer) error{"clicks": clicks, "offers": g.WriteOffers, "keys": g.WriteKeys} {
		for _, room := range []int{0, 8192} {
			if err := write(&fullDisk{room}); !errors.Is(err, errFull) && (room == 0 || name == "clicks") {
				t.Errorf("%s with room for %d bytes: %v", name, room, err)
			}
		}
	}
}

func TestSecrets(t *testing.T) {
	secrets := map[string]string{}
	for _, seed := range []uint64{0, 1, 11} {
		for run := range uint32(2) {
			spec := testSpec()
			spec.Seed, spec.RunNumber = seed, run
			g := newGenerator(t, spec)
			for _, partner := range []string{"", "1", "big", "small", StrangerKID} {
				secret := string(g.Secret(partner))
				who := string(rune('a'+seed)) + partner // runs share their keys
				if owner, taken := secrets[secret]; taken && owner != who {
					t.Errorf("%q and %q share a secret", owner, who)
				}
				secrets[secret] = who
				if len(secret) != 32 {
					t.Errorf("a secret of %d bytes", len(secret))
				}
			}
		}
	}
	if len(secrets) != 15 {
		t.Errorf("%d secrets, want one per seed and partner: 15", len(secrets))
	}
}

// The signer of a partner signs with what the population says.
func TestSigner(t *testing.T) {
	g := newGenerator(t, testSpec())
	sign := func(partner string) string {
		return string(g.Signer(partner).AppendSignature(nil, []byte("GET"), []byte("/pb"), []byte("a=b")))
	}
	if sign("big") != sign("big") || sign("big") == sign("small") {
		t.Error("signatures must depend on the partner and on nothing else")
	}
}
