// Package loadgen plays partners: affiliate networks that send postbacks,
// time out, queue, retry and drop.
//
// [Run] is the one open loop. A schedule says when each intent is due; the
// loop releases it then, whatever the server does, and every latency starts at
// the due time. What a slow server delays is therefore charged to the server
// (no coordinated omission), what the modelled partner delays (its bounded
// connections) is kept apart as lag_queue, and what this program delays is
// measured as lag_generator and makes the run invalid when it is too much.
package loadgen
