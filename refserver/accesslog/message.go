package accesslog

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"
)

// An entry is one Cap'n Proto message of one segment: access.capnp, FORMAT.md.
// It is written by hand, because the library cannot write into memory of ours
// without allocating; the tests hold the bytes against the library's.
const (
	wordBytes = 8

	frameAt      = 0 // one segment less one u32 = 0 | words of the segment u32
	rootAt       = 8 // of the segment: the pointer to the struct
	unixNsAt     = 16
	durationNsAt = 24
	statusAt     = 32
	uriBytesAt   = 36
	methodAt     = 40 // list pointers
	uriAt        = 48
	bytesAt      = 56 // method, then URI, each padded to a word

	dataBytes    = methodAt - unixNsAt
	pointerCount = 2
	// rootPointer: the struct follows at once, with that much data and pointers.
	rootPointer = dataBytes/wordBytes<<32 | pointerCount<<48

	listTag   = 1
	listBytes = 2 // an element is a byte

	// maxKeptURIBytes is the longest URI in a message: nothing but signatures
	// without a value, each of which grows.
	maxKeptURIBytes = maxURIBytes + maxURIBytes/len("&"+sigName+"=")*len(redacted)
	maxMessageBytes = bytesAt + maxMethodBytes + (maxKeptURIBytes+wordBytes-1)/wordBytes*wordBytes
)

// message is a line with what its message needs to know.
type message struct {
	line
	// before and after the first value of a signature, if the URI has a secret.
	before, after []byte
	secret        bool
	kept          int // bytes of the URI once it is redacted
}

func messageOf(l line) message {
	m := message{line: l, kept: len(l.uri)}
	m.before, m.after, m.secret = cutSecret(l.uri)
	uri, before, after := l.uri, m.before, m.after
	for found := m.secret; found; {
		m.kept += len(redacted) - (len(uri) - len(before) - len(after))
		uri = after
		before, after, found = cutSecret(uri)
	}
	return m
}

// size is what m takes in the file, in bytes.
func (m *message) size() int { return bytesAt + padded(len(m.method)) + padded(m.kept) }

// put writes m into dst, which holds m.size() zero bytes and begins at a word.
// The first word comes first: from then on a reader knows the size. The root
// pointer comes last: without it the message is valid, and empty.
func (m *message) put(dst []byte) {
	storeWord(dst[frameAt:], uint64(len(dst)/wordBytes-1)<<32)
	binary.LittleEndian.PutUint64(dst[unixNsAt:], uint64(m.unixNs))
	binary.LittleEndian.PutUint64(dst[durationNsAt:], uint64(m.durationNs))
	binary.LittleEndian.PutUint32(dst[statusAt:], uint32(m.status))
	binary.LittleEndian.PutUint32(dst[uriBytesAt:], uint32(m.uriBytes))
	uriBegin := bytesAt + padded(len(m.method))
	binary.LittleEndian.PutUint64(dst[methodAt:], listPointer(methodAt, bytesAt, len(m.method)))
	binary.LittleEndian.PutUint64(dst[uriAt:], listPointer(uriAt, uriBegin, m.kept))
	copy(dst[bytesAt:], m.method)
	m.putURI(dst[uriBegin : uriBegin+m.kept])
	storeWord(dst[rootAt:], rootPointer)
}

// putURI copies the URI without the values of its signatures.
func (m *message) putURI(dst []byte) {
	n := copy(dst, m.before)
	before, after := m.before, m.after
	for found := m.secret; found; {
		n += copy(dst[n:], redacted)
		before, after, found = cutSecret(after)
		n += copy(dst[n:], before)
	}
}

// listPointer points from at to the n bytes at begin.
func listPointer(at, begin, n int) uint64 {
	return uint64(begin-at-wordBytes)/wordBytes<<2 | listTag | listBytes<<32 | uint64(n)<<35
}

func padded(n int) int { return (n + wordBytes - 1) &^ (wordBytes - 1) }

// storeWord publishes a little-endian word at b's beginning, after everything
// that was stored before.
func storeWord(b []byte, word uint64) {
	var little [wordBytes]byte
	binary.LittleEndian.PutUint64(little[:], word)
	atomic.StoreUint64((*uint64)(unsafe.Pointer(unsafe.SliceData(b[:wordBytes]))), binary.NativeEndian.Uint64(little[:]))
}
