package postback

import (
	"errors"
	"math"
	"strings"
	"testing"
)

func TestParseMoney(t *testing.T) {
	tests := []struct {
		in    string
		want  Money
		print string // shortest form
	}{
		{"12.5", 12_500_000, "12.5"},
		{"-3", -3_000_000, "-3"},
		{"0.000001", 1, "0.000001"},
		{"-0.000001", -1, "-0.000001"},
		{"0", 0, "0"},
		{"-0", 0, "0"},
		{"007.10", 7_100_000, "7.1"},
		{"1.050000", 1_050_000, "1.05"},
		{"9223372036854.775807", math.MaxInt64, "9223372036854.775807"},
		{"-9223372036854.775808", math.MinInt64, "-9223372036854.775808"},
	}
	for _, tt := range tests {
		got, err := ParseMoney([]byte(tt.in))
		if err != nil || got != tt.want {
			t.Errorf("ParseMoney(%q) = %d, %v; want %d", tt.in, got, err, tt.want)
		}
		if got.String() != tt.print {
			t.Errorf("ParseMoney(%q).String() = %q, want %q", tt.in, got.String(), tt.print)
		}
	}
}

func TestParseMoneyRefuses(t *testing.T) {
	tests := []struct{ in, says string }{
		{"", "digits"}, {"-", "digits"}, {".", "digits"}, {".5", "digits"}, {"5.", "digits"}, {"-.5", "digits"},
		{"1.2.3", "digits"}, {"1e3", "digits"}, {"+1", "digits"}, {"--1", "digits"}, {" 1", "digits"}, {"1 ", "digits"},
		{"NaN", "digits"}, {"Inf", "digits"}, {"0x10", "digits"}, {"1_000", "digits"}, {"{payout}", "digits"}, {"١", "digits"},
		{"12,5", "comma"},
		{"0.0000001", "decimals"}, {"1.0000000", "decimals"},
		{"9223372036854.775808", "beyond"}, {"-9223372036854.775809", "beyond"}, {"9223372036855", "beyond"},
		{"99999999999999999999", "beyond"}, {"18446744073709.551616", "beyond"},
	}
	for _, tt := range tests {
		got, err := ParseMoney([]byte(tt.in))
		if !errors.Is(err, ErrBadMoney) || !errors.Is(err, ErrBadValue) || got != 0 {
			t.Errorf("ParseMoney(%q) = %d, %v; want 0, ErrBadMoney", tt.in, got, err)
		} else if !strings.Contains(err.Error(), tt.says) {
			t.Errorf("ParseMoney(%q) says %q, want a word about %q", tt.in, err, tt.says)
		}
	}
}

func TestMoneyAppendKeepsPrefix(t *testing.T) {
	if got := string(Money(-1_250_000).Append([]byte("sum="))); got != "sum=-1.25" {
		t.Errorf("Append = %q", got)
	}
}

func TestCurrency(t *testing.T) {
	if c, err := ParseCurrency([]byte("EUR")); err != nil || c != (Currency{'E', 'U', 'R'}) || c.String() != "EUR" {
		t.Errorf("ParseCurrency(EUR) = %v, %v", c, err)
	}
	if s := (Currency{}).String(); s != "" {
		t.Errorf("the unset currency prints %q", s)
	}
	for _, in := range []string{"", "eur", "EU", "EURO", "EU1", "E R", "\x00\x00\x00"} {
		if c, err := ParseCurrency([]byte(in)); !errors.Is(err, ErrBadCurrency) || !errors.Is(err, ErrBadValue) || c != (Currency{}) {
			t.Errorf("ParseCurrency(%q) = %v, %v; want ErrBadCurrency", in, c, err)
		}
	}
}

func TestEvent(t *testing.T) {
	// The numbers are on the wire: this list may grow, never change.
	names := []string{"", "lead", "sale", "rejected", "refund", "rebill"}
	if len(names)-1 != int(lastEvent) {
		t.Fatalf("%d events, the test knows %d", lastEvent, len(names)-1)
	}
	for i, name := range names {
		e := Event(i)
		if e.String() != name {
			t.Errorf("Event(%d) = %q, want %q", i, e, name)
		}
		if got, ok := ParseEvent([]byte(name)); got != e || ok != (name != "") {
			t.Errorf("ParseEvent(%q) = %d, %v", name, got, ok)
		}
		if want := name == "rejected" || name == "refund"; e.Reverses() != want {
			t.Errorf("%q reverses: %v", name, !want)
		}
	}
	for _, name := range []string{"Sale", "sales", " sale", "2"} {
		if e, ok := ParseEvent([]byte(name)); ok || e != EventNone {
			t.Errorf("ParseEvent(%q) = %v, %v", name, e, ok)
		}
	}
	if s := (lastEvent + 1).String(); s != "" {
		t.Errorf("an unknown event prints %q", s)
	}
}
