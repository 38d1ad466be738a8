package postback

import "encoding/binary"

// recordDecoder reads fields in order and keeps the first error: after it every
// read returns zeros, so that callers check once, at the end.
type recordDecoder struct {
	rest   []byte
	offset int // of rest

	field      string // read last
	fieldStart int
	err        *CorruptError
}

// bytes reads n bytes. Its result's capacity ends with it.
func (d *recordDecoder) bytes(field string, n int) []byte {
	d.field, d.fieldStart = field, d.offset
	d.expect(n <= len(d.rest), "the record ends here")
	if d.err != nil {
		return make([]byte, n) // n is a field's size or a length that was checked
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	d.offset += n
	return b
}

func (d *recordDecoder) byte(field string) byte { return d.bytes(field, 1)[0] }

func (d *recordDecoder) int64(field string) int64 {
	return int64(binary.LittleEndian.Uint64(d.bytes(field, 8)))
}

// length reads a one-byte length and checks its range.
func (d *recordDecoder) length(field string, low, high int) int {
	n := int(d.byte(field))
	d.expect(low <= n && n <= high, "length out of range")
	return n
}

// end refuses bytes after the last field.
func (d *recordDecoder) end() {
	d.field, d.fieldStart = "end", d.offset
	d.expect(len(d.rest) == 0, "bytes after the record")
}

// expect records an error at the field read last, unless there is one already.
func (d *recordDecoder) expect(ok bool, reason string) {
	if !ok && d.err == nil {
		d.err = &CorruptError{Field: d.field, Offset: d.fieldStart, Reason: reason}
	}
}
