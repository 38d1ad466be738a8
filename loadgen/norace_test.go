//go:build !race

package loadgen

// virtualSeeds is how many runs are played in virtual time.
const virtualSeeds = 200
