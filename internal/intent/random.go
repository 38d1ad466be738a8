package intent

import "math"

// mix64 is the finaliser of SplitMix64 (Steele, Lea, Flood: "Fast splittable
// pseudorandom number generators", OOPSLA 2014): a bijection in which every
// input bit reaches every output bit.
func mix64(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb
	return x ^ (x >> 31)
}

// draws gives the independent random numbers of one intent: counter based, so
// that intent i can be made without making the ones before it.
type draws struct{ key uint64 }

// salt names a use of randomness; equal salts give equal numbers.
type salt uint64

const (
	saltPartner salt = iota + 1
	saltOffer
	saltKind
	saltEvent
	saltDuplicate
	saltDuplicateDelay
	saltClickAge
	saltMalformation
	saltChain
	saltLate
)

func (d draws) bits(s salt) uint64 { return mix64(d.key ^ mix64(uint64(s))) }

// uniform is in [0,1) with 53 random bits.
func (d draws) uniform(s salt) float64 {
	return float64(d.bits(s)>>11) / (1 << 53)
}

// exponential has mean 1 (inverse transform; the argument is in (0,1]).
func (d draws) exponential(s salt) float64 {
	return -math.Log(1 - d.uniform(s))
}

// cumulative turns weights, of which at least one is positive, into the running
// sums that pick reads. The sums from the last positive weight on are forced to
// 1, so that rounding picks neither past the end nor what has no weight.
func cumulative(weights []float64) []float64 {
	var total float64
	last := 0
	for i, w := range weights {
		total += w
		if w > 0 {
			last = i
		}
	}
	sums := make([]float64, len(weights))
	var sum float64
	for i, w := range weights {
		sum += w / total
		sums[i] = min(sum, 1)
		if i >= last {
			sums[i] = 1
		}
	}
	return sums
}

// pick returns the first index whose running sum exceeds u.
func pick(sums []float64, u float64) int {
	low, high := 0, len(sums)-1
	for low < high {
		middle := (low + high) / 2
		if sums[middle] > u {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low
}
