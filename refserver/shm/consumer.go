package shm

import "fmt"

// Consumer reads a lane and frees its slots. One goroutine uses it, and no other
// Consumer of the lane may exist meanwhile, in no process.
type Consumer struct {
	ring *Ring
	head uint64 // the header's is only for others to read
	next uint64 // all positions from head to here have been handed out
	// handed has a bit for every slot: set if the position from head on that lives
	// there has been handed out or was freed without.
	handed []uint64
}

// Consumer returns the lane's consuming side. What its predecessor had not freed,
// it hands out again.
func (r *Ring) Consumer() *Consumer {
	head, _ := r.positions()
	c := &Consumer{ring: r, head: head, next: head, handed: make([]uint64, (r.slots+63)/64)}
	c.moveHead() // a predecessor may have died just before it did
	return c
}

// Scan calls visit for committed slots that it has not handed out yet, at most
// max, in the order of their positions, and returns how many. It goes past
// reserved slots; they follow in a later Scan, when they are committed. A visit
// may call Free.
func (c *Consumer) Scan(max int, visit func(Slot)) int {
	n, tail := 0, c.tail()
	for pos := c.first(); int64(tail-pos) > 0 && n < max; pos++ {
		if int64(pos-c.head) < 0 {
			continue // freed by a visit, and perhaps the producer's again
		}
		if !c.isHanded(pos) {
			slot, state := c.ring.inspect(pos)
			if state == slotReserved {
				continue
			}
			c.setHanded(pos)
			if state == slotCommitted {
				n++
				visit(slot)
			}
		}
		if pos == c.next {
			c.next++
		}
	}
	return n
}

// Free gives the slot of a position, which Scan has handed out, back to the
// producer. Freeing it again does nothing.
func (c *Consumer) Free(pos uint64) {
	if int64(pos-c.head) < 0 {
		return
	}
	if pos-c.head >= c.ring.slots || !c.isHanded(pos) {
		panic(fmt.Sprintf("BUG: shm: Free of position %d, which Scan has not handed out", pos))
	}
	c.ring.store(c.ring.offset(pos), pos+c.ring.slots)
	c.moveHead()
}

// Recover frees the slots that a dead producer had reserved and not committed, and
// returns how many. The caller holds that producer's lock: of a live one they may
// be committed at any moment.
func (c *Consumer) Recover() (torn int64) {
	for pos, tail := c.first(), c.tail(); int64(tail-pos) > 0; pos++ {
		if c.ring.load(c.ring.offset(pos)) == pos {
			c.ring.store(c.ring.offset(pos), pos+c.ring.slots)
			torn++
		}
	}
	c.moveHead()
	return torn
}

// first is where to look for what has not been handed out.
func (c *Consumer) first() uint64 {
	if int64(c.next-c.head) < 0 {
		c.next = c.head
	}
	return c.next
}

// tail is the end of what there can be: a damaged tail makes us look at every
// slot, never further.
func (c *Consumer) tail() uint64 {
	if tail := c.ring.load(tailOffset); tail-c.head <= c.ring.slots {
		return tail
	}
	return c.head + c.ring.slots
}

// moveHead moves head over the freed slots that follow it.
func (c *Consumer) moveHead() {
	head, tail := c.head, c.tail()
	for int64(tail-head) > 0 && c.ring.load(c.ring.offset(head)) == head+c.ring.slots {
		c.clearHanded(head) // from now on it stands for the next lap's position
		head++
	}
	if head != c.head {
		c.head = head
		c.ring.store(headOffset, head)
	}
}

func (c *Consumer) isHanded(pos uint64) bool {
	i := pos & (c.ring.slots - 1)
	return c.handed[i/64]&(1<<(i%64)) != 0
}

func (c *Consumer) setHanded(pos uint64) {
	i := pos & (c.ring.slots - 1)
	c.handed[i/64] |= 1 << (i % 64)
}

func (c *Consumer) clearHanded(pos uint64) {
	i := pos & (c.ring.slots - 1)
	c.handed[i/64] &^= 1 << (i % 64)
}
