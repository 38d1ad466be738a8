package php

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// countRefused counts the lines of nginx's own log: one status each.
func countRefused(dir string) (map[int]int64, error) {
	counts := make(map[int]int64)
	file, err := os.Open(filepath.Join(dir, "refused.log"))
	if errors.Is(err, fs.ErrNotExist) {
		return counts, nil
	}
	if err != nil {
		return nil, fmt.Errorf("count what nginx has refused: %w", err)
	}
	defer func() { _ = file.Close() }()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if status, err := strconv.Atoi(lines.Text()); err == nil { // a line that is just being written is no number yet
			counts[status]++
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("count what nginx has refused: %w", err)
	}
	return counts, nil
}
