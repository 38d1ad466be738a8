package loadgen

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/postbench/postbench/loadgen/transport"
)

// Limits of the latency budget.
const (
	// MaxStageKinds is how many stages of a server a run tells apart by name;
	// the time of further ones, and of those with longer names, is booked as
	// OtherStage.
	MaxStageKinds = 16
	// MaxStageNameBytes is the longest name of a stage.
	MaxStageNameBytes = 32
	// maxSpent is how many requests are kept whole; of more, as many are drawn.
	maxSpent = 1 << 16
	// spentChunk is how many of them get room at once: 176 KiB, so that nobody
	// waits while megabytes move.
	spentChunk = 1 << 10
)

// The parts of a request that the client knows by itself, under these names in
// Budget.Parts.
const (
	PartLag = "lag" // due → dispatched: the partner's queue and ourselves
	// These are of requests that opened a connection.
	PartDNS     = "dns"
	PartConnect = "connect"
	PartTLS     = "tls"
	// PartNetwork is the rest: also what a server does not account for.
	PartNetwork = "network"
	// OtherStage is the server's time that MaxStageKinds had no room for.
	OtherStage = "other"
)

// Budget says where the response latency went of the legitimate intents with
// an acked first attempt after the warm-up.
type Budget struct {
	// Parts are in the order in which a postback meets them. They add up to the
	// mean response latency of the requests that they are of.
	Parts []Part
	// Requests is how many there were, Kept how many were kept whole for the
	// means between p90 and p99: all, or as many as there is room for.
	Requests, Kept int64
	// Clipped are those whose server named more time than the answer took; its
	// stages are made smaller in proportion.
	Clipped int64
	// Other are the stage times that were booked as OtherStage.
	Other int64
	// Cut are the answers that said more of their stages than was read.
	Cut int64
}

// Part is one part of the response latency, in ns.
type Part struct {
	Name   string
	MeanNs float64 // of all requests
	// TailMeanNs is the mean of the requests between the p90 and the p99 of the
	// response latency; 0 when all of these are without an ack.
	TailMeanNs float64
}

// Positions in spent: the client's own parts, then the server's stages by kind.
const (
	ofLag = iota
	ofDNS
	ofConnect
	ofTLS
	ofNetwork
	ofOther
	ofStages
	spentParts = ofStages + MaxStageKinds
)

// spent is one request: ns by part, which add up to its response latency.
type spent [spentParts]int64

func (s *spent) responseNs() (sum int64) {
	for _, ns := range s {
		sum += ns
	}
	return sum
}

// budget collects the requests of a run. It has one lock: what it does under
// it takes a microsecond.
type budget struct {
	mu     sync.Mutex
	random *rand.Rand
	names  []string // of the server's stages, by kind
	order  []int    // kinds, as a postback meets them
	sums   spent
	chunks [][]spent
	counts Budget
}

func newBudget(seed, runNumber uint64) *budget {
	return &budget{random: rand.New(rand.NewPCG(seed, runNumber))}
}

// add books an acked first attempt.
func (b *budget) add(o *observation) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var s spent
	phases := &o.reply.Phases
	s[ofLag], s[ofDNS], s[ofConnect], s[ofTLS] = o.dispatchedNs-o.ticket.dueNs, phases.DNSNs, phases.ConnectNs, phases.TLSNs
	exchangeNs := max(0, o.endNs-o.dispatchedNs-phases.DNSNs-phases.ConnectNs-phases.TLSNs)
	serverNs := b.readStages(o.reply.ServerTiming, &s)
	if serverNs > exchangeNs {
		b.counts.Clipped++
		serverNs = s.shrinkStages(serverNs, exchangeNs)
	}
	s[ofNetwork] = exchangeNs - serverNs
	if o.reply.TimingCut {
		b.counts.Cut++
	}
	for part, ns := range s {
		b.sums[part] += ns
	}
	b.counts.Requests++
	b.keep(&s)
}

// readStages books the server's stages and returns their sum.
func (b *budget) readStages(value []byte, s *spent) (sumNs int64) {
	at := 0 // in order, behind the stage before
	for timing := transport.ReadTiming(value); ; {
		name, ns, ok := timing.Next()
		if !ok {
			return sumNs
		}
		sumNs += ns
		kind := b.kindOf(name, &at)
		if kind < 0 {
			b.counts.Other++
			s[ofOther] += ns
			continue
		}
		s[ofStages+kind] += ns
	}
}

// kindOf returns the kind of a stage, -1 where there is no room for it. A new
// one takes its place at a position of the order; at moves on behind it.
func (b *budget) kindOf(name []byte, at *int) int {
	for kind, known := range b.names {
		if known == string(name) {
			*at = slices.Index(b.order, kind) + 1
			return kind
		}
	}
	if len(b.names) == MaxStageKinds || len(name) > MaxStageNameBytes {
		return -1
	}
	kind := len(b.names)
	b.names = append(b.names, string(name))
	b.order = slices.Insert(b.order, *at, kind)
	*at++
	return kind
}

// shrinkStages makes the stages fit into ns and returns their sum then.
func (s *spent) shrinkStages(serverNs, ns int64) (sumNs int64) {
	ratio := float64(ns) / float64(serverNs)
	for part := ofOther; part < spentParts; part++ {
		s[part] = min(int64(float64(s[part])*ratio), ns-sumNs) // the sum of what is rounded must not exceed ns
		sumNs += s[part]
	}
	return sumNs
}

// keep keeps the request, or draws whether it takes another one's place: each
// request is kept with the same probability.
func (b *budget) keep(s *spent) {
	at := b.counts.Kept
	if at == maxSpent {
		if at = b.random.Int64N(b.counts.Requests); at >= maxSpent {
			return
		}
	} else {
		b.counts.Kept++
	}
	if at/spentChunk == int64(len(b.chunks)) {
		b.chunks = append(b.chunks, make([]spent, spentChunk))
	}
	b.chunks[at/spentChunk][at%spentChunk] = *s
}

// result sums up. censored is how many intents had no acked first attempt:
// they are slower than all. nil when no request was booked.
func (b *budget) result(censored int64) *Budget {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.counts.Requests == 0 {
		return nil
	}
	all, tail := float64(b.counts.Requests), b.tail(censored)
	var tailSums spent
	for _, s := range tail {
		for part, ns := range s {
			tailSums[part] += ns
		}
	}
	result := b.counts
	book := func(name string, part int) {
		result.Parts = append(result.Parts, Part{Name: name, MeanNs: float64(b.sums[part]) / all,
			TailMeanNs: float64(tailSums[part]) / max(1, float64(len(tail)))})
	}
	book(PartLag, ofLag)
	book(PartDNS, ofDNS)
	book(PartConnect, ofConnect)
	book(PartTLS, ofTLS)
	for _, kind := range b.order {
		book(stageName(b.names[kind]), ofStages+kind)
	}
	if b.counts.Other > 0 {
		book(OtherStage, ofOther)
	}
	book(PartNetwork, ofNetwork)
	return &result
}

// stageName is a server's name for a stage, made different from ours.
func stageName(name string) string {
	switch name {
	case PartLag, PartDNS, PartConnect, PartTLS, PartNetwork, OtherStage:
		return "server " + name // no header can name one like this
	}
	return name
}

// tail returns the kept requests from the rank of p90 to that of p99.
func (b *budget) tail(censored int64) []*spent {
	kept := make([]*spent, b.counts.Kept)
	for i := range kept {
		kept[i] = &b.chunks[i/spentChunk][i%spentChunk]
	}
	slices.SortFunc(kept, func(a, b *spent) int { return cmp.Compare(a.responseNs(), b.responseNs()) })
	// A part of the requests stands for the same part of the censored ones.
	n := b.counts.Kept + int64(float64(censored)*float64(b.counts.Kept)/float64(b.counts.Requests)+0.5)
	first, last := rank(90, n), min(rank(99, n), b.counts.Kept)
	if first > last {
		return nil
	}
	return kept[first-1 : last]
}

// rank is the nearest rank of a percentile among n entries, from 1.
func rank(percent, n int64) int64 { return max(1, (percent*n+99)/100) }
