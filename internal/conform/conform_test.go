package conform

import (
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/postback"
)

// targetOf is all of a fake.
func targetOf(url string) Target {
	return Target{Origin: url, Ledger: url + "/ledger", Caps: url, Clock: url + "/clock", Populate: url + "/population",
		Tag: "t0", NewSecret: []byte("0123456789abcdef"), Settle: 100 * time.Millisecond, Client: &http.Client{}}
}

// run returns the results by case.
func run(t *testing.T, target Target) (results []Result) {
	t.Helper()
	if err := Run(t.Context(), target, func(r Result) { results = append(results, r) }); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, r := range results {
		if seen[r.Case] || strings.Contains(r.String(), "\n") {
			t.Errorf("twice, or in several lines: %s", r)
		}
		seen[r.Case] = true
	}
	return results
}

func outcomes(results []Result, o Outcome) (names []string) {
	for _, r := range results {
		if r.Outcome == o {
			names = append(names, r.Case)
		}
	}
	return names
}

// Every fault is found, by the cases that are about it and by no other.
func TestFaults(t *testing.T) {
	for fault, want := range map[string][]string{
		"": nil,
		"counts twice": {"plain: a postback that is sent twice counts once", "plain: a postback that is sent 8 times at once counts once",
			"plain: without a txid there is one conversion per click and event", "plain: ids are compared once they are decoded"},
		"collation":     {"plain: txids that differ in case or a trailing blank are two"},
		"never late":    {"plain: a sale after the attribution window is late"},
		"no caps":       {"plain: a sale past the cap is over_cap", "plain: rows name the window of a cap that resets"},
		"never closed":  {"caps: the status counts and closes", "plain: rows name the window of a cap that resets"},
		"float32":       {"plain: a payout of 9007199254.740993 is exact", "signed: a payout of 9007199254.740993 is exact"},
		"any ts":        {"signed: a ts of 30 days ago is refused"},
		"any method":    {"plain: HEAD records nothing", "plain: PUT is refused", "plain: DELETE is refused"},
		"any signature": {"signed: a signature with another secret is refused", "signed: an unknown key id is refused", "signed: a payout changed after signing is refused"},
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			results := run(t, targetOf(startFake(t, fault).URL))
			if got := outcomes(results, Failed); !slices.Equal(got, want) {
				t.Errorf("failed: %q\nwant    %q", got, want)
			}
			for _, r := range results {
				if r.Outcome == Failed && (r.Sent == "" || r.Came == "" || r.Wanted == "") {
					t.Errorf("says too little: %+v", r)
				}
			}
		})
	}
}

// A server that forgets everything, and one whose times are milliseconds, fail
// wherever rows are wanted, and not where nothing may be recorded.
func TestFaultsOfAllRows(t *testing.T) {
	for _, fault := range []string{"deaf", "milliseconds"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			failed := outcomes(run(t, targetOf(startFake(t, fault).URL)), Failed)
			for _, name := range failed {
				if strings.HasSuffix(name, "refused") || strings.HasSuffix(name, "2xx") {
					t.Errorf("fails: %s", name)
				}
			}
			if !slices.Contains(failed, "plain: a sale is billable") || len(failed) < 20 {
				t.Errorf("failed: %q", failed)
			}
		})
	}
}

// What is not in the rows, or has no URL, is not asked, and never green.
func TestNotAsked(t *testing.T) {
	url := startFake(t, "no windows").URL
	if got := outcomes(run(t, targetOf(url)), NotAsked); !slices.Equal(got, []string{"plain: rows name the window of a cap that resets", "dialects: partners' own templates"}) {
		t.Errorf("%q", got)
	}
	blind := targetOf(url)
	blind.Ledger, blind.Caps, blind.Clock, blind.Populate, blind.NewSecret = "", "", "", "", nil
	results := run(t, blind)
	if failed := outcomes(results, Failed); len(failed) > 0 {
		t.Errorf("failed: %q", failed)
	}
	for _, name := range outcomes(results, OK) {
		if strings.HasPrefix(name, "signed") || strings.Contains(name, " is billable") || strings.Contains(name, "once") {
			t.Errorf("green without a look at it: %s", name)
		}
	}
}

// The strict play wants what the contract leaves open, and exact statuses.
func TestStrict(t *testing.T) {
	strict := targetOf(startFake(t, "no windows").URL)
	strict.Strict = true
	results := run(t, strict)
	failed, right := outcomes(results, Failed), outcomes(results, OK)
	for _, want := range []string{"plain: rows name the window of a cap that resets", "plain: a negative sale is refused"} {
		if !slices.Contains(failed, want) {
			t.Errorf("does not fail: %s; failed: %q", want, failed)
		}
	}
	if want := "signed: a missing parameter is refused"; !slices.Contains(right, want) {
		t.Errorf("not right: %s; failed: %q", want, failed)
	}
}

// A report may be shown around: it does not speak for a partner.
func TestSecretsStayOutOfReports(t *testing.T) {
	target := targetOf(startFake(t, "").URL)
	target.Dialects = []postback.Dialect{
		{Partner: "token", Auth: postback.AuthToken, Secret: []byte("0123456789abcdef"), Target: "/{token}/x?cid={click_id}&sum={payout}"},
		{Partner: "md5", Auth: postback.AuthMD5, AuthParam: "h", Digest: "{click_id}", Secret: []byte("0123456789abcdef"), Target: "/w?cid={click_id}"},
	}
	var own []Result
	for _, r := range run(t, target) {
		if strings.HasPrefix(r.Case, "partner ") {
			own = append(own, r)
		}
	}
	if len(own) != 5 {
		t.Errorf("%d cases of partners", len(own))
	}
	for _, r := range own { // the fake answers 404
		counts := strings.HasSuffix(r.Case, "however often it is sent")
		if (r.Outcome == Failed) != counts || strings.Contains(r.String(), hex.EncodeToString([]byte("0123456789abcdef"))) {
			t.Errorf("%s", r)
		}
		if counts && !strings.Contains(r.Sent, "redacted") {
			t.Errorf("nothing redacted: %s", r)
		}
	}
}

func TestBadTargets(t *testing.T) {
	server := startFake(t, "")
	for name, change := range map[string]func(*Target){
		"nobody there": func(t *Target) { t.Origin, t.Ledger, t.Populate = "http://127.0.0.1:1", "", "" },
		"no origin":    func(t *Target) { t.Origin = "" },
		"bad tag":      func(t *Target) { t.Tag = "a/b" },
		"weak secret":  func(t *Target) { t.NewSecret = nil },
		"no ledger":    func(t *Target) { t.Ledger += "/x" },
		"no loading":   func(t *Target) { t.Populate += "/x" },
		"long key id":  func(t *Target) { t.Key = Key{KID: strings.Repeat("k", 33), Secret: []byte("s")} },
	} {
		target := targetOf(server.URL)
		change(&target)
		if err := Run(t.Context(), target, func(r Result) { t.Errorf("%s: %s", name, r) }); !errors.Is(err, ErrTarget) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
