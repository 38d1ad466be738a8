package datagram

import (
	"encoding/binary"
	"fmt"

	"github.com/postbench/postbench/internal/postback"
)

// FrameBytes is what a frame has besides its record.
const FrameBytes = 2

// MaxRecordBytes is the longest record that fits a frame.
const MaxRecordBytes = postback.MaxRecordBytes

// AppendFrame appends a record with its length in front. A record that is
// empty or longer than MaxRecordBytes is the caller's bug and panics.
func AppendFrame(dst, record []byte) []byte {
	if len(record) == 0 || len(record) > MaxRecordBytes {
		panic(fmt.Sprintf("BUG: datagram: record of %d bytes, a frame holds 1 to %d", len(record), MaxRecordBytes))
	}
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(record)))
	return append(dst, record...)
}

// Room tells whether a record of recordLen bytes still fits a datagram whose
// body has bodyLen bytes so far.
func Room(bodyLen, recordLen int) bool {
	return bodyLen+FrameBytes+recordLen <= MaxBodyBytes
}

// FrameReader goes through a body's records:
//
//	frames := datagram.Frames(body)
//	for frames.Next() {
//		use(frames.Record())
//	}
//	if err := frames.Err(); err != nil { … }
type FrameReader struct {
	body   []byte // all of it
	at     int    // offset of the next frame
	record []byte
	err    error
}

// Frames reads a body of any length; its records are slices of it.
func Frames(body []byte) FrameReader { return FrameReader{body: body} }

// Next goes to the next record; false at the end or at the first error, from
// then on always.
func (f *FrameReader) Next() bool {
	if f.err != nil || f.at == len(f.body) {
		f.record = nil
		return false
	}
	rest := f.body[f.at:]
	if len(rest) < FrameBytes {
		return f.fail("cut off in its length")
	}
	n := int(binary.LittleEndian.Uint16(rest))
	rest = rest[FrameBytes:]
	switch {
	case n == 0 || n > MaxRecordBytes:
		return f.fail("length out of range")
	case n > len(rest):
		return f.fail("longer than the rest of the body")
	}
	f.record = rest[:n:n]
	f.at += FrameBytes + n
	return true
}

func (f *FrameReader) fail(reason string) bool {
	f.record = nil
	f.err = fmt.Errorf("frame at byte %d: %s: %w", f.at, reason, ErrBadBody)
	return false
}

// Record is the record that Next went to, valid as long as the body is.
func (f *FrameReader) Record() []byte { return f.record }

// Err is nil if Next came to the body's end, else it wraps ErrBadBody.
func (f *FrameReader) Err() error { return f.err }

// checkFrames wants exactly count frames, none longer than maxLen.
func checkFrames(body []byte, count, maxLen int) error {
	frames, n := Frames(body), 0
	for frames.Next() {
		if len(frames.Record()) > maxLen {
			return ErrBadBody
		}
		n++
	}
	if frames.err != nil || n != count {
		return ErrBadBody
	}
	return nil
}
