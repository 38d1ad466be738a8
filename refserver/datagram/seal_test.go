package datagram

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
)

const testBootID = 1_700_000_000_000_000_000

// testEdge and testBoot are those of the example in FORMAT.md.
func testEdge() Edge {
	e := Edge{ID: 7, KeyID: 1}
	for i := range e.PSK {
		e.PSK[i] = byte(i)
	}
	return e
}

func testBoot() Boot {
	b := Boot{ID: testBootID}
	for i := range b.Salt {
		b.Salt[i] = 0xa0 + byte(i)
	}
	return b
}

// laterBoot is a boot n lives after testBoot.
func laterBoot(n int) Boot {
	b := testBoot()
	b.ID += uint64(n)
	b.Salt[0] = byte(n)
	return b
}

func newSealer(t testing.TB, e Edge, b Boot) *Sealer {
	t.Helper()
	s, err := NewSealer(e, b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newReceiver(t testing.TB, edges []Edge, persisted ...BootState) *Receiver {
	t.Helper()
	r, err := NewReceiver(edges, persisted)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func framesOf(records ...string) (body []byte) {
	for _, record := range records {
		body = AppendFrame(body, []byte(record))
	}
	return body
}

// sealed is one datagram with one record that tells its seq.
func sealed(s *Sealer, seq uint64) []byte {
	return s.Seal(nil, seq, 1, framesOf(string(rune('a'+seq%26))))
}

// fullBody is the longest body, and the number of its records.
func fullBody() (body []byte, count int) {
	record := bytes.Repeat([]byte{'r'}, 112) // 10 frames of 114 bytes: 1140
	for Room(len(body), len(record)) {
		body = AppendFrame(body, record)
		count++
	}
	return body, count
}

// examples are the datagrams in FORMAT.md: data, then an ack.
func examples(t *testing.T) (datagrams [][]byte) {
	t.Helper()
	doc, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("```hex\n([0-9a-f \n]+)```").FindAllSubmatch(doc, -1) {
		b, err := hex.DecodeString(strings.Join(strings.Fields(string(m[1])), ""))
		if err != nil {
			t.Fatal(err)
		}
		datagrams = append(datagrams, b)
	}
	if len(datagrams) != 2 {
		t.Fatalf("FORMAT.md has %d ```hex blocks, want 2", len(datagrams))
	}
	return datagrams
}

// The examples in FORMAT.md are the golden: if the code and the page part, one
// of them needs a new version.
func TestFormatDoc(t *testing.T) {
	want := examples(t)
	s := newSealer(t, testEdge(), testBoot())
	s.AskForAcks()
	got := s.Seal(nil, 3, 2, framesOf("first", "second"))
	if !bytes.Equal(got, want[0]) {
		t.Errorf("data is\n%s", hex.Dump(got))
	}
	if ack, _ := testAck(t); !bytes.Equal(ack, want[1]) {
		t.Errorf("the ack is\n%s", hex.Dump(ack))
	}
	opened, err := newReceiver(t, []Edge{testEdge()}).Step(0, want[0])
	if err != nil || opened.EdgeID != 7 || opened.Boot != testBootID || opened.Salt != testBoot().Salt ||
		opened.Seq != 3 || !opened.WantsAck || opened.Count != 2 || !bytes.Equal(opened.Body, framesOf("first", "second")) {
		t.Errorf("opened %+v, %v", opened, err)
	}
}

func TestSealAppendsAndInPlace(t *testing.T) {
	body, count := fullBody()
	if len(body) != MaxBodyBytes {
		t.Fatalf("the full body has %d bytes, want %d", len(body), MaxBodyBytes)
	}
	want := newSealer(t, testEdge(), testBoot()).Seal(nil, 1, count, body)
	if len(want) != MaxBytes || RecordCount(want) != count {
		t.Errorf("%d bytes, %d records", len(want), RecordCount(want))
	}
	if bytes.Contains(want, []byte("rrr")) {
		t.Error("the body can be read")
	}

	after := newSealer(t, testEdge(), testBoot()).Seal([]byte("before"), 1, count, body)
	if !bytes.Equal(after, append([]byte("before"), want...)) {
		t.Error("what was in dst changes the datagram")
	}

	buffer := make([]byte, MaxBytes)
	copy(buffer[HeaderBytes:], body)
	inPlace := newSealer(t, testEdge(), testBoot()).Seal(buffer[:0], 1, count, buffer[HeaderBytes:HeaderBytes+len(body)])
	if !bytes.Equal(inPlace, want) || &inPlace[0] != &buffer[0] {
		t.Error("sealed in place it is another datagram")
	}
}

// Two seals under one nonce would break the cipher: that must be impossible.
func TestSealPanicsOnBugs(t *testing.T) {
	tests := []struct {
		name  string
		seq   uint64
		count int
		body  []byte
	}{
		{"seq 0", 0, 0, nil},
		{"seq again", 5, 0, nil},
		{"seq back", 4, 0, nil},
		{"body too long", 6, 1, make([]byte, MaxBodyBytes+1)},
		{"count beyond the body", 6, 3, framesOf()},
		{"negative count", 6, -1, nil},
	}
	for _, tt := range tests {
		s := newSealer(t, testEdge(), testBoot())
		if tt.seq != 0 {
			s.Seal(nil, 5, 0, nil)
		}
		mustPanic(t, tt.name, func() { s.Seal(nil, tt.seq, tt.count, tt.body) })
	}
}

func mustPanic(t *testing.T, name string, f func()) {
	t.Helper()
	defer func() {
		if text, ok := recover().(string); !ok || !strings.HasPrefix(text, "BUG: ") {
			t.Errorf("%s: no panic with BUG", name)
		}
	}()
	f()
}

func TestNewRefusesMissingSecrets(t *testing.T) {
	noKey := Edge{ID: 7}
	noSalt, noID := Boot{ID: 1}, Boot{Salt: [16]byte{1}}
	for _, tt := range []struct {
		name string
		new  func() error
		want error
	}{
		{"sealer without key", func() error { _, err := NewSealer(noKey, testBoot()); return err }, ErrNoKey},
		{"sealer without salt", func() error { _, err := NewSealer(testEdge(), noSalt); return err }, ErrNoBoot},
		{"sealer without id", func() error { _, err := NewSealer(testEdge(), noID); return err }, ErrNoBoot},
		{"receiver without key", func() error { _, err := NewReceiver([]Edge{noKey}, nil); return err }, ErrNoKey},
		{"receiver with a key twice", func() error { _, err := NewReceiver([]Edge{testEdge(), testEdge()}, nil); return err }, ErrSameKey},
		{"acks without key", func() error { _, err := NewAckSealer(noKey, testBoot(), testBoot()); return err }, ErrNoKey},
		{"acks without collector", func() error { _, err := NewAckSealer(testEdge(), testBoot(), noSalt); return err }, ErrNoBoot},
		{"opener without key", func() error { _, err := NewAckOpener(noKey, testBoot()); return err }, ErrNoKey},
		{"opener without id", func() error { _, err := NewAckOpener(testEdge(), noID); return err }, ErrNoBoot},
	} {
		if err := tt.new(); !errors.Is(err, tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// Whatever differs between two senders, their keys differ.
func TestKeysDiffer(t *testing.T) {
	otherPSK, otherEdge, otherKey := testEdge(), testEdge(), testEdge()
	otherPSK.PSK[31]++
	otherEdge.ID++
	otherKey.KeyID++
	otherSalt, otherID := testBoot(), testBoot()
	otherSalt.Salt[15]++
	otherID.ID++
	bodies := make(map[string]string)
	for name, s := range map[string]*Sealer{
		"the example": newSealer(t, testEdge(), testBoot()),
		"other PSK":   newSealer(t, otherPSK, testBoot()), "other edge": newSealer(t, otherEdge, testBoot()),
		"other key id": newSealer(t, otherKey, testBoot()), "other salt": newSealer(t, testEdge(), otherSalt),
		"other boot": newSealer(t, testEdge(), otherID),
	} {
		d := s.Seal(nil, 1, 1, framesOf("same record"))
		body := string(d[HeaderBytes : len(d)-TagBytes]) // depends on key and nonce alone
		if as, ok := bodies[body]; ok {
			t.Errorf("%s seals as %s does", name, as)
		}
		bodies[body] = name
	}
}

func TestRecordCountOfOthers(t *testing.T) {
	data := newSealer(t, testEdge(), testBoot()).Seal(nil, 1, 2, framesOf("a", "b"))
	ack, _ := testAck(t)
	alien := bytes.Clone(data)
	alien[0] = 'x'
	for name, tt := range map[string]struct {
		datagram []byte
		want     int
	}{
		"data": {data, 2}, "ack": {ack, 0}, "alien": {alien, 0}, "short": {data[:Overhead-1], 0}, "empty": {nil, 0},
	} {
		if got := RecordCount(tt.datagram); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}
