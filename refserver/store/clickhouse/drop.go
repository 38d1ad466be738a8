package clickhouse

import (
	"context"
	"fmt"
)

// Drop removes the database with all that is in it; nothing but Close may
// follow.
func (c *Clicks) Drop(ctx context.Context) error {
	if _, err := c.do(ctx, "", "DROP DATABASE IF EXISTS "+c.options.Database, nil); err != nil {
		return fmt.Errorf("ClickHouse at %s: drop database %s: %w", c.options.HTTP, c.options.Database, err)
	}
	return nil
}
