package intent

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/postbench/postbench/internal/postback"
)

// WriteClicks writes the clicks that intents 0 to n-1 refer to as CSV:
// click_id,offer_id,clicked_unix_s. Unknown clicks are left out; that is what
// makes them unknown.
func (g *Generator) WriteClicks(w io.Writer, n uint64) error {
	out := bufio.NewWriter(w)
	fmt.Fprintln(out, "click_id,offer_id,clicked_unix_s")
	var it Intent
	for i := range n {
		g.At(i, &it)
		if it.Kind == UnknownClick {
			continue
		}
		if _, err := fmt.Fprintf(out, "%s,%s,%d\n", it.ClickID, g.spec.Offers[it.Offer].ID, g.ClickUnixS(i)); err != nil {
			return fmt.Errorf("write clicks: %w", err)
		}
	}
	return out.Flush()
}

// WriteOffers writes the offers as CSV:
// offer_id,cap,payout,currency,attribution_window_s (cap and window 0: none).
func (g *Generator) WriteOffers(w io.Writer) error {
	out := bufio.NewWriter(w)
	fmt.Fprintln(out, "offer_id,cap,payout,currency,attribution_window_s")
	for _, o := range g.spec.Offers {
		fmt.Fprintf(out, "%s,%d,%s,%s,%d\n", o.ID, o.Cap, o.Payout, o.Currency, o.AttributionWindowS)
	}
	return out.Flush()
}

// WriteKeys writes the partners' signing keys as CSV: kid,secret_hex. They
// are made from the seed and protect nothing but this benchmark.
func (g *Generator) WriteKeys(w io.Writer) error {
	out := bufio.NewWriter(w)
	fmt.Fprintln(out, "kid,secret_hex")
	for _, p := range g.spec.Partners {
		fmt.Fprintf(out, "%s,%s\n", p.Name, hex.EncodeToString(g.Secret(p.Name)))
	}
	return out.Flush()
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
