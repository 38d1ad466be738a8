package refserver

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"

	"github.com/postbench/postbench/internal/netem"
	"github.com/postbench/postbench/refserver/collect"
	"github.com/postbench/postbench/refserver/lanes/consumer"
	"github.com/postbench/postbench/refserver/stream"
)

// streamerCounts are a streamer's counts under the names that all senders share.
type streamerCounts struct {
	stream.Counts
	RecordsSent int64 `json:"records_sent"`
}

// runStreamer hands over what the lanes hold on one stream.
func runStreamer(ctx context.Context, c *RoleConfig, log *slog.Logger, ready func(string)) (err error) {
	dial, end, err := c.dialUplink()
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, end()) }()
	sender, err := stream.NewSender(stream.SenderConfig{
		Config:  consumer.Config{LaneDir: c.LaneDir, Every: batchEvery, Log: log},
		Central: c.IngestAddr, Token: c.IngestToken,
		Dial: func(ctx context.Context, addr string) (net.Conn, error) { return dial(ctx, "tcp", addr) },
	})
	if err != nil {
		return err
	}
	counts := func(context.Context) (any, error) {
		of := sender.Counts()
		return streamerCounts{of, of.Records}, nil
	}
	if err := serveCounts(ctx, c.Control, counts); err != nil {
		return err
	}
	ready(c.Control)
	return sender.Run(ctx)
}

// dialUplink connects to central over the network path that lies between, or
// directly. end frees the path.
func (c *RoleConfig) dialUplink() (dial dialFunc, end func() error, err error) {
	if c.Uplink == nil {
		return new(net.Dialer).DialContext, func() error { return nil }, nil
	}
	network := netem.NewNetwork(c.Seed + uint64(c.Node))
	path, err := network.Path(*c.Uplink)
	if err != nil {
		return nil, nil, errors.Join(err, network.Close())
	}
	return path.Dial, network.Close, nil
}

// serveUplink takes the streams of streamers at IngestAddr until ctx ends; done
// is closed when the last batch is acked.
func (c *RoleConfig) serveUplink(ctx context.Context, collector *collect.Collector, log *slog.Logger) (done <-chan struct{}, err error) {
	receiver, err := stream.NewReceiver(stream.ReceiverConfig{Commit: collector.CommitRecords, Token: c.IngestToken, Log: log})
	if err != nil {
		return nil, err
	}
	listener, err := listenShared(ctx, c.IngestAddr)
	if err != nil {
		return nil, err
	}
	go func() {
		if err := receiver.Serve(listener); err != nil && ctx.Err() == nil {
			log.Error("streams of edges", "error", err)
		}
	}()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-ctx.Done()
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainLimit)
		defer cancel()
		if err := receiver.Shutdown(drain); err != nil {
			log.Error("streams of edges", "error", err)
		}
	}()
	return ended, nil
}
