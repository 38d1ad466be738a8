package schedule

import (
	"slices"
	"strings"
	"testing"
)

func TestParseTrace(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want Curve
	}{
		"points":           {"at_s,rate_per_s\n0,100\n1.5,200\n60,0\n", Curve{{0, 100}, {1_500_000_000, 200}, {60 * second, 0}}},
		"comments, a jump": {"# from a dashboard\n\nat_s,rate_per_s\r\n0,1\r\n2,1\r\n# now\n 2 , 9 \n3,9", Curve{{0, 1}, {2 * second, 1}, {2 * second, 9}, {3 * second, 9}}},
		"byte order mark":  {"\ufeffat_s,rate_per_s\n0,1\n1,1", Curve{{0, 1}, {second, 1}}},
	} {
		got, err := ParseTrace("t.csv", strings.NewReader(tt.text))
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, %v; want %v", name, got, err, tt.want)
		}
	}
}

func TestParseTraceRefuses(t *testing.T) {
	const head = "at_s,rate_per_s\n"
	many := head + strings.Repeat("0,1\n", MaxCurvePoints+1)
	for name, tt := range map[string]struct {
		text string
		is   error
		want string
	}{
		"empty":       {"", ErrCurve, "t.csv: impossible rate curve: 0 points; it needs 2 to 100000"},
		"no header":   {"\n0,1\n", nil, `t.csv:2: want the header at_s,rate_per_s, got "0,1"`},
		"words":       {head + "0,1\n\nnow,1\n", nil, `t.csv:4: want seconds and requests/s such as 1.5,200, got "now,1"`},
		"one column":  {head + "0\n", nil, `t.csv:2: want seconds and requests/s such as 1.5,200, got "0"`},
		"three":       {head + "0,1,2\n", nil, `t.csv:2: want seconds and requests/s such as 1.5,200, got "0,1,2"`},
		"negative":    {head + "0,1\n1,-1\n", nil, "t.csv:3: -1 requests/s; rates must be 0 to 1000000/s"},
		"no number":   {head + "NaN,1\n", nil, "t.csv:2: NaN s; times must be 0 to 31622400 s"},
		"unix time":   {head + "1700000000,1\n", nil, "t.csv:2: 1.7e+09 s; times must be 0 to 31622400 s"},
		"backwards":   {head + "0,1\n2,1\n1,1\n", nil, "t.csv:4: earlier than the line before; sort the points by time"},
		"late start":  {head + "5,1\n6,1\n", ErrCurve, "t.csv: impossible rate curve: it begins at 5s; it must begin at 0s"},
		"many points": {many, ErrLimit, "t.csv:100002: too large to replay: more than 100000 points"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseTrace("t.csv", strings.NewReader(tt.text))
			requireParseError(t, err, tt.is, tt.want)
		})
	}
}

func FuzzParseTrace(f *testing.F) {
	f.Add("at_s,rate_per_s\n0,100\n1.5,200\n1.5,0\n60,1e3\n")
	f.Add("# c\n\nat_s,rate_per_s\n0,0\n0,5\n1e-9,5")
	f.Fuzz(func(t *testing.T, text string) {
		curve, err := ParseTrace("f", strings.NewReader(text))
		if err != nil {
			return
		}
		if err := curve.Validate(); err != nil {
			t.Fatalf("parsed, yet %v", err)
		}
		for _, random := range []bool{true, false} {
			s, err := Follow(curve, random, 1)
			if err != nil {
				t.Fatal(err)
			}
			last := int64(0)
			for range 1_000 {
				due, ok := s.Next()
				if !ok {
					break
				}
				if due < last || due >= curve[len(curve)-1].AtNs {
					t.Fatalf("due at %d after %d", due, last)
				}
				last = due
			}
		}
	})
}
