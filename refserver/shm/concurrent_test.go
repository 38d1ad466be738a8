package shm

import (
	"encoding/binary"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"
)

// testPatience is only used up by a failing test.
const testPatience = 60 * time.Second

// Several producers and a consumer that frees late and in a strange order. Under
// the race detector this also shows that the commit word alone orders the payload.
func TestProducersAndConsumer(t *testing.T) {
	const (
		producers = 4
		records   = 20_000 // each
		slots     = 64
	)
	r := newRing(t, slots)
	p := r.Producer(slots - 3)
	var wg sync.WaitGroup
	defer wg.Wait()
	for id := range producers {
		wg.Go(func() { pushNumbers(t, p, uint64(id), records) })
	}
	c := r.Consumer()
	next := make([]uint64, producers) // of each producer: they come in its order
	var held []uint64
	deadline := time.Now().Add(testPatience)
	for got := 0; got < producers*records; {
		if time.Now().After(deadline) {
			t.Fatalf("only %d records in %v", got, testPatience)
		}
		n := c.Scan(slots/2, func(s Slot) {
			if s.Corrupt {
				t.Fatalf("position %d is corrupt", s.Pos)
			}
			id, number := binary.LittleEndian.Uint64(s.Payload), binary.LittleEndian.Uint64(s.Payload[8:])
			if number != next[id] || len(s.Payload) != payloadOf(number) {
				t.Fatalf("producer %d: record %d of %d bytes, want %d of %d",
					id, number, len(s.Payload), next[id], payloadOf(next[id]))
			}
			next[id]++
			held = append(held, s.Pos)
		})
		got += n
		if n == 0 || len(held) > slots/2 {
			for i := len(held) - 1; i >= 0; i -= 2 { // from the end, every second first
				c.Free(held[i])
			}
			for i := len(held) - 2; i >= 0; i -= 2 {
				c.Free(held[i])
			}
			held = held[:0]
			runtime.Gosched()
		}
	}
	free(c, held...)
	if backlog := r.Backlog(); backlog != 0 {
		t.Errorf("backlog %d when all is freed", backlog)
	}
}

// payloadOf is how long the record of that number is.
func payloadOf(number uint64) int { return 16 + int(number%64)*7 }

func pushNumbers(t *testing.T, p *Producer, id, records uint64) {
	buf := make([]byte, MaxPayloadBytes)
	binary.LittleEndian.PutUint64(buf, id)
	for number := uint64(0); number < records && !t.Failed(); {
		binary.LittleEndian.PutUint64(buf[8:], number)
		switch err := p.TryPush(testKind, buf[:payloadOf(number)]); {
		case err == nil:
			number++
		case errors.Is(err, ErrFull):
			runtime.Gosched()
		default:
			t.Error(err)
			return
		}
	}
}
