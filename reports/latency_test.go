package reports

import (
	"errors"
	"reflect"
	"testing"

	"github.com/postbench/postbench/internal/hist"
)

func TestNewLatency(t *testing.T) {
	h := hist.New()
	for range 98 {
		h.Record(1_500)
	}
	h.Record(2_000_000)
	h.RecordCensored()
	l := NewLatency(h)
	for _, tt := range []struct {
		name string
		got  *float64
		want float64
	}{
		{"min", l.MinUs, 1.5}, {"p50", l.P50Us, 1.5}, {"p95", l.P95Us, 1.5}, {"p99", l.P99Us, 2000}, {"max", l.MaxUs, 2000},
	} {
		if tt.got == nil || *tt.got != tt.want {
			t.Errorf("%s = %v, want %v", tt.name, tt.got, tt.want)
		}
	}
	if l.Count != 99 || l.Censored != 1 || l.P999Us != nil || l.Hdr == "" {
		t.Errorf("got %+v, want 99 + 1 entries, p99.9 unacked, a histogram", l)
	}
}

func TestNewLatencyWithoutAcks(t *testing.T) {
	h := hist.New()
	if l := NewLatency(h); l != (Latency{}) || !l.Empty() {
		t.Errorf("empty: %+v", l)
	}
	h.RecordCensored()
	if l := NewLatency(h); l != (Latency{Censored: 1}) || l.Empty() {
		t.Errorf("only censored: %+v", l)
	}
}

func TestMergeLatencyEqualsRecordingTogether(t *testing.T) {
	whole := hist.New()
	parts := make([]Latency, 3)
	for part := range parts {
		h := hist.New()
		for i := range int64(1000) {
			h.Record(1_000 + i*i*int64(1+part))
			whole.Record(1_000 + i*i*int64(1+part))
		}
		for range part {
			h.RecordCensored()
			whole.RecordCensored()
		}
		parts[part] = NewLatency(h)
	}
	got, err := MergeLatency(parts...)
	if err != nil {
		t.Fatal(err)
	}
	if want := NewLatency(whole); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestMergeLatencyOfNothing(t *testing.T) {
	for name, blocks := range map[string][]Latency{"none": {}, "empty": {{}, {}}} {
		if got, err := MergeLatency(blocks...); err != nil || !got.Empty() {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if got, err := MergeLatency(Latency{Censored: 2}, Latency{Censored: 3}); err != nil || got != (Latency{Censored: 5}) {
		t.Errorf("only censored: %+v, %v", got, err)
	}
}

func TestMergeLatencyRefuses(t *testing.T) {
	fine := block(10, 20, 5, 0)
	tooFew := fine
	tooFew.Count = 4
	for name, tt := range map[string]struct {
		block Latency
		want  error
	}{
		"no histogram":    {Latency{Count: 1}, ErrNoHistogram},
		"not a histogram": {Latency{Count: 1, Hdr: "AAAA"}, hist.ErrEncoding},
		"another count":   {tooFew, hist.ErrEncoding},
	} {
		if _, err := MergeLatency(fine, tt.block); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
}
