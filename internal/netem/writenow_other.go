//go:build !unix

package netem

// writeNow leaves it to the goroutine that waits for the socket.
func writeNow(uintptr, []byte) (int, error) { return 0, nil }
