package audit

import (
	"bytes"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"testing"
	"unsafe"

	"github.com/postbench/postbench/internal/intent"
)

// FORMAT.md is the contract: every field of the struct is where it says, and
// nothing else is there.
func TestCellIsTheFormat(t *testing.T) {
	if size := unsafe.Sizeof(Cell{}); size != CellBytes || CellBytes != 64 {
		t.Errorf("a cell has %d bytes, not %d", size, CellBytes)
	}
	page, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	type place struct{ offset, size int }
	documented := map[string]place{}
	_, table, _ := bytes.Cut(page, []byte("\ncell "))
	line := regexp.MustCompile(`(?m)^(\d+) +(\d+) +[iu]\d+ +([a-z_]+)\b`)
	for _, m := range line.FindAllSubmatch(table, -1) {
		offset, _ := strconv.Atoi(string(m[1]))
		size, _ := strconv.Atoi(string(m[2]))
		documented[string(m[3])] = place{offset, size}
	}
	cell := reflect.TypeFor[Cell]()
	end := 0
	for i := range cell.NumField() {
		f := cell.Field(i)
		if int(f.Offset) != end {
			t.Errorf("a hole of %d bytes before %s", int(f.Offset)-end, f.Name)
		}
		end = int(f.Offset + f.Type.Size())
		if f.Name == "_" {
			continue
		}
		name := snake(f.Name)
		if got := (place{int(f.Offset), int(f.Type.Size())}); documented[name] != got {
			t.Errorf("%s is at %+v, documented at %+v", name, got, documented[name])
		}
		delete(documented, name)
	}
	if len(documented) > 0 {
		t.Errorf("documented, yet not there: %v", documented)
	}
}

func snake(name string) string {
	return string(regexp.MustCompile(`[A-Z]`).ReplaceAllFunc([]byte(name), func(c []byte) []byte {
		return []byte("_" + string(c[0]+'a'-'A'))
	})[1:])
}

func TestCellAttempts(t *testing.T) {
	var c Cell
	c.Dispatched(10)
	c.Ended(20, intent.TimedOut, 0)
	c.GaveUp(intent.ReasonTimedOut)
	if want := (Cell{DispatchedNs: 10, LastEndNs: 20, Attempts: 1, Flags: Unanswered, LastOutcome: uint8(intent.TimedOut), Reason: uint8(intent.ReasonTimedOut)}); c != want {
		t.Errorf("after a timeout: %+v, want %+v", c, want)
	}
	c.Dispatched(30)
	c.Ended(50, intent.Acked, 201)
	c.GaveUp(intent.RunEnded) // too late: it was acked
	if want := (Cell{DispatchedNs: 10, AckNs: 50, LastEndNs: 50, Attempts: 2, Acked: 1, Flags: Unanswered, LastStatus: 201}); c != want {
		t.Errorf("after an ack: %+v, want %+v", c, want)
	}
	c.Ended(40, intent.Acked, 200) // reported later, ended earlier
	if want := (Cell{DispatchedNs: 10, AckNs: 40, LastEndNs: 50, Attempts: 2, Acked: 2, LastStatus: 201, Flags: Unanswered}); c != want {
		t.Errorf("after an earlier ack: %+v, want %+v", c, want)
	}
	for range 300 {
		c.Dispatched(60)
		c.Ended(60, intent.Acked, 200)
	}
	if c.Attempts != MaxAttempts || c.Acked != MaxAttempts || c.AckNs != 40 || c.DispatchedNs != 10 || c.LastEndNs != 60 {
		t.Errorf("after 300 more: %+v", c)
	}
}

func TestRowCountersSaturate(t *testing.T) {
	h := salesRun(t, 1)
	for range 299 {
		h.add(h.rows[0])
	}
	s := h.judge()
	c := h.cfg.Cells[0]
	if c.Rows != 255 || c.BillableRows != 255 || s.DoubleCounted != 299 || s.Repeats != 299 || s.Money[0].RecordedCount != 300 {
		t.Errorf("cell %+v, sheet %+v", c, s)
	}
}

func TestForgetLedger(t *testing.T) {
	var c Cell
	v := reflect.ValueOf(&c).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.CanSet() && f.CanInt() {
			f.SetInt(7)
		} else if f.CanSet() {
			f.SetUint(7)
		}
	}
	c.forgetLedger()
	want := Cell{DueNs: 7, DispatchedNs: 7, AckNs: 7, LastEndNs: 7, Attempts: 7, Acked: 7, Flags: 7, Reason: 7, LastStatus: 7, LastOutcome: 7}
	if c != want {
		t.Errorf("left: %s", fmt.Sprintf("%+v, want %+v", c, want))
	}
}
