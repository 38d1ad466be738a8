package cli

import (
	"context"
	"time"

	"github.com/postbench/postbench/refserver"
)

// readDatabases asks a server without edges what its databases did; nil when it
// does not tell.
func (to *target) readDatabases(ctx context.Context) *refserver.DatabaseReport {
	if to.databases == "" {
		return nil
	}
	var report refserver.DatabaseReport
	if err := getJSON(ctx, to.client, to.databases, &report); err != nil {
		return nil
	}
	return &report
}

// cpuWithDatabases is the server's CPU time and that of the databases that it
// has started; negative when it is not known.
func (to *target) cpuWithDatabases(ctx context.Context, server func() time.Duration) func() time.Duration {
	return func() time.Duration {
		report := to.readDatabases(context.WithoutCancel(ctx))
		if report == nil {
			return -1
		}
		return server() + time.Duration(report.CPUNs)
	}
}

// queriesPerRequest is what each request cost the SQL database between two
// looks; nil when it is not known.
func queriesPerRequest(before, after *refserver.DatabaseReport, requests int64) *float64 {
	if before == nil || after == nil || before.Queries == nil || after.Queries == nil || requests == 0 {
		return nil
	}
	n := float64(*after.Queries-*before.Queries) / float64(requests)
	return &n
}
