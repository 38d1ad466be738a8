package machine

// kernelMaxOpenFiles is no limit here: Linux checks fs.nr_open when the hard
// limit is raised, which never happens here.
func kernelMaxOpenFiles() uint64 { return unlimited }
