// Package datagram is the format of what travels by UDP between an edge and
// central, and the two state machines at its ends: Sealer on the edge, Receiver
// at central. The acks of the way back are here as a format; nobody sends them
// yet. FORMAT.md is the contract.
//
// The package is pure: no sockets, no clock, no chance. Nothing in it is safe
// for concurrent use.
package datagram
