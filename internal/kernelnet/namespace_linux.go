package kernelnet

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// namespace is a network namespace of its own, held by a thread of its own. It
// dies with that thread and the last socket and device made in it.
type namespace struct {
	calls chan func()
	ended chan struct{}
}

// newNamespace makes a network namespace. Its goroutine runs until close.
func newNamespace() (*namespace, error) {
	n := &namespace{calls: make(chan func()), ended: make(chan struct{})}
	made := make(chan error)
	go n.hold(made)
	if err := <-made; err != nil {
		return nil, err
	}
	return n, nil
}

func (n *namespace) hold(made chan<- error) {
	// Never unlocked: the runtime then ends the thread with the goroutine.
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// The runtime cannot end the process's first thread. Occupy it while
		// another goroutine, and so another thread, takes the part.
		go n.hold(made)
		<-n.ended
		runtime.UnlockOSThread()
		return
	}
	defer close(n.ended)
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		made <- fmt.Errorf("%w: unshare(CLONE_NEWNET): %w", ErrUnsupported, err)
		return
	}
	made <- nil
	for call := range n.calls {
		call()
	}
}

// do runs call on a thread inside the namespace.
func (n *namespace) do(call func() error) error {
	result := make(chan error, 1)
	n.calls <- func() { result <- call() }
	return <-result
}

// close lets the thread end. Nobody may call do any more.
func (n *namespace) close() {
	close(n.calls)
	<-n.ended
}
