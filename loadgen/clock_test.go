package loadgen

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestMeasureClock(t *testing.T) {
	for name, c := range map[string]struct {
		ahead       time.Duration // the server's clock against ours
		there, back time.Duration // of the quickest round trip
		bootID      string
		sameBoot    bool
	}{
		"same boot":         {there: 5 * time.Millisecond, bootID: "us", sameBoot: true},
		"other boot, ahead": {ahead: time.Hour, there: 4 * time.Millisecond, back: 4 * time.Millisecond, bootID: "them"},
		"behind, lopsided":  {ahead: -time.Minute, there: 8 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				client := memoryClient(func(w http.ResponseWriter, _ *http.Request) {
					asked++
					if asked != 3 {
						time.Sleep(100 * time.Millisecond) // only one round trip is quick
					}
					time.Sleep(c.there) // fake time: synctest
					fmt.Fprintf(w, `{"unix_ns":%d,"boot_id":%q}`, time.Now().Add(c.ahead).UnixNano(), c.bootID)
					time.Sleep(c.back) // fake time: synctest
				})
				got, err := MeasureClock(t.Context(), client, "http://me/clock", "us")
				if err != nil {
					t.Fatal(err)
				}
				if c.sameBoot {
					if got != (ClockOffset{SameBoot: true}) || asked != 1 {
						t.Errorf("%+v after %d questions", got, asked)
					}
					return
				}
				if wrong := time.Duration(got.AddNs) + c.ahead; wrong.Abs() > time.Duration(got.ErrorNs) || got.SameBoot {
					t.Errorf("%+v, wrong by %v", got, wrong)
				}
				if half := (c.there + c.back) / 2; time.Duration(got.ErrorNs) != half {
					t.Errorf("error %v, want half the quickest round trip, %v", time.Duration(got.ErrorNs), half)
				}
			})
		})
	}
}

// Without a boot id of our own, an equal (empty) one proves nothing.
func TestClockWithoutBootID(t *testing.T) {
	client := memoryClient(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"unix_ns":5}`) })
	if got, err := MeasureClock(t.Context(), client, "http://me/clock", ""); err != nil || got.SameBoot || got.AddNs == 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestClockCannotBeRead(t *testing.T) {
	for body, want := range map[string]string{
		"":                  "EOF",
		"hello":             "invalid character",
		`{"boot_id":"us"}`:  "no unix_ns in the answer",
		`{"unix_ns":"now"}`: "cannot unmarshal",
	} {
		client := memoryClient(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
		if _, err := MeasureClock(t.Context(), client, "http://me/clock", "us"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", body, err, want)
		}
	}
	client := memoryClient(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	if _, err := MeasureClock(t.Context(), client, "http://me/clock", "us"); err == nil || !strings.Contains(err.Error(), "http://me/clock answered 404") {
		t.Errorf("404: %v", err)
	}
}
