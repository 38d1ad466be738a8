// Package acked is the uplink that loses nothing, as two state machines. Sender
// is the edge's end: it packs records into datagrams as package batch does, but
// lets go of a record only when central has acked a datagram that carried it,
// and sends it again until then. Acker is central's end: it remembers which
// datagrams are committed and synced, and tells the edges. The bytes are those
// of package datagram, whose FORMAT.md says what may be believed and when.
//
// The package is pure: no sockets, no clock, no chance. Nothing in it is safe
// for concurrent use.
package acked
