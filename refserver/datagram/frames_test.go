package datagram

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestFramesRoundTrip(t *testing.T) {
	for _, records := range [][]string{
		{}, {"a"}, {"first", "second", "third"}, {strings.Repeat("x", MaxRecordBytes), "y"},
	} {
		body := framesOf(records...)
		var got []string
		frames := Frames(body)
		for frames.Next() {
			got = append(got, string(frames.Record()))
		}
		if frames.Err() != nil || !slices.Equal(got, slices.Clip(records)) && len(records) > 0 {
			t.Errorf("got %q, %v, want %q", got, frames.Err(), records)
		}
	}
}

func TestFramesRefuse(t *testing.T) {
	long := append([]byte{0xe1, 0x01}, bytes.Repeat([]byte{'x'}, 481)...)
	for name, tt := range map[string]struct {
		body []byte
		good int    // records before the error
		says string // where
	}{
		"one byte":          {[]byte{1}, 0, "byte 0"},
		"no record":         {[]byte{1, 0}, 0, "byte 0"},
		"record cut off":    {[]byte{3, 0, 'a', 'b'}, 0, "byte 0"},
		"empty record":      {append(framesOf("ok"), 0, 0), 1, "byte 4"},
		"too long a record": {append(framesOf("ok"), long...), 1, "byte 4"},
		"half a length":     {append(framesOf("ok", "ok"), 7), 2, "byte 8"},
	} {
		frames, n := Frames(tt.body), 0
		for frames.Next() {
			n++
		}
		if n != tt.good || !errors.Is(frames.Err(), ErrBadBody) || !strings.Contains(frames.Err().Error(), tt.says) {
			t.Errorf("%s: %d records, %v", name, n, frames.Err())
		}
		if frames.Next() || frames.Record() != nil {
			t.Errorf("%s: goes on after the error", name)
		}
	}
}

func TestAppendFramePanicsOnBugs(t *testing.T) {
	mustPanic(t, "empty", func() { AppendFrame(nil, nil) })
	mustPanic(t, "too long", func() { AppendFrame(nil, make([]byte, MaxRecordBytes+1)) })
}

func TestRoom(t *testing.T) {
	for _, tt := range []struct {
		bodyLen, recordLen int
		want               bool
	}{
		{0, MaxRecordBytes, true}, {MaxBodyBytes - 3, 1, true}, {MaxBodyBytes - 2, 1, false}, {MaxBodyBytes, 1, false},
	} {
		if got := Room(tt.bodyLen, tt.recordLen); got != tt.want {
			t.Errorf("%d bytes into %d: %v", tt.recordLen, tt.bodyLen, got)
		}
	}
}
