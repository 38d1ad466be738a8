package redisbuf

import "strconv"

// MaxMemoryBytes is the memory limit of a real Redis. With noeviction it
// refuses a write beyond it, and the edge answers 503; any other policy would
// throw away exactly what nobody else has. It holds about 3 million arrivals.
const MaxMemoryBytes = 2 << 30

// maxClients is more than one edge, one replicator and those who look on need.
const maxClients = 256

// RealArgs are the arguments of a redis-server that listens on nothing but the
// unix socket (a path), keeps its files in dir, which must exist, and stays in
// the foreground. With aof it writes its log before it answers, so that kill -9
// loses nothing answered; a crash of the host loses what the kernel had not
// written back. Without, it comes back empty.
//
// The log is never synced by Redis itself: with everysec it postpones the
// write, too, while a sync is under way, up to 2 s, and answers meanwhile; a
// kill -9 then loses what was answered.
func RealArgs(dir, socket string, aof bool) []string {
	appendOnly := "no"
	if aof {
		appendOnly = "yes"
	}
	return []string{
		"--port", "0", "--unixsocket", socket, "--unixsocketperm", "700",
		"--dir", dir, "--daemonize", "no", "--databases", "1", "--loglevel", "warning",
		"--save", "", "--appendonly", appendOnly, "--appendfsync", "no",
		"--maxmemory", strconv.Itoa(MaxMemoryBytes), "--maxmemory-policy", "noeviction",
		"--maxclients", strconv.Itoa(maxClients), "--timeout", "0",
	}
}
