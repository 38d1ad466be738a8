package replicate

// Entry is one entry of the index stream.
type Entry struct {
	ID  string // Redis's
	Key string // of the arrival; "" for an entry that is not of FORMAT.md's form
}

// An Action is what the Core wants done next, one at a time: CreateGroup, Read,
// Fetch, Send, Confirm, Wait or Stop. Whoever carries it out answers with the
// Event that its comment names. Slices belong to the Core until then.
type Action interface{ action() }

// CreateGroup wants the consumer group on the index, both created if missing,
// from ID 0 (an existing group is left alone). Answer: GroupReady, RedisFailed.
type CreateGroup struct{}

// Read wants at most Max entries: with Pending those that were handed to our
// consumer before and not confirmed, from ID 0; else those handed to nobody yet,
// waiting up to BlockNs for the first one (0 = not at all). Answer: ReadDone,
// RedisFailed.
type Read struct {
	Pending bool
	Max     int
	BlockNs int64
}

// Fetch wants the values of the keys. Answer: Fetched, RedisFailed.
type Fetch struct{ Keys []string }

// Send wants the records committed at central, all or, for all that we know,
// none. Answer: Sent, SendFailed.
type Send struct{ Records [][]byte }

// Confirm wants the entries acknowledged and deleted and, if KeepNs is more than
// 0, the keys to expire after that time, all in one transaction. Answer:
// Confirmed, RedisFailed.
type Confirm struct {
	IDs    []string
	Keys   []string // empty if KeepNs is 0
	KeepNs int64
}

// Wait wants time to pass; it may be cut short after Drain. Answer: Woke.
type Wait struct {
	WaitNs int64
	// Failures is how many failures there were in a row, this one included.
	Failures int
}

// Stop is the last action; there is no answer. Drained tells that the stream
// was found empty, else the limit for draining was reached.
type Stop struct{ Drained bool }

func (CreateGroup) action() {}
func (Read) action()        {}
func (Fetch) action()       {}
func (Send) action()        {}
func (Confirm) action()     {}
func (Wait) action()        {}
func (Stop) action()        {}

// An Event is what became of an action.
type Event interface{ event() }

// Started begins; it answers nothing.
type Started struct{}

// GroupReady answers CreateGroup.
type GroupReady struct{}

// ReadDone answers Read, in the order of the stream. More entries than were
// asked for do no harm: those beyond are still pending and come again.
type ReadDone struct{ Entries []Entry }

// Fetched answers Fetch: a value for every key, nil for a key that is gone.
type Fetched struct{ Values [][]byte }

// Sent answers Send: central has committed all records.
type Sent struct{}

// SendFailed answers Send: central may have committed them or not.
type SendFailed struct{}

// Confirmed answers Confirm.
type Confirmed struct{}

// RedisFailed answers any action on Redis; whether it was carried out is
// unknown. GroupLost tells that Redis answered and has no such group.
type RedisFailed struct{ GroupLost bool }

// Woke answers Wait.
type Woke struct{}

func (Started) event()     {}
func (GroupReady) event()  {}
func (ReadDone) event()    {}
func (Fetched) event()     {}
func (Sent) event()        {}
func (SendFailed) event()  {}
func (Confirmed) event()   {}
func (RedisFailed) event() {}
func (Woke) event()        {}
