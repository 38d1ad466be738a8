package collect

import (
	"fmt"
	"slices"

	"github.com/postbench/postbench/refserver/datagram"
	"github.com/postbench/postbench/refserver/store/pebbledb"
)

// edgeIDs are the different ids, by rising number: an edge may have two keys.
func edgeIDs(edges []datagram.Edge) (ids []uint16) {
	for _, e := range edges {
		ids = append(ids, e.ID)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func stateKey(edgeID uint16, lane int) string {
	return fmt.Sprintf("collect/boot/%d/%d", edgeID, lane)
}

// readStates returns what the lanes remember of the edges. The receiver keeps
// the newest of an edge's states.
func readStates(from Store, edgeIDs []uint16) (states []datagram.BootState, err error) {
	for _, id := range edgeIDs {
		for lane := range commitLanes {
			key := stateKey(id, lane)
			value, err := from.Value(key)
			if err != nil {
				return nil, fmt.Errorf("read state %s: %w", key, err)
			}
			if value == nil {
				continue
			}
			var state datagram.BootState
			if err := state.Decode(value); err != nil {
				return nil, fmt.Errorf("read state %s: %w", key, err)
			}
			if state.EdgeID != id {
				return nil, fmt.Errorf("read state %s: it is edge %d's: %w", key, state.EdgeID, datagram.ErrBadState)
			}
			states = append(states, state)
		}
	}
	return states, nil
}

// lane is one commit at a time. Its states are written in order, which those
// of different lanes are not.
type lane struct {
	number int
	keys   map[uint16]string // by edge id
	states []pebbledb.KV     // reused
}

func newLane(number int) *lane { return &lane{number: number, keys: make(map[uint16]string)} }

// encode makes the states of this lane. The result is valid until the next call.
func (l *lane) encode(boots []datagram.BootState) []pebbledb.KV {
	l.states = l.states[:0]
	for i := range boots {
		key := l.keys[boots[i].EdgeID]
		if key == "" {
			key = stateKey(boots[i].EdgeID, l.number)
			l.keys[boots[i].EdgeID] = key // one for each edge that the receiver knows
		}
		l.states = append(l.states, pebbledb.KV{Key: key, Value: boots[i].Append(nil)})
	}
	return l.states
}
