package intent

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"
)

func ownClicks(t testing.TB, text string, offers []Offer) *ClickList {
	t.Helper()
	list, err := ReadClicks("clicks.csv", strings.NewReader(text), offers)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestReadClicks(t *testing.T) {
	offers := testSpec().Offers
	for name, c := range map[string]struct{ text, want string }{
		"ids only":            {"a\nb\nc\n", "a:-1 b:-1 c:-1"},
		"with offers":         {"a,open\nb,capped\nc,\n", "a:0 b:1 c:-1"},
		"header":              {"click_id\na\n", "a:-1"},
		"header with offers":  {"click_id,offer_id,clicked_unix_s\na,free,1700000000\n", "a:2"},
		"byte order mark":     {"\uFEFFclick_id\na\n", "a:-1"},
		"mark before an id":   {"\uFEFFa\n", "a:-1"},
		"header in line two":  {"a\nclick_id\n", "a:-1 click_id:-1"},
		"empty lines":         {"\n\na\n\n  \nb", "a:-1 b:-1"},
		"Windows":             {"click_id,offer_id\r\na,open\r\n", "a:0"},
		"spaces":              {" a , open , x\n", "a:0"},
		"quotes":              {`"a","open"` + "\n" + `"b,c"` + "\n" + `"d""e",capped`, `a:0 b,c:-1 d"e:1`},
		"the same id twice":   {"a,open\na,free\n", "a:0 a:2"},
		"longest":             {strings.Repeat("x", 128), strings.Repeat("x", 128) + ":-1"},
		"any bytes":           {"\xff\x00,open", "\xff\x00:0"},
		"no offers mentioned": {"a,,\n", "a:-1"},
	} {
		list, err := ReadClicks("f", strings.NewReader(c.text), offers)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for i := range list.Len() {
			id, offer := list.Click(i)
			got = append(got, fmt.Sprintf("%s:%d", id, offer))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestReadClicksRefuses(t *testing.T) {
	offers := testSpec().Offers
	for name, c := range map[string]struct{ text, want string }{
		"nothing":            {"", "f: no click ids"},
		"header only":        {"click_id\n\n", "f: no click ids"},
		"unknown offer":      {"click_id,offer_id\na,open\n\nb,nope\n", `f:4: offer "nope" is not in the scenario`},
		"too long an id":     {"a\n" + strings.Repeat("x", 129), "f:2: click id of 129 bytes, longer than 128"},
		"too long a line":    {"click_id\n\na\nb," + strings.Repeat("x", maxClickLineBytes) + "\nc\n", "f:4: bufio.Scanner: token too long"},
		"id left out":        {"a\n,open\n", "f:2: no click id before the comma"},
		"quoted nothing":     {`"",open`, "f:1: no click id"},
		"quote left open":    {"a\n\"b\nc\"\n", "f:2: quotes that are not those of CSV"},
		"quote in the midst": {`a"b`, "f:1: quotes"},
	} {
		_, err := ReadClicks("f", strings.NewReader(c.text), offers)
		if err == nil || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	broken := errors.New("broken")
	_, err := ReadClicks("f", iotest.DataErrReader(iotest.ErrReader(broken)), offers)
	if !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "f:1: ") {
		t.Errorf("got %v, want the reader's error", err)
	}
}

func TestOwnClicksAreUsedInOrder(t *testing.T) {
	spec := testSpec()
	spec.Mix.UnknownClicks = 0.3
	spec.Clicks = ownClicks(t, "a,free\nb\nc,open\n", spec.Offers)
	g := newGenerator(t, spec)
	spec.Clicks = nil
	generated := newGenerator(t, spec)
	unknown := 0
	for i := range uint64(100) {
		var it, other Intent
		g.At(i, &it)
		generated.At(i, &other)
		wantID, wantOffer := []string{"a", "b", "c"}[i%3], []int{2, other.Offer, 0}[i%3]
		if it.Kind == UnknownClick { // the user's server knows its own clicks
			unknown++
			wantID = string(other.ClickID)
		}
		if string(it.ClickID) != wantID || it.Offer != wantOffer || it.Kind != other.Kind || string(it.TxID) != string(other.TxID) {
			t.Fatalf("%s, want click %q and offer %d", textOf(&it), wantID, wantOffer)
		}
	}
	if unknown == 0 {
		t.Error("no unknown click among 100")
	}
}

func TestFindOwnClick(t *testing.T) {
	spec := testSpec()
	spec.Seed, spec.Mix.UnknownClicks = 290, 0.3
	spec.Clicks = ownClicks(t, "a\nb\na\nc\nx\ne\ne\n", spec.Offers)
	g := newGenerator(t, spec)
	for index, kind := range map[uint64]Kind{0: Legitimate, 1: Legitimate, 2: Legitimate, 3: Legitimate, 4: UnknownClick, 5: UnknownClick, 6: Legitimate} {
		var it Intent
		if g.At(index, &it); it.Kind != kind {
			t.Fatalf("intent %d is %s: choose another seed", index, it.Kind)
		}
	}
	spec.RunNumber++
	other := newGenerator(t, spec)
	txID := func(g *Generator, index uint64) []byte {
		var it Intent
		g.At(index, &it)
		return it.TxID
	}
	var stranger Intent
	for g.At(stranger.Index, &stranger); stranger.Kind != UnknownClick; {
		g.At(stranger.Index+1, &stranger)
	}
	for _, c := range []struct {
		name    string
		clickID string
		txID    []byte
		index   uint64
		owner   Owner
	}{
		{"by txid", "a", txID(g, 2), 2, ThisRun},
		{"the txid outweighs the click id", "c", txID(g, 0), 0, ThisRun},
		{"txid beyond the list", "a", txID(g, MaxIndex), MaxIndex, ThisRun},
		{"txid of another run", "a", txID(other, 1), 1, OtherRun},
		{"by click id", "b", nil, 1, ThisRun},
		{"by click id, the server's own txid", "c", []byte("tx-9"), 3, ThisRun},
		{"an id that is there twice: its first use", "a", nil, 0, ThisRun},
		{"an id that is there twice, first under an unknown click", "e", nil, 6, ThisRun},
		{"replaced by an unknown click, hence never sent", "x", nil, 0, Foreign},
		{"unknown click", string(stranger.ClickID), nil, stranger.Index, ThisRun},
		{"neither", "d", []byte("tx-9"), 0, Foreign},
		{"empty", "", nil, 0, Foreign},
	} {
		index, owner := g.Find([]byte(c.clickID), c.txID)
		if owner != c.owner || owner != Foreign && index != c.index {
			t.Errorf("%s: %d, owner %d; want %d, owner %d", c.name, index, owner, c.index, c.owner)
		}
	}
}

// Every click of a long list is found at its own place, whatever its hash.
func TestFindAmongManyOwnClicks(t *testing.T) {
	const n = 20_000
	var text bytes.Buffer
	for i := range n {
		fmt.Fprintf(&text, "click-%d\n", i)
	}
	spec := testSpec()
	spec.Mix.UnknownClicks = 0
	spec.Clicks = ownClicks(t, text.String(), spec.Offers)
	g := newGenerator(t, spec)
	for i := range n {
		if index, owner := g.Find(fmt.Appendf(nil, "click-%d", i), nil); index != uint64(i) || owner != ThisRun {
			t.Fatalf("click-%d is found at %d, owner %d", i, index, owner)
		}
		if _, owner := g.Find(fmt.Appendf(nil, "click-%d", n+i), nil); owner != Foreign {
			t.Fatalf("click-%d is not in the list, yet found", n+i)
		}
	}
}

func FuzzReadClicks(f *testing.F) {
	for _, seed := range []string{"", "a,open\nb\n", "click_id,offer_id\n\"a\"\"\",free\n", "\uFEFFa\r\n", "\"", "a,b,c\n,", "\xff"} {
		f.Add([]byte(seed))
	}
	offers := testSpec().Offers
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := ReadClicks("f", bytes.NewReader(text), offers)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") || strings.Contains(err.Error(), "\n") {
				t.Fatalf("%q", err)
			}
			return
		}
		spec := testSpec()
		spec.Mix.UnknownClicks = 0
		spec.Clicks = list
		g, err := New(spec)
		if err != nil {
			t.Fatal(err)
		}
		for i := range list.Len() {
			id, offer := list.Click(i)
			position, owner := g.Find(id, nil)
			first, _ := list.Click(int(position))
			if len(id) == 0 || offer >= len(offers) || owner != ThisRun || position > uint64(i) || !bytes.Equal(first, id) {
				t.Fatalf("click %d, %q of offer %d, is found at %d", i, id, offer, position)
			}
		}
	})
}
