// Package postback is the noun of postbench: one conversion that a partner
// reports to a tracker, as a URL query, as a request template and as a binary
// record. It does no I/O and reads no clock; the byte formats are in FORMAT.md.
//
// There are only a few types: [Postback] parses a query, [Template] writes a
// request from [Fields], [Signer] and [Keyring] make and check signatures, and
// [Record] is what travels from an edge to central. A [Dialect] is a partner's
// own way to write and to sign: a [DialectSigner] writes it, [Dialects] read it.
// [Money], [Currency] and [Event] are the values they share.
//
// # Ownership
//
// Nothing here copies what it can point at. The []byte fields of a Postback
// and of a decoded Record point into the caller's input (a Postback's escaped
// values into the Postback itself) and die with it: copy what must outlive the
// request. Functions that are named Append… write to the slice they are given
// and keep no reference to it.
//
// # Limits
//
// Every value has a named maximum (MaxClickIDBytes and its neighbours), in
// bytes after decoding, and a query has MaxQueryBytes. Whatever exceeds one is
// refused with [ErrTooLong], never cut short.
package postback
