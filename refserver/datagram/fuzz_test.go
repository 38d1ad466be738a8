package datagram

import (
	"bytes"
	"errors"
	"testing"
)

func isRefusal(err error) bool {
	for _, refusal := range []error{ErrShort, ErrLong, ErrMagic, ErrVersion, ErrFlags, ErrUnknownEdge, ErrOldBoot,
		ErrForged, ErrReplay, ErrBehindWindow, ErrBadBody} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

// FuzzStep gives the receiver raw bytes, and the same bytes as the body of an
// authentic datagram: the first can never be opened, the second only if they
// are what its header says.
func FuzzStep(f *testing.F) {
	body, _ := fullBody()
	f.Add([]byte{}, 0)
	f.Add(newSealer(f, testEdge(), laterBoot(1)).Seal(nil, 1, 1, framesOf("a"))[:Overhead+2], 0)
	f.Add(framesOf("a", "bb"), 2)
	f.Add(body, 10)
	f.Add(framesOf("a", "bb")[:5], 2)
	f.Fuzz(func(t *testing.T, bytesIn []byte, count int) {
		r := newReceiver(t, []Edge{testEdge()})
		if _, err := r.Step(0, bytes.Clone(bytesIn)); !isRefusal(err) {
			t.Fatalf("raw bytes: %v", err)
		}
		if len(bytesIn) > MaxBodyBytes || count < 0 || count > len(bytesIn) {
			return
		}
		d := newSealer(t, testEdge(), testBoot()).Seal(nil, 1, count, bytesIn)
		if RecordCount(d) != count {
			t.Fatalf("%d records, want %d", RecordCount(d), count)
		}
		opened, err := r.Step(0, d)
		if err != nil {
			if !errors.Is(err, ErrBadBody) || checkFrames(bytesIn, count, MaxRecordBytes) == nil {
				t.Fatalf("authentic: %v", err)
			}
			return
		}
		if !bytes.Equal(opened.Body, bytesIn) || opened.Count != count {
			t.Fatalf("opened %+v", opened)
		}
	})
}

func FuzzFrames(f *testing.F) {
	f.Add(framesOf("a", "bb", "ccc"))
	f.Add([]byte{0, 0})
	f.Add([]byte{0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, body []byte) {
		var again []byte
		frames, n := Frames(body), 0
		for frames.Next() {
			again = AppendFrame(again, frames.Record())
			n++
		}
		if frames.Err() != nil {
			if !errors.Is(frames.Err(), ErrBadBody) || !bytes.HasPrefix(body, again) {
				t.Fatalf("%d records, then %v", n, frames.Err())
			}
			return
		}
		if !bytes.Equal(again, body) {
			t.Fatalf("% x\nreads as % x", body, again)
		}
	})
}

// FuzzOpenAck does for acks what FuzzStep does for data.
func FuzzOpenAck(f *testing.F) {
	ack, a := testAck(f)
	f.Add(ack[:len(ack)-1], 0)
	f.Add(make([]byte, ackBodyBytes), 0)
	f.Add(append(make([]byte, ackBodyBytes), a.Closed...), a.ClosedCount)
	f.Fuzz(func(t *testing.T, bytesIn []byte, count int) {
		o := newAckOpener(t)
		if _, err := openAck(o, bytesIn); err == nil && !bytes.Equal(bytesIn, ack) || err != nil && !isRefusal(err) {
			t.Fatalf("raw bytes: %v", err)
		}
		if len(bytesIn) > MaxBodyBytes || count < 0 || count > len(bytesIn) {
			return
		}
		got, err := o.OpenAck(newAckSealer(t, testEdge(), testBoot(), collectorBoot(1)).seal(nil, 1, count, bytesIn))
		if err != nil {
			if !errors.Is(err, ErrBadBody) {
				t.Fatalf("authentic: %v", err)
			}
			return
		}
		again, err := newAckOpener(t).OpenAck(newAckSealer(t, testEdge(), testBoot(), collectorBoot(1)).AppendAck(nil, &got))
		if err != nil || !equalAcks(&again, &got) {
			t.Fatalf("%+v\nsealed again is %+v, %v", got, again, err)
		}
		got.Has(got.HighestSeq - 1)
	})
}

func FuzzBootState(f *testing.F) {
	s := BootState{EdgeID: 1, Boot: 2, Salt: testBoot().Salt, HighestSeq: 3}
	f.Add(s.Append(nil))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var s BootState
		if err := s.Decode(b); err == nil && !bytes.Equal(s.Append(nil), b) {
			t.Fatalf("% x decodes to %+v", b, s)
		}
	})
}
