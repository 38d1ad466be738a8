//go:build race

package audit

// randomHistories is small here: the judge knows no goroutines, and its
// histograms make the race detector slow.
const randomHistories = 200
