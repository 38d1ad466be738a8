package intent

import (
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"

	"github.com/postbench/postbench/internal/postback"
)

// WriteClicks writes the clicks that intents 0 to n-1 refer to as CSV:
// click_id,offer_id,clicked_unix_s, those of a chain once. Unknown clicks are
// left out; that is what makes them unknown.
func (g *Generator) WriteClicks(w io.Writer, n uint64) error {
	out := csv.NewWriter(w)
	err := out.Write([]string{"click_id", "offer_id", "clicked_unix_s"})
	var it Intent
	for i := uint64(0); i < n && err == nil; i++ {
		if g.At(i, &it); it.Kind != UnknownClick && it.Origin == i {
			err = out.Write([]string{string(it.ClickID), g.spec.Offers[it.Offer].ID, strconv.FormatInt(g.ClickUnixS(i), 10)})
		}
	}
	return finish(out, "clicks")
}

// WriteOffers writes the offers as CSV:
// offer_id,cap,payout,currency,attribution_window_s,cap_window_s (cap and
// attribution window 0: none; cap window 0: the whole life).
func (g *Generator) WriteOffers(w io.Writer) error {
	out := csv.NewWriter(w)
	out.Write([]string{"offer_id", "cap", "payout", "currency", "attribution_window_s", "cap_window_s"})
	for _, o := range g.spec.Offers {
		out.Write([]string{o.ID, strconv.FormatInt(o.Cap, 10), o.Payout.String(), o.Currency.String(), strconv.FormatInt(o.AttributionWindowS, 10),
			strconv.FormatInt(o.CapWindowS, 10)})
	}
	return finish(out, "offers")
}

// WriteKeys writes the partners' signing keys as CSV: kid,secret_hex. They
// are made from the seed and protect nothing but this benchmark.
func (g *Generator) WriteKeys(w io.Writer) error {
	out := csv.NewWriter(w)
	out.Write([]string{"kid", "secret_hex"})
	for _, p := range g.spec.Partners {
		out.Write([]string{p.Name, hex.EncodeToString(g.Secret(p.Name))})
	}
	return finish(out, "keys")
}

// finish flushes; the writer keeps the first error of all writes until here.
func finish(out *csv.Writer, what string) error {
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("write %s: %w", what, err)
	}
	return nil
}

// Secret is the signing secret of a partner, 32 bytes.
func (g *Generator) Secret(partner string) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "postbench key\n%d\n%s", g.spec.Seed, partner))
	return sum[:]
}

// StrangerKID is the key id under which UnknownPartner intents sign; no
// population carries it.
const StrangerKID = "stranger"

// Signer returns the signer of a partner's key.
func (g *Generator) Signer(partner string) *postback.Signer {
	return postback.NewSigner(partner, g.Secret(partner))
}
