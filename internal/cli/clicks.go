package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/postbench/postbench/internal/intent"
)

// clickFile is the user's own click ids and where they came from, so that
// audit can tell whether it reads the same ones.
type clickFile struct {
	path, sha256 string
	list         *intent.ClickList
}

func readClicks(path string, offers []intent.Offer) (clickFile, error) {
	file, err := os.Open(path)
	if err != nil {
		return clickFile{}, fmt.Errorf("own click ids: %w", err)
	}
	defer file.Close()
	sum := sha256.New()
	list, err := intent.ReadClicks(path, io.TeeReader(file, sum), offers)
	if err != nil {
		return clickFile{}, err
	}
	absolute, err := filepath.Abs(path) // audit may be run from elsewhere
	if err != nil {
		return clickFile{}, fmt.Errorf("own click ids: %w", err)
	}
	return clickFile{path: absolute, sha256: hex.EncodeToString(sum.Sum(nil)), list: list}, nil
}

// tellable refuses postbacks that the judge could not tell from one another,
// or that a correct server would have to take for something else.
func (p *plan) tellable() error {
	for i := range p.templates {
		t := &p.templates[i]
		if p.spec.Mix.Leads > 0 && !t.Has("event") && !t.Has("payout") {
			return errors.New("the scenario has leads, which pay nothing, but --url says neither {event} nor {payout}: a server must take them for sales; add one of the two, or use a scenario without leads")
		}
		if p.clicks.list != nil && !t.Has("txid") {
			if id, ok := p.clicks.repeated(); ok {
				return fmt.Errorf("%s holds click id %q more than once and --url has no {txid} to tell its conversions apart: add {txid}, or leave out repeated ids", p.clicks.path, id)
			}
		}
	}
	return nil
}

// repeated returns a click id that the list holds twice.
func (c *clickFile) repeated() (id string, ok bool) {
	seen := make(map[string]struct{}, c.list.Len())
	for i := range c.list.Len() {
		click, _ := c.list.Click(i)
		if _, again := seen[string(click)]; again {
			return string(click), true
		}
		seen[string(click)] = struct{}{}
	}
	return "", false
}
