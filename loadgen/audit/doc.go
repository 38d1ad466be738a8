// Package audit is the judge: it holds what the partners did (one [Cell] an
// intent) against the rows of the server's ledger and says what became of
// every single postback.
//
// It shares no code with the server's decisions: what is admissible comes from
// internal/intent, which derives it from seed, run number and index. The
// package does no I/O; rows come from an io.Reader.
package audit
