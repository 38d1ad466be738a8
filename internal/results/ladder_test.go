package main

import (
	"strings"
	"testing"

	"github.com/postbench/postbench/reports"
)

func TestJudgeStory(t *testing.T) {
	rung := func(mark string, off float64) reports.Rung {
		post, ours := 45e3, 45e3*(1+off)
		return reports.Rung{Variant: "udp-batch", PostP95Us: &post, P95Us: &ours, MinUs: &ours, MaxUs: &ours, Mark: mark, Error: &off}
	}
	fitted := func(n int) []reports.Calibration { return make([]reports.Calibration, n) }
	valid := []reports.Variant{{Name: "udp-batch", Validity: reports.Validity{Verdict: reports.VerdictValid}}}
	spoilt := []reports.Variant{{Name: "udp-batch", Validity: reports.Validity{Verdict: reports.VerdictInvalid, Reasons: []string{"CPU steal"}}}}
	month := &reports.Month{Variant: "binary-log"}
	for _, test := range []struct {
		name   string
		result reports.Result
		short  string
	}{
		{"holds", reports.Result{Variants: valid, Month: month, Story: &reports.Story{Ordered: true, Calibrated: fitted(3), Rungs: []reports.Rung{rung(reports.MarkCalibrated, 0.09)}}}, ""},
		{"came out far off", reports.Result{Variants: valid, Month: month, Story: &reports.Story{Ordered: true, Rungs: []reports.Rung{rung(reports.MarkCameOut, 0.2)}}}, ""},
		{"fitted far off", reports.Result{Variants: valid, Month: month, Story: &reports.Story{Ordered: true, Rungs: []reports.Rung{rung(reports.MarkCalibrated, -0.11)}}}, "udp-batch -11.0 %"},
		{"too many figures", reports.Result{Variants: valid, Month: month, Story: &reports.Story{Ordered: true, Calibrated: fitted(4)}}, "4 figures"},
		{"out of order", reports.Result{Variants: valid, Month: month, Story: &reports.Story{}}, "order"},
		{"no month", reports.Result{Variants: valid, Story: &reports.Story{Ordered: true}}, "month"},
		{"spoilt", reports.Result{Variants: spoilt, Month: month, Story: &reports.Story{Ordered: true}}, "CPU steal"},
		{"no story", reports.Result{}, "no story"},
	} {
		var f finding
		f.judgeStory(&test.result)
		if f.holds != (test.short == "") || !strings.Contains(f.short, test.short) {
			t.Errorf("%s: holds %v, short of %q", test.name, f.holds, f.short)
		}
	}
}

func TestJudgeSteps(t *testing.T) {
	v := reports.Variant{Name: "monolith", Ledger: reports.Ledger{Balanced: true}, Validity: reports.Validity{Verdict: reports.VerdictValid}}
	var f finding
	if f.judgeSteps([]reports.Variant{v}); !f.holds || !strings.Contains(f.body, "monolith") {
		t.Errorf("%+v", f)
	}
	v.Ledger.Balanced = false
	if f.judgeSteps([]reports.Variant{v}); f.holds || !strings.Contains(f.short, "monolith") {
		t.Errorf("%+v", f)
	}
}
