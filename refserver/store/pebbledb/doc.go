// Package pebbledb is the store on Pebble, a log-structured tree inside the
// process. It keeps everything that central knows: clicks, offers and their
// cap counters, keys, the conversions and what its callers want remembered
// with them. FORMAT.md describes the bytes.
//
// Dedup key, row, cap counter and the callers' states of one batch are one
// atomic write, and nothing is acknowledged before it is synced to the disk.
// One caller at a time decides and applies; the waiting for the sync is done
// side by side, so that callers that run together share syncs.
//
// Clicks and offers live in memory as well: a conversion is attributed without
// a read. In memory, the counters are the authority; on the disk they are
// written with the rows that moved them.
package pebbledb
