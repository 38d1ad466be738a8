package refserver

import (
	"slices"
	"strings"
)

// Durability is the class of DESIGN §2 that an answer promises: D3, synced to
// the disk before the answer, for what answers after the commit; D2 for a
// Redis that writes its log before it answers and keeps what central has not
// confirmed; D1 for shared memory whose slots are freed by central's word alone.
// Whatever can vanish between edge and central (a datagram, a key's time to
// live, a Redis without a log) promises nothing, D0. Of an external server
// nothing is known: "".
func (c Composition) Durability() string {
	switch {
	case c.External != nil:
		return ""
	case c.Answer == AnswerAfterCommit:
		return "D3"
	case c.Answer == AnswerAfterBuffer && c.Buffer == BufferRedisConfirmed:
		return "D2"
	case c.Answer == AnswerAfterBuffer && c.Buffer == BufferShm && c.confirmed():
		return "D1"
	}
	return "D0"
}

// confirmed tells whether an edge keeps a record until central has it.
func (c Composition) confirmed() bool {
	return c.Uplink == UplinkUDPAcked || c.Uplink == UplinkGRPC || c.Buffer == BufferRedisConfirmed
}

// Steps tells the way of a postback through the composition, one step an entry.
func (c Composition) Steps() []string {
	if c.External != nil {
		return []string{"an own server at " + c.External.URL}
	}
	steps := c.stepsInFront()
	if c.Uplink == None {
		steps = append(steps, c.stepsInOne()...)
	} else {
		steps = append(steps, c.stepsAtEdge()...)
	}
	beforeAnswer := func(step string) {
		answer := slices.IndexFunc(steps, func(s string) bool { return strings.HasPrefix(s, "answer:") })
		steps = slices.Insert(steps, answer, step)
	}
	switch c.LogWrite {
	case LogOnRequest:
		beforeAnswer("log: one JSON object, written before the answer")
	case LogMapped:
		beforeAnswer("log: one Cap'n Proto message, stored into a memory-mapped file without a system call")
	case LogInBackground:
		steps = append(steps, "log: one JSON object, written in the background")
	}
	return steps
}

func (c Composition) stepsInFront() []string {
	var steps []string
	if c.Place == PlacePartner {
		steps = append(steps, "place: the edge is a proxy in the partner's data centre")
	}
	const verify = "verify: HMAC-SHA256 and age, if signed"
	switch c.Front {
	case FrontPHP:
		return append(steps, "accept: nginx on TCP and TLS, FastCGI to php-fpm over a unix socket",
			"parse: Laravel's kernel, router and one controller; query into an array, or strictly if signed", verify+", in PHP")
	case FrontWorker:
		return append(steps, "accept: workerd on TCP, an isolate for all requests", verify+", in the Worker with WebCrypto",
			"hand over: to an edge process on the same machine", "parse: net/http, query into a map, or strictly if signed")
	case FrontGRPC:
		return append(steps, "accept: a gRPC stream per partner, an ack for each message (HTTP on net/http beside it)",
			"parse: query into fields, strictly if signed", verify)
	case FrontZerocopy:
		return append(steps, "accept: fasthttp on TCP, requests reused", "parse: query in place, without an allocation", verify)
	}
	return append(steps, "accept: net/http on TCP, a goroutine per connection", "parse: query into a map, or strictly if signed", verify)
}

func (c Composition) stepsInOne() []string {
	steps := []string{"attribution: click by its id from ClickHouse (SQLite where it is not installed)"}
	switch {
	case c.Attribution == AttributionRedisCache:
		steps = []string{"attribution: click by its id from Redis, from ClickHouse when it is not there yet",
			"cap: identity, offer and counter from Redis, in one round trip; from MariaDB what is not there",
			"insert: row and counter in one transaction of MariaDB, without a second look (concurrent requests can pass the cap)"}
	case c.Caps == CapsAtomic:
		steps = append(steps, "cap: identity and counter, read inside the transaction",
			"insert: row and counter in the same transaction of MariaDB (the cap holds; SQLite where it is not installed)")
	default:
		steps = append(steps, "cap: identity and counter, read in statements of their own",
			"insert: row and counter in one transaction of MariaDB, without a second look (concurrent requests can pass the cap; SQLite where it is not installed)")
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
	switch c.Uplink {
	case UplinkUDP:
		steps = append(steps, "batcher (a process): every 10 ms, whatever the lanes hold into datagrams",
			"UDP: sealed, fire and forget", "collector (a process): authentic and no replay, else refused")
	case UplinkUDPAcked:
		steps = append(steps, "batcher (a process): every 10 ms, whatever the lanes hold into datagrams; a slot is free when central has acked it",
			"UDP: sealed, sent again until acked", "collector (a process): authentic and no replay, else refused; acks what is committed")
	case UplinkGRPC:
		steps = append(steps, "streamer (a process): batches from the lanes into one gRPC stream; a slot is free when central has acked it",
			"collector (a process): acks a batch that is committed")
	default:
		steps = append(steps, "replicator (a process): hands the stream's entries to central, deletes what central has")
	}
	return append(steps, "commit: dedup, attribution from memory, cap and row in one synced batch of Pebble")
}
