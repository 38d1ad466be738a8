package hist

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	hdrhistogram "github.com/HdrHistogram/hdrhistogram-go"
)

func encode(t testing.TB, h *Histogram) string {
	t.Helper()
	s, err := h.EncodeV2()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEncodeRoundTrip(t *testing.T) {
	for _, name := range []string{"low end", "lognormal", "whole range", "one value"} {
		for _, n := range []int{0, 1, 1_000} {
			t.Run(fmt.Sprintf("%s/%d", name, n), func(t *testing.T) {
				h := record(samples(name, n))
				for range 7 {
					h.RecordCensored()
				}
				got, err := DecodeV2(encode(t, h), h.Censored())
				if err != nil {
					t.Fatal(err)
				}
				requireSamePercentiles(t, got, h)
				if encode(t, got) != encode(t, h) {
					t.Error("encoding it again gives another text")
				}
			})
		}
	}
}

func TestEncodeKeepsZero(t *testing.T) {
	h := record([]int64{0, 0, 0, 1, 999})
	for range 2 {
		got, err := DecodeV2(encode(t, h), 0)
		if err != nil {
			t.Fatal(err)
		}
		requireEqual(t, got, h)
		if p50, ok := got.Percentile(50); p50 != 0 || !ok {
			t.Errorf("p50 = %d, %v, want 0", p50, ok)
		}
		h = record([]int64{0}) // the highest bucket is the lowest
	}
}

// requireSamePercentiles allows for the exact extremes, which the format loses.
func requireSamePercentiles(t *testing.T, got, want *Histogram) {
	t.Helper()
	if got.Count() != want.Count() || got.Censored() != want.Censored() {
		t.Errorf("count, censored = %d, %d; want %d, %d", got.Count(), got.Censored(), want.Count(), want.Censored())
	}
	near := func(name string, got, want int64) {
		if math.Abs(float64(got-want)) > 0.001*float64(want) {
			t.Errorf("%s = %d, want %d within 0.1 %%", name, got, want)
		}
	}
	near("min", got.MinNs(), want.MinNs())
	near("max", got.MaxNs(), want.MaxNs())
	near("mean", got.MeanNs(), want.MeanNs())
	for _, milli := range percentiles {
		p := float64(milli) / 1_000
		gotNs, gotOK := got.Percentile(p)
		wantNs, wantOK := want.Percentile(p)
		near(fmt.Sprintf("p%v", p), gotNs, wantNs)
		if gotOK != wantOK {
			t.Errorf("p%v: ok = %v, want %v", p, gotOK, wantOK)
		}
	}
}

func TestMergeAfterDecode(t *testing.T) {
	whole, merged := New(), New()
	for i, name := range []string{"low end", "lognormal", "whole range"} {
		part := record(samples(name, 2_000))
		for range i {
			part.RecordCensored()
		}
		whole.Merge(part)
		decoded, err := DecodeV2(encode(t, part), part.Censored())
		if err != nil {
			t.Fatal(err)
		}
		merged.Merge(decoded)
	}
	requireSamePercentiles(t, merged, whole)
	if !merged.hdr.Equals(whole.hdr) {
		t.Error("the buckets differ")
	}
}

func encodeForeign(t testing.TB, h *hdrhistogram.Histogram) string {
	t.Helper()
	b, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestDecodeRefuses(t *testing.T) {
	ours := func(values ...int64) string {
		h := hdrhistogram.New(unitNs, HighestNs, SignificantDigits)
		for _, v := range values {
			if err := h.RecordValue(v); err != nil {
				t.Fatal(err)
			}
		}
		return encodeForeign(t, h)
	}
	crowded := hdrhistogram.New(unitNs, HighestNs, SignificantDigits)
	if err := crowded.RecordValues(1_000, MaxCount+1); err != nil {
		t.Fatal(err)
	}
	valid := ours(1_000, HighestNs)
	tests := []struct{ name, text, want string }{
		{"empty", "", "header"},
		{"not base64", "!!!", "header"},
		{"cut", valid[:len(valid)/2], "EOF"},
		{"cut in the header", valid[:16], "header"},
		{"too long", strings.Repeat("A", MaxEncodedBytes+1), "bytes long"},
		{"other unit", encodeForeign(t, hdrhistogram.New(1_000, HighestNs, SignificantDigits)), "range is 1000 to"},
		{"other precision", encodeForeign(t, hdrhistogram.New(unitNs, HighestNs, 2)), "2 digits"},
		{"huge range", encodeForeign(t, hdrhistogram.New(unitNs, math.MaxInt64, 5)), "5 digits"},
		{"a value above the range", ours(HighestNs + HighestNs/100), "holds values"},
		{"too many entries", encodeForeign(t, crowded), "1099511627777 entries"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, err := DecodeV2(tt.text, 0)
			if h != nil || !errors.Is(err, ErrEncoding) || !strings.Contains(fmt.Sprint(err), tt.want) {
				t.Errorf("got %v, %v; want ErrEncoding with %q", h, err, tt.want)
			}
		})
	}
	for _, censored := range []int64{-1, MaxCount + 1} {
		if _, err := DecodeV2(valid, censored); err == nil {
			t.Errorf("a censored count of %d was accepted", censored)
		}
	}
}

func FuzzDecodeV2(f *testing.F) {
	f.Add("", int64(0))
	f.Add(encode(f, New()), int64(3))
	for _, name := range []string{"low end", "lognormal", "whole range"} {
		f.Add(encode(f, record(samples(name, 50))), int64(1))
	}
	f.Fuzz(func(t *testing.T, text string, censored int64) {
		h, err := DecodeV2(text, censored)
		if err != nil {
			return
		}
		requireInvariants(t, h)
		if h.Censored() != censored || h.Clamped() != 0 {
			t.Errorf("censored %d, clamped %d; want %d, 0", h.Censored(), h.Clamped(), censored)
		}
		again, err := DecodeV2(encode(t, h), censored)
		if err != nil {
			t.Fatalf("its own encoding is refused: %v", err)
		}
		requireEqual(t, again, h)

		count := h.Count()
		h.Merge(again)
		requireInvariants(t, h)
		if h.Count() != 2*count {
			t.Errorf("merged with itself: %d entries, want %d", h.Count(), 2*count)
		}
	})
}

func requireInvariants(t *testing.T, h *Histogram) {
	t.Helper()
	var sum int64
	for _, bar := range h.hdr.Distribution() {
		sum += bar.Count
	}
	if sum != h.Count() {
		t.Errorf("the buckets hold %d, count is %d", sum, h.Count())
	}
	if h.Count() == 0 {
		if h.MinNs() != 0 || h.MeanNs() != 0 || h.MaxNs() != 0 {
			t.Errorf("empty, yet min %d mean %d max %d", h.MinNs(), h.MeanNs(), h.MaxNs())
		}
	} else if h.MinNs() < 0 || h.MinNs() > h.MeanNs() || h.MeanNs() > h.MaxNs() || h.MaxNs() > HighestNs {
		t.Errorf("min %d, mean %d, max %d out of order", h.MinNs(), h.MeanNs(), h.MaxNs())
	}
	lastNs, lastOK := int64(0), true
	for _, milli := range percentiles {
		ns, ok := h.Percentile(float64(milli) / 1_000)
		if ok && (ns < max(lastNs, h.MinNs()) || ns > h.MaxNs() || !lastOK) {
			t.Errorf("p%v = %d after %d, %v (max %d)", float64(milli)/1_000, ns, lastNs, lastOK, h.MaxNs())
		}
		lastNs, lastOK = ns, ok
	}
}
