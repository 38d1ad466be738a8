package intent

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"

	"github.com/postbench/postbench/internal/postback"
)

// Limits of a click list.
const (
	MaxClicks         = 1 << 24
	maxClickLineBytes = 4096
)

// ClickList is a user's own click ids, read from a file.
type ClickList struct {
	text   []byte // all ids, one after the other
	ends   []uint32
	offers []int32
}

// ReadClicks reads one click id a line, optionally followed by a comma and an
// offer id; a first line "click_id" or "click_id,offer_id" is a header. Columns
// after the second and empty lines are ignored, quotes are those of CSV. offers
// gives the offer ids that are allowed. Errors name file and line.
func ReadClicks(file string, r io.Reader, offers []Offer) (*ClickList, error) {
	known := make(map[string]int32, len(offers))
	for i, o := range offers {
		known[o.ID] = int32(i)
	}
	list := &ClickList{}
	scanner := bufio.NewScanner(r)
	scanner.Buffer(make([]byte, maxClickLineBytes), maxClickLineBytes)
	line := 0
	for scanner.Scan() {
		line++
		text := scanner.Bytes()
		if line == 1 {
			text = bytes.TrimPrefix(text, []byte("\uFEFF")) // spreadsheets write it
		}
		if err := list.add(bytes.TrimSpace(text), line == 1, known); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, line, err)
		}
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("%s:%d: %w", file, line+1, err)
	}
	if len(list.ends) == 0 {
		return nil, fmt.Errorf("%s: no click ids; want one a line", file)
	}
	return list, nil
}

func (l *ClickList) add(line []byte, mayBeHeader bool, known map[string]int32) error {
	if len(line) == 0 {
		return nil
	}
	id, offerID, err := splitClick(line)
	if err != nil {
		return err
	}
	if mayBeHeader && string(id) == "click_id" {
		return nil
	}
	offer, ok := known[string(offerID)]
	if len(offerID) == 0 {
		offer, ok = -1, true
	}
	switch {
	case len(id) == 0:
		return errors.New("no click id before the comma")
	case len(id) > postback.MaxClickIDBytes:
		return fmt.Errorf("click id of %d bytes, longer than %d", len(id), postback.MaxClickIDBytes)
	case !ok:
		return fmt.Errorf("offer %q is not in the scenario", offerID)
	case len(l.ends) == MaxClicks:
		return fmt.Errorf("more than %d click ids", MaxClicks)
	}
	l.text = append(l.text, id...)
	l.ends = append(l.ends, uint32(len(l.text)))
	l.offers = append(l.offers, offer)
	return nil
}

// splitClick returns the first two fields of a line.
func splitClick(line []byte) (id, offerID []byte, err error) {
	if bytes.IndexByte(line, '"') < 0 {
		id, rest, _ := bytes.Cut(line, []byte(","))
		offerID, _, _ := bytes.Cut(rest, []byte(","))
		return bytes.TrimSpace(id), bytes.TrimSpace(offerID), nil
	}
	fields, err := csv.NewReader(bytes.NewReader(line)).Read()
	if err != nil {
		return nil, nil, errors.New("quotes that are not those of CSV")
	}
	fields = append(fields, "")
	return []byte(fields[0]), []byte(fields[1]), nil
}

// Len is the number of click ids.
func (l *ClickList) Len() int { return len(l.ends) }

// Click returns entry i.
func (l *ClickList) Click(i int) (clickID []byte, offer int) {
	start := uint32(0)
	if i > 0 {
		start = l.ends[i-1]
	}
	return l.text[start:l.ends[i]:l.ends[i]], int(l.offers[i])
}

// clickTable leads from an own click id back to its position: open addressing
// over at least twice as many slots, which holds 16 million ids in 128 MiB and,
// unlike a map of hashes, never takes one id for another.
type clickTable struct {
	clicks Clicks
	slots  []int32 // position + 1; 0 = free
}

// newClickTable takes the entries that used says are sent at all; of equal ids
// the first one.
func newClickTable(clicks Clicks, used func(index uint64) bool) clickTable {
	size := 2
	for size < 2*clicks.Len() {
		size *= 2
	}
	t := clickTable{clicks: clicks, slots: make([]int32, size)}
	for i := range clicks.Len() {
		id, _ := clicks.Click(i)
		if slot := t.slot(id); t.slots[slot] == 0 && used(uint64(i)) {
			t.slots[slot] = int32(i) + 1
		}
	}
	return t
}

// slot is where id is, or where it would be put.
func (t *clickTable) slot(id []byte) int {
	hash := uint64(len(id))
	for _, b := range id {
		hash = (hash ^ uint64(b)) * 0x100000001b3 // FNV-1a's step
	}
	mask := len(t.slots) - 1
	for slot := int(mix64(hash)) & mask; ; slot = (slot + 1) & mask {
		if t.slots[slot] == 0 {
			return slot
		}
		if taken, _ := t.clicks.Click(int(t.slots[slot]) - 1); bytes.Equal(taken, id) {
			return slot
		}
	}
}

func (t *clickTable) find(id []byte) (position uint64, ok bool) {
	n := t.slots[t.slot(id)]
	return uint64(n - 1), n > 0
}

// ownClick is the user's click of an intent; offer is -1 where the list does
// not say.
func (g *Generator) ownClick(index uint64) (clickID []byte, offer int) {
	return g.spec.Clicks.Click(int(index % uint64(g.spec.Clicks.Len())))
}

func (g *Generator) findOwnClick(clickID, txID []byte) (uint64, Owner) {
	if run, index, ok := g.txIDs.Decode(txID); ok {
		return index, g.owner(run, ok)
	}
	if run, index, ok := g.clickIDs.Decode(clickID); ok {
		return index, g.owner(run, ok)
	}
	position, ok := g.clickSlots.find(clickID)
	return position, g.owner(g.spec.RunNumber, ok)
}
