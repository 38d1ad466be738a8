package intent

import (
	"bufio"
	"bytes"
	"fmt"
	"hash/maphash"
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
// offer id; a first line "click_id" or "click_id,offer_id" is a header.
// Columns after the second are ignored. offers gives the offer ids that are
// allowed. Errors name file and line.
func ReadClicks(file string, r io.Reader, offers []Offer) (*ClickList, error) {
	known := make(map[string]int32, len(offers))
	for i, o := range offers {
		known[o.ID] = int32(i)
	}
	list := &ClickList{}
	scanner := bufio.NewScanner(r)
	scanner.Buffer(make([]byte, maxClickLineBytes), maxClickLineBytes)
	for line := 1; scanner.Scan(); line++ {
		id, rest, _ := bytes.Cut(bytes.TrimSpace(scanner.Bytes()), []byte(","))
		if len(id) == 0 || (line == 1 && string(id) == "click_id") {
			continue
		}
		if len(id) > postback.MaxClickIDBytes {
			return nil, fmt.Errorf("%s:%d: click id of %d bytes, longer than %d", file, line, len(id), postback.MaxClickIDBytes)
		}
		offerID, _, _ := bytes.Cut(rest, []byte(","))
		offer, ok := known[string(offerID)]
		if !ok && len(offerID) > 0 {
			return nil, fmt.Errorf("%s:%d: offer %q is not in the scenario", file, line, offerID)
		}
		if len(offerID) == 0 {
			offer = -1
		}
		if len(list.ends) == MaxClicks {
			return nil, fmt.Errorf("%s:%d: more than %d click ids", file, line, MaxClicks)
		}
		list.text = append(list.text, id...)
		list.ends = append(list.ends, uint32(len(list.text)))
		list.offers = append(list.offers, offer)
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("%s:%d: %w", file, len(list.ends)+1, err)
	}
	if len(list.ends) == 0 {
		return nil, fmt.Errorf("%s: no click ids; want one a line", file)
	}
	return list, nil
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

// indexClicks makes the way back from a click id to its position. A second
// use of one click id is found by its txid only.
func (g *Generator) indexClicks() {
	clicks := g.spec.Clicks
	seed := maphash.MakeSeed()
	g.hashSeed = seed
	g.clickSlot = make(map[uint64]int32, clicks.Len())
	for i := range clicks.Len() {
		id, _ := clicks.Click(i)
		key := maphash.Bytes(seed, id)
		if _, taken := g.clickSlot[key]; !taken {
			g.clickSlot[key] = int32(i)
		}
	}
}

func (g *Generator) ownClick(index uint64, it *Intent) {
	clicks := g.spec.Clicks
	id, offer := clicks.Click(int(index % uint64(clicks.Len())))
	it.ClickID = id
	if offer >= 0 {
		it.Offer = offer
	}
	if it.Kind == UnknownClick {
		it.ClickID = g.clickIDs.Append(it.clickBuffer[:0], g.spec.RunNumber, index)
	}
}

func (g *Generator) findOwnClick(clickID, txID []byte) (uint64, Owner) {
	if run, index, ok := g.txIDs.Decode(txID); ok {
		return index, g.owner(run, ok)
	}
	if run, index, ok := g.clickIDs.Decode(clickID); ok {
		return index, g.owner(run, ok)
	}
	slot, ok := g.clickSlot[maphash.Bytes(g.hashSeed, clickID)]
	if !ok {
		return 0, Foreign
	}
	if id, _ := g.spec.Clicks.Click(int(slot)); !bytes.Equal(id, clickID) {
		return 0, Foreign
	}
	return uint64(slot), ThisRun
}
