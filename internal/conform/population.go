package conform

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// populateTimeout bounds the load of each of the three files.
const populateTimeout = time.Minute

// populate tells the server of offers, key and clicks, in this order.
func (p *play) populate(ctx context.Context) error {
	offers := [][]string{{"offer_id", "cap", "payout", "currency", "attribution_window_s", "cap_window_s"}}
	for _, o := range p.script.offers {
		offers = append(offers, []string{o.id, strconv.FormatInt(o.cap, 10), "12.5", "EUR", strconv.FormatInt(o.attributionWindowS, 10), strconv.FormatInt(o.capWindowS, 10)})
	}
	keys := [][]string{{"kid", "secret_hex"}, {p.script.key.KID, hex.EncodeToString(p.script.key.Secret)}}
	clicks := [][]string{{"click_id", "offer_id", "clicked_unix_s"}}
	for _, c := range p.script.clicks {
		clicks = append(clicks, []string{c.id, c.offerID, strconv.FormatInt(c.unixS, 10)})
	}
	for _, file := range []struct {
		name string
		rows [][]string
	}{{"offers", offers}, {"keys", keys}, {"clicks", clicks}} {
		if file.name == "keys" && p.target.Key.KID != "" {
			continue // the server has it
		}
		if err := p.load(ctx, strings.TrimSuffix(p.target.Populate, "/")+"/"+file.name, file.rows); err != nil {
			return fmt.Errorf("%w: load the population: %w", ErrTarget, err)
		}
	}
	return nil
}

func (p *play) load(ctx context.Context, url string, rows [][]string) error {
	var body bytes.Buffer
	if err := csv.NewWriter(&body).WriteAll(rows); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, populateTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, &body)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "text/csv")
	response, err := p.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(response.Body, maxShownBytes))
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%s answered %s: %s", url, response.Status, strings.Join(strings.Fields(string(text)), " "))
	}
	return nil
}
