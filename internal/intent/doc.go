// Package intent answers one question without a table: what is the i-th
// conversion of a run, and what may a correct server make of it?
//
// An [Intent] is a pure function of seed, run number and index. Its click id
// and txid are a permutation of (run number, index), so the audit can turn any
// ledger row back into the intent that caused it, however long the run was, in
// constant memory. A later step of a chain (a lead that became a sale) carries
// the ids of the chain's beginning; the event tells the steps apart. The idea
// is TigerBeetle's (src/state_machine/workload.zig: ids are a reversible
// permutation of an ascending index).
//
// The package does no I/O and reads no clock.
package intent
