//go:build !linux

package proc

// adoptOrphans cannot be done here.
func adoptOrphans() error { return nil }

// descendants cannot be known here.
func descendants(int) []int { return nil }

// marked cannot be known here.
func marked(string) []int { return nil }
