// Package ingestpb is the message format of partner ingest over a gRPC stream.
// ingest.proto is the source; `make generate` writes the rest.
package ingestpb
