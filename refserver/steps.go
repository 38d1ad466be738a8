package refserver

import (
	"slices"
	"strings"
)

// Durability is the class of DESIGN §2 that an answer promises: D3, synced to
// the disk before the answer, for what answers after the commit; D2 for a
// Redis that writes its log before it answers and keeps what central has not
// confirmed. Whatever can vanish between edge and central (a datagram, a key's
// time to live, a Redis without a log) promises nothing, D0.
func (c Composition) Durability() string {
	switch {
	case c.Answer == AnswerAfterCommit:
		return "D3"
	case c.Answer == AnswerAfterBuffer && c.Buffer == BufferRedisConfirmed:
		return "D2"
	}
	return "D0"
}

// Steps tells the way of a postback through the composition, one step an entry.
func (c Composition) Steps() []string {
	steps := []string{"accept: net/http on TCP, a goroutine per connection", "parse: query into a map, or strictly if signed"}
	if c.Front == FrontZerocopy {
		steps = []string{"accept: fasthttp on TCP, requests reused", "parse: query in place, without an allocation"}
	}
	steps = append(steps, "verify: HMAC-SHA256 and age, if signed")
	if c.Uplink == None {
		steps = append(steps, c.stepsInOne()...)
	} else {
		steps = append(steps, c.stepsAtEdge()...)
	}
	switch c.LogWrite {
	case LogOnRequest:
		answer := slices.IndexFunc(steps, func(s string) bool { return strings.HasPrefix(s, "answer:") })
		steps = slices.Insert(steps, answer, "log: one JSON object, written before the answer")
	case LogInBackground:
		steps = append(steps, "log: one JSON object, written in the background")
	}
	return steps
}

func (c Composition) stepsInOne() []string {
	steps := []string{"attribution: click by its id from SQL"}
	if c.Caps == CapsAtomic {
		steps = append(steps, "cap: identity and counter, read inside the transaction",
			"insert: row and counter in the same transaction (the cap holds)")
	} else {
		steps = append(steps, "cap: identity and counter, read in statements of their own",
			"insert: row and counter in one transaction, without a second look (concurrent requests can pass the cap)")
	}
	return append(steps, "answer: 200 after the commit is synced to the disk")
}

func (c Composition) stepsAtEdge() []string {
	buffer := map[string]string{
		BufferShm:            "buffer: a slot in the process's lane of shared memory",
		BufferRedisTTL:       "buffer: the edge's Redis, a key of 5 minutes and an entry of the index stream in one MULTI",
		BufferRedisConfirmed: "buffer: the edge's Redis with its append-only file, kept until central has confirmed",
	}[c.Buffer]
	steps := []string{buffer, "answer: 200; 503 if the buffer was full"}
	if c.Answer == AnswerBeforeBuffer {
		steps = []string{"answer: 200", buffer + "; a full one drops the postback (counted)"}
	}
	if c.Uplink == UplinkUDP {
		steps = append(steps, "batcher (a process): every 10 ms, whatever the lanes hold into datagrams",
			"UDP: sealed, fire and forget", "collector (a process): authentic and no replay, else refused")
	} else {
		steps = append(steps, "replicator (a process): hands the stream's entries to central, deletes what central has")
	}
	return append(steps, "commit: dedup, attribution from memory, cap and row in one synced batch of Pebble")
}
