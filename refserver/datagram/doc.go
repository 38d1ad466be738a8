// Package datagram is the format of what travels by UDP between an edge and
// central, data one way and acks the other, and the state machines at its ends:
// Sealer and AckOpener on the edge, Receiver and AckSealer at central. Who sends
// what and when is in packages batch and acked. FORMAT.md is the contract.
//
// The package is pure: no sockets, no clock, no chance. Nothing in it is safe
// for concurrent use.
package datagram
