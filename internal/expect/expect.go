// Package expect is the language in which a scenario says what must hold:
// "p99 < 500ms", "loss <= 0.5%", "big-network: p99 < 300ms". It is pure: it
// parses and compares; whoever has a result looks the values up.
package expect

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Unit is what the value of a metric is counted in.
type Unit string

// The units. Values are kept as float64 in the unit's base.
const (
	UnitDuration Unit = "duration" // base: ns; written 500ms
	UnitShare    Unit = "share"    // base: 1; written 0.5%
	UnitCount    Unit = "count"    // base: 1; written 0
)

// Metric is something that can be expected of a result.
type Metric struct {
	Name string
	Unit Unit
	// PerPartner: it is also known of one partner.
	PerPartner bool
	About      string
}

// Metrics lists what can be expected, in the order of their documentation.
func Metrics() []Metric {
	return []Metric{
		{"p50", UnitDuration, true, "response latency, half of all legitimate postbacks"},
		{"p90", UnitDuration, true, "response latency"},
		{"p95", UnitDuration, true, "response latency"},
		{"p99", UnitDuration, true, "response latency"},
		{"p99.9", UnitDuration, true, "response latency"},
		{"delivery_p99", UnitDuration, false, "due until the acked attempt, retries included"},
		{"recorded_p99", UnitDuration, false, "due until central's commit"},
		{"loss", UnitShare, true, "lost after an ack or at the partner, of the legitimate"},
		{"lost_after_ack", UnitCount, true, "acked and not in the ledger"},
		{"discrepancy", UnitShare, false, "recorded money more or less than the partners', of theirs"},
		{"missing", UnitShare, false, "claimed and not recorded money, of the partners' money"},
		{"surplus", UnitShare, false, "recorded and not claimed money, of the partners' money"},
		{"double_counted", UnitCount, false, "billable rows beyond the first of an identity"},
		{"forged_accepted", UnitCount, true, "illegitimate postbacks that were recorded"},
		{"wrong_verdict", UnitCount, false, "rows with a verdict that no correct server gives"},
		{"billed_overshoot_max", UnitShare, false, "billable rows beyond the cap, worst offer, of the cap"},
		{"traffic_overshoot_mean", UnitShare, false, "conversions due past the cap before the router saw it closed, mean over offers, of the cap"},
		{"traffic_overshoot_max", UnitShare, false, "as before, worst offer"},
	}
}

// Expectation is one parsed line.
type Expectation struct {
	Text    string // as written, without outer spaces
	Partner string // "": of the whole run
	Metric  Metric
	Op      string // one of < <= > >= =
	Limit   float64
}

// ErrExpectation is wrapped by every error of Parse.
var ErrExpectation = errors.New("not an expectation")

// maxTextBytes bounds a line.
const maxTextBytes = 200

// operators, the longer ones first.
var operators = []string{"<=", ">=", "<", ">", "="}

// Parse reads "[partner:] metric op value".
func Parse(text string) (Expectation, error) {
	e := Expectation{Text: strings.TrimSpace(text)}
	fail := func(format string, args ...any) (Expectation, error) {
		return Expectation{}, fmt.Errorf("%w: %.60q: %s", ErrExpectation, text, fmt.Sprintf(format, args...))
	}
	if len(text) > maxTextBytes {
		return fail("longer than %d bytes", maxTextBytes)
	}
	left, value, ok := e.split()
	if !ok {
		return fail("want a comparison such as \"p99 < 500ms\", with one of %s", strings.Join(operators, " "))
	}
	name := left
	if partner, rest, found := strings.Cut(left, ":"); found {
		e.Partner, name = strings.TrimSpace(partner), strings.TrimSpace(rest)
		if e.Partner == "" {
			return fail("no partner before the colon")
		}
	}
	all := Metrics()
	at := slices.IndexFunc(all, func(m Metric) bool { return m.Name == name })
	if at < 0 {
		return fail("unknown metric %q; there are: %s", name, strings.Join(names(all), ", "))
	}
	e.Metric = all[at]
	if e.Partner != "" && !e.Metric.PerPartner {
		return fail("%s is not known of one partner; of one there are: %s", name, strings.Join(names(perPartner(all)), ", "))
	}
	limit, err := parseValue(value, e.Metric.Unit)
	if err != nil {
		return fail("%v", err)
	}
	e.Limit = limit
	return e, nil
}

// split finds the operator.
func (e *Expectation) split() (left, value string, ok bool) {
	at := strings.IndexAny(e.Text, "<>=")
	if at < 0 {
		return "", "", false
	}
	for _, op := range operators {
		if strings.HasPrefix(e.Text[at:], op) {
			e.Op = op
			break
		}
	}
	return strings.TrimSpace(e.Text[:at]), strings.TrimSpace(e.Text[at+len(e.Op):]), true
}

func parseValue(text string, unit Unit) (float64, error) {
	switch unit {
	case UnitDuration:
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			return 0, fmt.Errorf("limit %q: want a duration such as 500ms", text)
		}
		return float64(d), nil
	case UnitShare:
		number, ok := strings.CutSuffix(text, "%")
		v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if !ok || err != nil || !(v >= 0) || math.IsInf(v, 0) {
			return 0, fmt.Errorf("limit %q: want a percentage such as 0.5%%", text)
		}
		return v / 100, nil
	}
	v, err := strconv.ParseUint(text, 10, 53)
	if err != nil {
		return 0, fmt.Errorf("limit %q: want a number of postbacks such as 0", text)
	}
	return float64(v), nil
}

// Holds compares an observed value, in the base of the metric's unit. +Inf is
// a percentile that falls on postbacks without an ack.
func (e *Expectation) Holds(observed float64) bool {
	switch e.Op {
	case "<":
		return observed < e.Limit
	case "<=":
		return observed <= e.Limit
	case ">":
		return observed > e.Limit
	case ">=":
		return observed >= e.Limit
	}
	return observed == e.Limit
}

// Format writes a value of the metric as Parse reads it.
func (m Metric) Format(value float64) string {
	switch {
	case math.IsInf(value, 1):
		return "unacked"
	case m.Unit == UnitDuration:
		return time.Duration(value).Round(time.Microsecond).String()
	case m.Unit == UnitShare:
		return strconv.FormatFloat(100*value, 'g', 4, 64) + "%"
	}
	return strconv.FormatFloat(value, 'f', -1, 64)
}

func names(metrics []Metric) []string {
	list := make([]string, len(metrics))
	for i, m := range metrics {
		list[i] = m.Name
	}
	return list
}

func perPartner(metrics []Metric) []Metric {
	return slices.DeleteFunc(slices.Clone(metrics), func(m Metric) bool { return !m.PerPartner })
}
