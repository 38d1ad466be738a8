package labtarget

// fault is one way to misbehave.
type fault uint8

const (
	none fault = iota
	refuse
	hang
	hangUp
	lose
	storeTwice
	addPhantom
	changePayout
)

// cadence is a fault and its turns.
type cadence struct {
	fault fault
	every int64
	owed  int64 // turns that have come and found the postback taken
}

// faults deals out the faults of one group, the first of a group first.
type faults struct {
	seen     int64
	cadences []cadence
}

func requestFaults(o *Options) faults {
	return faults{cadences: []cadence{{fault: refuse, every: o.RefuseEvery}, {fault: hang, every: o.HangEvery}, {fault: hangUp, every: o.CloseEvery}}}
}

func bookFaults(o *Options) faults {
	return faults{cadences: []cadence{{fault: lose, every: o.LoseEvery}, {fault: storeTwice, every: o.TwiceEvery},
		{fault: addPhantom, every: o.PhantomEvery}, {fault: changePayout, every: o.ChangePayoutEvery}}}
}

// next returns what the next postback suffers.
func (f *faults) next() fault {
	f.seen++
	struck := none
	for i := range f.cadences {
		c := &f.cadences[i]
		if c.every > 0 && f.seen%c.every == 0 {
			c.owed++
		}
		if struck == none && c.owed > 0 {
			c.owed--
			struck = c.fault
		}
	}
	return struck
}
