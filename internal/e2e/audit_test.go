package e2e

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postbench/postbench/internal/labtarget"
	"github.com/postbench/postbench/reports"
)

func fetch(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, response.Status, err)
	}
	return string(text)
}

// asCSV turns an NDJSON ledger into what a database exports: other names,
// other columns between, another order.
func asCSV(t *testing.T, ndjson string) string {
	t.Helper()
	var text strings.Builder
	w := csv.NewWriter(&text)
	rows := [][]string{{"id", "sum", "cid", "tx", "status", "verdict", "offer_id", "currency", "created_at"}}
	for i, line := range strings.Split(strings.TrimSpace(ndjson), "\n") {
		var r struct {
			ClickID        string `json:"click_id"`
			TxID           string `json:"txid"`
			Event          string `json:"event"`
			Verdict        string `json:"verdict"`
			OfferID        string `json:"offer_id"`
			Payout         string `json:"payout"`
			Currency       string `json:"currency"`
			RecordedUnixNs int64  `json:"recorded_unix_ns"`
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, []string{fmt.Sprint(i), r.Payout, r.ClickID, r.TxID, r.Event, r.Verdict, r.OfferID, r.Currency, fmt.Sprint(r.RecordedUnixNs)})
	}
	if err := w.WriteAll(rows); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// judged is what audit may change: everything else must stay.
func judged(t *testing.T, r reports.Result) string {
	t.Helper()
	text, err := json.Marshal(r.Variants)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func auditFlags(format string) []string {
	if format == "csv" {
		return []string{"--columns", "click_id=cid,txid=tx,event=status,payout=sum,recorded_unix_ns=created_at"}
	}
	return nil
}

// The same rows give the same judgement, whether they came from a URL at the
// run's end or from a file later.
func TestAuditEqualsTheDirectJudgement(t *testing.T) {
	t.Parallel()
	target := lab(t, labtarget.Options{LoseEvery: 50, TwiceEvery: 70, PhantomEvery: 90, ChangePayoutEvery: 110, RefuseEvery: 40,
		Caps: map[string]int64{"offer": 100}, BillOverCap: true})
	direct := play(t, "run", "--target", target.URL(), "--scenario", write(t, "capped.yaml", capScenario), "--warmup", "200ms",
		"--ledger", target.URL()+"/ledger", "--caps", target.URL(), "--settle", "300ms")
	want := judged(t, direct.result)
	ndjson := fetch(t, target.URL()+"/ledger")
	for format, text := range map[string]string{"ndjson": ndjson, "csv": asCSV(t, ndjson)} {
		o := postbench(t, append([]string{"audit", direct.dir, "--ledger", write(t, "export."+format, text)}, auditFlags(format)...)...)
		if o.code != direct.code {
			t.Errorf("%s: exit code %d, the run's was %d\n%s", format, o.code, direct.code, o.stderr)
		}
		if got := judged(t, readResult(t, direct.dir)); got != want {
			t.Errorf("%s:\n got %s\nwant %s", format, got, want)
		}
	}
	// Fewer rows, another judgement: audit really looks.
	short := write(t, "short.ndjson", ndjson[:strings.Index(ndjson, "\n")+1])
	postbench(t, "audit", direct.dir, "--ledger", short)
	if got := known(t, "recorded", readResult(t, direct.dir).Variants[0].Ledger.Recorded); got != 1 {
		t.Errorf("%d recorded, the ledger has one row", got)
	}
}

// A run without a ledger knows no fates until audit brings them.
func TestAuditBringsTheFates(t *testing.T) {
	t.Parallel()
	target := lab(t, labtarget.Options{LoseEvery: 20})
	p := play(t, "run", "--target", target.URL(), "--rate", "200", "--duration", "1s")
	if p.result.Variants[0].Ledger.Judged() {
		t.Fatal("judged without a ledger")
	}
	postbench(t, "audit", p.dir, "--ledger", target.URL()+"/ledger")
	v := readResult(t, p.dir).Variants[0]
	lost := int64(len(target.Truth().Lost))
	if known(t, "lost", v.Ledger.LostAfterAck) != lost || known(t, "recorded", v.Ledger.Recorded) != 200-lost || !v.Ledger.Balanced {
		t.Errorf("%+v", v.Ledger)
	}
}

// The user's own clicks and template: no txid, other names, no offer.
func TestOwnClicks(t *testing.T) {
	t.Parallel()
	target := lab(t, labtarget.Options{LoseEvery: 50, TwiceEvery: 60})
	var clicks strings.Builder
	for i := range 250 {
		fmt.Fprintf(&clicks, "own-%04d\n", i)
	}
	file := write(t, "clicks.txt", clicks.String())
	p := play(t, "run", "--url", target.URL()+"/mine?click_id={click_id}&sum={payout}", "--header", "X-Network: {click_id}", "--clicks", file,
		"--rate", "200", "--duration", "1s", "--ledger", target.URL()+"/ledger", "--settle", "300ms")
	truth := target.Truth()
	lost, twice := int64(len(truth.Lost)), int64(len(truth.Twice))
	want := map[string]int64{"recorded": 200 - lost, "lost_after_ack": lost, "double_counted": twice, "missing_count": lost, "surplus_count": twice,
		"missing_micros": lost * paid, "surplus_micros": twice * paid}
	if got := sheet(t, &p.result.Variants[0]); !maps.Equal(got, want) {
		t.Errorf("\n got %v\nwant %v", got, want)
	}
	// Judged again from elsewhere, and never by another file.
	elsewhere := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(p.dir, elsewhere); err != nil {
		t.Fatal(err)
	}
	if o := postbench(t, "audit", elsewhere, "--ledger", target.URL()+"/ledger"); o.code != p.code {
		t.Errorf("exit code %d\n%s", o.code, o.stderr)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(clicks.String(), "own-0000", "own-9999", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	oneLine(t, postbench(t, "audit", elsewhere, "--ledger", target.URL()+"/ledger"), 2, "has changed since")
}
