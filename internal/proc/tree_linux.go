package proc

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxEnvironBytes bounds what is read of a process's environment.
const maxEnvironBytes = 1 << 20

// adoptOrphans makes this process the parent of every descendant that loses its
// own.
func adoptOrphans() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// descendants are the processes below pid; zombies are among them.
func descendants(pid int) (found []int) {
	children := make(map[int][]int)
	for _, p := range processes() {
		if parent, ok := parentOf(p); ok {
			children[parent] = append(children[parent], p)
		}
	}
	found = append(found, children[pid]...)
	delete(children, pid)
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i]]...)
		delete(children, found[i]) // ids are read one by one: a circle is possible
	}
	return found
}

// marked are the living processes with that "KEY=value" in their environment.
func marked(variable string) (found []int) {
	for _, pid := range processes() {
		if hasVariable(readSome(fmt.Sprintf("/proc/%d/environ", pid), maxEnvironBytes), variable) {
			found = append(found, pid)
		}
	}
	return found
}

func processes() (pids []int) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

func parentOf(pid int) (parent int, ok bool) {
	const maxStatBytes = 4 << 10
	return parseParent(readSome(fmt.Sprintf("/proc/%d/stat", pid), maxStatBytes))
}

// parseParent takes the fourth field of /proc/PID/stat; the second may hold
// blanks and brackets.
func parseParent(stat []byte) (parent int, ok bool) {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return 0, false
	}
	parent, err := strconv.Atoi(string(fields[1]))
	return parent, err == nil
}

// readSome is nil for what cannot be read: the process is gone.
func readSome(path string, limit int64) []byte {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, limit))
	if err != nil {
		return nil
	}
	return b
}
