//go:build !race

package audit

// randomHistories is how many small histories a test run judges.
const randomHistories = 4_000
