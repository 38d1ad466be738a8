package accept_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver/accept"
)

func TestFresh(t *testing.T) {
	const nowUnixS = 1_700_000_000
	for ts, want := range map[int64]error{
		nowUnixS:                         nil,
		nowUnixS - accept.MaxPastS:       nil,
		nowUnixS - accept.MaxPastS - 1:   accept.ErrStale,
		nowUnixS + accept.MaxFutureS:     nil,
		nowUnixS + accept.MaxFutureS + 1: accept.ErrStale,
		1:                                accept.ErrStale,
		1<<63 - 1:                        accept.ErrStale,
	} {
		if got := accept.Fresh(ts, nowUnixS); got != want {
			t.Errorf("Fresh(%d): %v, want %v", ts, got, want)
		}
	}
}

func TestPayout(t *testing.T) {
	for _, test := range []struct {
		event  postback.Event
		payout postback.Money
		ok     bool
	}{
		{postback.EventSale, 1, true},
		{postback.EventSale, 0, true},
		{postback.EventSale, -1, false},
		{postback.EventNone, -1, false},
		{postback.EventLead, -1, false},
		{postback.EventRebill, -1, false},
		{postback.EventRefund, -1, true},
		{postback.EventRejected, -1, true},
	} {
		err := accept.Payout(test.event, test.payout)
		if test.ok != (err == nil) || !test.ok && !errors.Is(err, accept.ErrNegative) {
			t.Errorf("%s of %d: %v", test.event, test.payout, err)
		}
	}
}

func TestStatus(t *testing.T) {
	for _, test := range []struct {
		err  error
		want int
	}{
		{accept.ErrMethod, 405},
		{accept.ErrUnsigned, 403},
		{accept.ErrStale, 403},
		{accept.ErrBody, 400},
		{accept.ErrNotText, 400},
		{accept.ErrNegative, 400},
		{accept.ErrFull, 503},
		{accept.Payout(postback.EventSale, -1), 400},
		{postback.ErrBadSignature, 403},
		{postback.ErrTooLong, 414},
		{&postback.ParseError{Param: "click_id", Reason: postback.ErrTooLong}, 414},
		{&postback.ParseError{Param: "click_id", Reason: postback.ErrMissing}, 400},
		{fmt.Errorf("edge: %w", accept.ErrFull), 503},
		{errors.New("disk on fire"), 500},
	} {
		if got := accept.Status(test.err); got != test.want {
			t.Errorf("%v: %d, want %d", test.err, got, test.want)
		}
	}
}

func TestReasonKeepsTheInside(t *testing.T) {
	if got := accept.Reason(500, errors.New("disk I/O error in /secret/path")); got != "internal error" {
		t.Error(got)
	}
	if got := accept.Reason(503, accept.ErrFull); got != accept.ErrFull.Error() {
		t.Error(got)
	}
}

func TestIsText(t *testing.T) {
	for text, want := range map[string]bool{
		"": true, "c 1": true, "größe €": true, "\U0001f600": true,
		"a\nb": false, "\x00": false, "\x7f": false, "\xff": false, "\ufffd": false, "a\xc3": false,
	} {
		if got := accept.IsText([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestGate(t *testing.T) {
	g := accept.NewGate(2)
	if !g.TryEnter() || !g.TryEnter() || g.TryEnter() || g.InWork() != 2 || g.Refused() != 1 {
		t.Errorf("two slots: %d in work, %d refused", g.InWork(), g.Refused())
	}
	g.Leave()
	if !g.TryEnter() || g.InWork() != 2 || g.Refused() != 1 {
		t.Errorf("a slot was given back: %d in work, %d refused", g.InWork(), g.Refused())
	}
}
