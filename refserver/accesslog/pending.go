package accesslog

import "encoding/binary"

// A line waits as a copy of its bytes, behind a header:
//
//	unix_ns u64 | duration_ns u64 | status u32 | uri_bytes u32 | len(method) u8 | len(uri) u16
//
// It is formatted later, by somebody who has the time.
const pendingHeaderBytes = 8 + 8 + 4 + 4 + 1 + 2

// pendingBytes is what l takes while it waits.
func (l *line) pendingBytes() int { return pendingHeaderBytes + len(l.method) + len(l.uri) }

func (l *line) appendPending(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(l.unixNs))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(l.durationNs))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(l.status))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(l.uriBytes))
	dst = append(dst, byte(len(l.method)))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(l.uri)))
	dst = append(dst, l.method...)
	return append(dst, l.uri...)
}

// nextPending takes the first line off b, into which it points. What is in b
// was written by appendPending: it never leaves the process.
func nextPending(b []byte) (l line, rest []byte) {
	l.unixNs = int64(binary.LittleEndian.Uint64(b))
	l.durationNs = int64(binary.LittleEndian.Uint64(b[8:]))
	l.status = int(int32(binary.LittleEndian.Uint32(b[16:])))
	l.uriBytes = int(binary.LittleEndian.Uint32(b[20:]))
	methodEnd := pendingHeaderBytes + int(b[24])
	uriEnd := methodEnd + int(binary.LittleEndian.Uint16(b[25:]))
	l.method, l.uri = b[pendingHeaderBytes:methodEnd], b[methodEnd:uriEnd]
	return l, b[uriEnd:]
}
