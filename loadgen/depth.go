package loadgen

// depthCurve is how many attempts waited for a connection: the most at once in
// each second of the run. The zero value is an empty queue.
type depthCurve struct {
	deepest int // ever
	now     int
	seconds []int // of the seconds that have begun; the last one is under way
}

// changed notes that n attempts wait from atNs on (ns since the run's start).
// Times may be a little out of order: an older one counts as the latest.
func (d *depthCurve) changed(atNs int64, n int) {
	if d.deepest == 0 && n == 0 {
		return // never used: costs nothing
	}
	d.reach(atNs)
	d.now, d.deepest = n, max(d.deepest, n)
	last := len(d.seconds) - 1
	d.seconds[last] = max(d.seconds[last], n)
}

// reach begins the seconds up to atNs. What waits at their beginning counts.
func (d *depthCurve) reach(atNs int64) {
	second := int(min(atNs/1e9, maxSeconds-1))
	for len(d.seconds) <= second {
		d.seconds = append(d.seconds, d.now)
	}
}

// perSecond returns the curve of a run that ended at endNs, nil when nothing
// ever waited.
func (d *depthCurve) perSecond(endNs int64) []int {
	if d.deepest == 0 {
		return nil
	}
	d.reach(endNs)
	return d.seconds
}
