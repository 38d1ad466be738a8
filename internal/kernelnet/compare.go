package kernelnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/postbench/postbench/internal/kernelnet/exchange"
	"github.com/postbench/postbench/internal/netem"
)

// Comparison is the same exchanges over two networks of the same description.
type Comparison struct {
	Kernel, Model      []exchange.Sample // equally many, in no order
	ToServer, ToClient Counts            // of the kernel's packets
	Truth              netem.Truth       // of the model's segments
}

// RelayLate is by how much the kernel's packets were late on average, because the
// machine had other things to do. From about 1 ms on it disturbs.
func (c *Comparison) RelayLate() time.Duration {
	delivered := c.ToServer.Delivered + c.ToClient.Delivered
	if delivered == 0 {
		return 0
	}
	return time.Duration((c.ToServer.LateNs + c.ToClient.LateNs) / delivered)
}

// Compare does exchanges of a kind over a Link and over a netem.Path of the
// same spec, of which it takes the round trip, jitter and loss. Both run at the
// same time, so that what else this machine does disturbs both. On each, so
// many connections are open at once. Errors wrap ErrUnsupported like New's.
func Compare(ctx context.Context, spec netem.PathSpec, seed uint64, kind exchange.Kind, exchanges, connections int) (*Comparison, error) {
	link, err := New(Spec{RTTNs: spec.RTTNs, Loss: spec.Loss, Jitter: spec.Jitter, Seed: seed})
	if err != nil {
		return nil, err
	}
	network := netem.NewNetwork(seed)
	path, err := network.Path(netem.PathSpec{Name: "model", RTTNs: spec.RTTNs, Loss: spec.Loss, Jitter: spec.Jitter})
	if err != nil {
		return nil, errors.Join(err, link.Close(), network.Close())
	}
	var (
		c           Comparison
		both        sync.WaitGroup
		kernel, sim error
	)
	both.Go(func() { c.Kernel, kernel = overKernel(ctx, link, kind, exchanges, connections) })
	both.Go(func() { c.Model, sim = overModel(ctx, path, kind, exchanges, connections) })
	both.Wait()
	c.ToServer, c.ToClient = link.Counts()
	c.Truth = path.Truth()
	if err := errors.Join(kernel, sim, link.Close(), network.Close()); err != nil {
		return nil, fmt.Errorf("kernel and model, %s: %w", kind.Name, err)
	}
	return &c, nil
}

func overKernel(ctx context.Context, link *Link, kind exchange.Kind, exchanges, connections int) ([]exchange.Sample, error) {
	listener, err := link.Listen(0)
	if err != nil {
		return nil, err
	}
	_, text, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	dial := func(ctx context.Context) (net.Conn, error) { return link.Dial(ctx, uint16(port)) }
	return kind.Measure(ctx, listener, dial, exchanges, connections)
}

func overModel(ctx context.Context, path *netem.Path, kind exchange.Kind, exchanges, connections int) ([]exchange.Sample, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	dial := func(ctx context.Context) (net.Conn, error) { return path.Dial(ctx, "tcp", listener.Addr().String()) }
	return kind.Measure(ctx, listener, dial, exchanges, connections)
}
