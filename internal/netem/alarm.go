package netem

import "time"

// alarm wakes one goroutine. set may be called by any other one, meanwhile too.
type alarm interface {
	// set makes wait return after so many ns from now, whatever was set before.
	set(delayNs int64)
	// wait returns when what was set has passed; it may return without reason.
	wait()
}

// runtimeAlarm is the runtime's timer, which may be a millisecond late when
// the process is idle.
type runtimeAlarm struct{ timer *time.Timer }

func newRuntimeAlarm() runtimeAlarm { return runtimeAlarm{time.NewTimer(time.Hour)} }

func (a runtimeAlarm) set(delayNs int64) { a.timer.Reset(time.Duration(max(delayNs, 1))) }
func (a runtimeAlarm) wait()             { <-a.timer.C }
