package delivery

import (
	"fmt"
	"slices"
	"testing"
)

// Whatever breaks, nothing is lost, and in the end everything is free.
func TestSimulate(t *testing.T) {
	seeds := uint64(300)
	if testing.Short() {
		seeds = 30
	}
	for name, f := range map[string]faults{
		"calm":             {},
		"breaks":           {breaks: 0.1},
		"silent deaths":    {silent: 0.05},
		"refusals":         {refused: 0.3},
		"no connection":    {breaks: 0.05, noConnection: 0.7},
		"answers to none":  {nonsense: 0.05},
		"restarts":         {restart: 0.05},
		"central restarts": {centralAway: 0.01},
		"all": {breaks: 0.03, silent: 0.01, refused: 0.1, noConnection: 0.3, nonsense: 0.002, restart: 0.005,
			centralAway: 0.002},
	} {
		t.Run(name, func(t *testing.T) {
			var all Counts
			doubles, restarts := 0, 0
			for seed := range seeds / 9 {
				w := newWorld(t, seed, f)
				c := w.run()
				if c.Acked < simRecords || c.Acked > c.Records || c.Reconnects > c.Failures {
					t.Errorf("seed %d: %+v", seed, c)
				}
				for _, times := range w.has {
					doubles += times - 1
				}
				all, restarts = sum(all, c), restarts+w.restarts
			}
			bit := map[string]bool{
				"calm": doubles == 0 && all.Failures == 0 && all.Resent == 0, "breaks": doubles > 0 && all.Reconnects > 0,
				"silent deaths": all.AckTimeout > 0, "refusals": all.Refused > 0 && doubles == 0, "no connection": all.Failures > all.Connects,
				"answers to none": all.BadAnswers > 0, "restarts": restarts > 0, "central restarts": all.AckTimeout > 0, "all": doubles > 0,
			}
			if !bit[name] {
				t.Errorf("the faults did not bite: %+v, %d doubles, %d restarts", all, doubles, restarts)
			}
			t.Logf("%+v, %d sent twice, %d restarts", all, doubles, restarts)
		})
	}
}

// hand is a Core that is told what happens, one thing at a time.
type hand struct {
	*Core[int]
	t     *testing.T
	nowNs int64
}

func newHand(t *testing.T) *hand {
	return &hand{New[int](Options{BatchRecords: 2, Window: 3, AckLimitNs: second}), t, 0}
}

// does fails unless the step's actions are as written: "free 1,2 connect 1 send 1:3".
func (h *hand) does(event Event, want string) {
	h.t.Helper()
	a := h.Step(h.nowNs, event)
	got := ""
	for _, token := range a.Free {
		got += fmt.Sprintf("free %d ", token)
	}
	if a.Disconnect {
		got += "disconnect "
	}
	if a.Connect != 0 {
		got += fmt.Sprintf("connect %d ", a.Connect)
	}
	for _, b := range a.Send {
		got += fmt.Sprintf("send %d:%s ", b.ID, slices.Concat(b.Records...))
	}
	if want != "" {
		want += " "
	}
	if got != want {
		h.t.Errorf("%#v: %q, want %q", event, got, want)
	}
}

// add adds as many of the records as there is room for, by name.
func (h *hand) add(names string) (added int) {
	for ; added < len(names) && h.Room() > 0; added++ {
		h.Add([]byte{names[added]}, int(names[added]))
	}
	return added
}

func TestTheWay(t *testing.T) {
	h := newHand(t)
	if h.add("a") != 0 {
		t.Error("a record was taken that could not be sent")
	}
	h.does(Tick{}, "connect 1")
	h.does(Tick{}, "")
	h.does(Connected{1}, "")
	if n := h.add("abcdefghi"); n != 6 {
		t.Errorf("%d records fit three batches of two", n)
	}
	h.does(Tick{}, "send 1:ab send 2:cd send 3:ef")
	h.does(Answered{Conn: 1, ID: 2}, "free 99 free 100")
	if n := h.add("ghi"); n != 2 {
		t.Errorf("%d records fit one batch of two", n)
	}
	h.does(Tick{}, "send 4:gh")
	h.does(Disconnected{1}, "")
	h.does(Answered{Conn: 1, ID: 1}, "") // too late: it travels again
	h.does(Tick{}, "")
	h.nowNs += BackoffMinNs
	h.does(Tick{}, "connect 2")
	h.does(Disconnected{1}, "") // told twice
	h.does(Connected{2}, "send 5:ab send 6:ef send 7:gh")
	h.does(Answered{Conn: 2, ID: 5}, "free 97 free 98")
	if c := h.Counts(); c != (Counts{Records: 8, Batches: 7, Resent: 3, ResentRecords: 6, Acked: 4, Connects: 2, Reconnects: 1, Failures: 1, InFlight: 4}) {
		t.Errorf("%+v", c)
	}
}

func TestRefusedBatchWaits(t *testing.T) {
	h := newHand(t)
	h.does(Tick{}, "connect 1")
	h.does(Connected{1}, "")
	h.add("ab")
	h.does(Tick{}, "send 1:ab")
	h.does(Answered{Conn: 1, ID: 1, Refused: true}, "")
	if h.Room() != 0 {
		t.Error("central is busy, and more is taken")
	}
	h.nowNs += BackoffMinNs
	h.does(Tick{}, "send 2:ab")
	h.does(Answered{Conn: 1, ID: 2, Refused: true}, "")
	h.nowNs += BackoffMinNs
	h.does(Tick{}, "") // twice as long
	h.nowNs += BackoffMinNs
	h.does(Tick{}, "send 3:ab")
	h.does(Answered{Conn: 1, ID: 3}, "free 97 free 98")
}

func TestConnectionThatCannotBeTrusted(t *testing.T) {
	for name, event := range map[string]Event{
		"an overdue answer":    Tick{},
		"an answer to nothing": Answered{Conn: 1, ID: 9},
	} {
		h := newHand(t)
		h.does(Tick{}, "connect 1")
		h.does(Connected{1}, "")
		h.add("ab")
		h.does(Tick{}, "send 1:ab")
		h.nowNs += second
		h.does(event, "disconnect")
		h.nowNs += second
		h.does(Tick{}, "connect 2")
		h.does(Connected{2}, "send 2:ab")
		if c := h.Counts(); c.AckTimeout+c.BadAnswers != 1 || c.Failures != 1 {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

func TestBackoffIsBounded(t *testing.T) {
	h := newHand(t)
	var pauses []int64
	for len(pauses) < 8 {
		h.Step(h.nowNs, Tick{})
		from := h.nowNs
		h.Step(h.nowNs, Disconnected{h.conn})
		for h.state == away {
			h.nowNs += ms
			h.Step(h.nowNs, Tick{})
		}
		pauses = append(pauses, (h.nowNs-from)/ms)
	}
	if want := []int64{50, 100, 200, 400, 800, 1000, 1000, 1000}; !slices.Equal(pauses, want) {
		t.Errorf("%v ms, want %v", pauses, want)
	}
}
