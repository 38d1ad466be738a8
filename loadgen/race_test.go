//go:build race

package loadgen

// virtualSeeds is small here: histograms make the race detector slow.
const virtualSeeds = 40
