package loadgen

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// clockSamples is how often the server's clock is asked; the quickest answer
// is the most exact.
const clockSamples = 8

// ClockOffset is how a server's clock stands to ours.
type ClockOffset struct {
	// AddNs brings the server's times onto our clock, ± ErrorNs.
	AddNs, ErrorNs int64
	// SameBoot: both clocks are the same one; AddNs and ErrorNs are 0.
	SameBoot bool
}

// MeasureClock asks GET url ({"unix_ns":…,"boot_id":"…"}) and estimates the
// offset as NTP does: the answer was given in the middle of the round trip,
// give or take half of it (RFC 5905 §8).
func MeasureClock(ctx context.Context, client *http.Client, url, bootID string) (ClockOffset, error) {
	best := ClockOffset{ErrorNs: int64(time.Hour)}
	for range clockSamples {
		before := time.Now()
		answer, err := askClock(ctx, client, url)
		if err != nil {
			return ClockOffset{}, fmt.Errorf("clock cannot be read: %w", err)
		}
		roundTrip := time.Since(before)
		if bootID != "" && answer.BootID == bootID {
			return ClockOffset{SameBoot: true}, nil
		}
		if half := int64(roundTrip / 2); half < best.ErrorNs {
			best = ClockOffset{AddNs: before.UnixNano() + half - answer.UnixNs, ErrorNs: half}
		}
	}
	return best, nil
}

type clockAnswer struct {
	UnixNs int64  `json:"unix_ns"`
	BootID string `json:"boot_id"`
}

func askClock(ctx context.Context, client *http.Client, url string) (clockAnswer, error) {
	var answer clockAnswer
	ctx, cancel := context.WithTimeout(ctx, capAnswerTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return answer, err
	}
	response, err := client.Do(request)
	if err != nil {
		return answer, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return answer, fmt.Errorf("%s answered %s", url, response.Status)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxCapAnswerBytes)).Decode(&answer); err != nil {
		return answer, fmt.Errorf("%s: %w", url, err)
	}
	if answer.UnixNs == 0 {
		return answer, fmt.Errorf("%s: no unix_ns in the answer", url)
	}
	return answer, nil
}
