package datagram

const (
	windowWords = 128 // a power of two; 1 KiB for each boot
	// WindowBits is how far behind the highest sequence number a datagram may
	// arrive: one word less than there is, because the highest word fills up.
	WindowBits = (windowWords - 1) * 64
)

// window remembers which sequence numbers were taken, as in RFC 6479: a ring of
// words, cleared as the highest number moves on.
type window struct {
	// floor and all below are refused: what was before a restart. 0 is never
	// given, so it also stands for "nothing yet".
	floor uint64
	top   uint64 // the highest taken
	words [windowWords]uint64
}

// take is nil the first time that a number within the window is asked for.
func (w *window) take(seq uint64) error {
	if seq <= w.floor {
		return ErrReplay
	}
	word := seq / 64
	if seq > w.top {
		first := w.top/64 + 1
		if word >= windowWords { // clear none twice
			first = max(first, word-windowWords+1)
		}
		for ; first <= word; first++ {
			w.words[first%windowWords] = 0
		}
		w.top = seq
	} else if w.top-seq >= WindowBits {
		return ErrBehindWindow
	}
	bit := uint64(1) << (seq % 64)
	if w.words[word%windowWords]&bit != 0 {
		return ErrReplay
	}
	w.words[word%windowWords] |= bit
	return nil
}
