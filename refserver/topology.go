package refserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/postbench/postbench/internal/proc"
	"github.com/postbench/postbench/internal/wholefile"
	"github.com/postbench/postbench/refserver/datagram"
	"github.com/postbench/postbench/refserver/lanes"
	"github.com/postbench/postbench/refserver/parts"
	"github.com/postbench/postbench/refserver/redisbuf"
)

const (
	childReadyTimeout = 15 * time.Second
	// childStopTimeout leaves a child time to drain what it holds.
	childStopTimeout = 8 * time.Second
	// maxSocketBytes is what a unix socket's path may have everywhere.
	maxSocketBytes = 103
	// redisProgram is looked up in PATH and where Debian's redisPackage has it.
	redisProgram, redisPackage = "redis-server", "redis-server"
)

// node is one edge with what belongs to it.
type node struct {
	dir, laneDir, pskFile string
	redis                 string // address of its Redis
}

// layout prepares the directories and secrets of all nodes. It is repeated at
// every start and changes nothing that is there.
func (s *supervisor) layout() error {
	if longest := s.socket(RoleReplicator, maxEdges) + "-data"; len(longest) > maxSocketBytes {
		return fmt.Errorf("the path %s is too long for a socket: set TMPDIR to a directory with a shorter name", longest)
	}
	for i := range s.config.Composition.Edges {
		n := node{dir: filepath.Join(s.config.DataDir, fmt.Sprintf("edge-%d", i))}
		n.laneDir = filepath.Join(s.config.LaneDir, fmt.Sprintf("edge-%d", i))
		n.pskFile = filepath.Join(n.dir, "psk")
		n.redis = s.socket(RoleRedis, i) + "-data"
		for _, dir := range []string{n.dir, n.laneDir} {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return err
			}
		}
		if err := createSecret(n.pskFile); err != nil {
			return err
		}
		s.nodes = append(s.nodes, n)
		s.pskFiles = append(s.pskFiles, n.pskFile)
	}
	return os.MkdirAll(filepath.Join(s.config.DataDir, "central"), 0o700)
}

// createSecret makes the secret that an edge shares with central, once.
func createSecret(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	secret := make([]byte, len(datagram.Edge{}.PSK))
	if _, err := rand.Read(secret); err != nil {
		return err
	}
	return wholefile.Write(path, secret)
}

// socket is the control socket of a process. The run directory is short on
// purpose: a socket's path has about 100 bytes.
func (s *supervisor) socket(role Role, node int) string {
	return filepath.Join(s.runDir.Path(), fmt.Sprintf("%s-%d", role, node))
}

// roleConfig is what all roles are told alike.
func (s *supervisor) roleConfig(role Role, i int) RoleConfig {
	c := RoleConfig{
		Role: role, Node: i, Composition: s.config.Composition, SignedOnly: s.config.SignedOnly, BootID: s.config.BootID,
		Control: s.socket(role, i), Central: s.socket(RoleCollector, 0), Admin: s.adminAddr, Addr: s.edgeAddr,
		CollectorAddr: s.collectorAddr, RedisTTLNs: int64(float64(RedisTTL) / s.config.TimeScale),
		LaneSlots: lanes.SlotsFor(s.config.BufferFor, BufferRatePerS), KeysFile: filepath.Join(s.runDir.Path(), "keys.json"), PSKFiles: s.pskFiles,
	}
	c.Dialects, c.Costs, c.Seed = s.config.Dialects, s.config.Costs, s.config.Seed
	c.Uplink, c.IngestAddr, c.IngestToken = s.config.Uplink, s.ingestAddr, s.ingestToken
	c.TLSAddr, c.TLSCertFile, c.TLSKeyFile = s.tlsAddr, s.config.TLSCertFile, s.config.TLSKeyFile
	c.GRPCAddr, c.EdgeAddr, c.Verified = s.grpcAddr, s.edgeAddr, s.verified
	c.Guard, c.GuardSweep = s.config.Guard, s.config.GuardSweep
	switch role {
	case RoleWorker:
		c.Dir, c.Addr = s.runDir.Path(), s.frontAddr
		return c
	case RoleEdge:
		if s.config.Composition.Front == FrontWorker { // which speaks TLS for them
			c.TLSAddr, c.TLSCertFile, c.TLSKeyFile = "", "", ""
		}
	case RoleCollector:
		c.Dir, c.Addr = filepath.Join(s.config.DataDir, "central"), s.receiveAddr
		return c
	}
	n := s.nodes[i]
	c.Dir, c.LaneDir, c.Redis = n.dir, n.laneDir, n.redis
	return c
}

// child is a process that runs this program in a role.
func (s *supervisor) child(role Role, i int) *process {
	p := &process{role: role, node: i, control: newControl(s.socket(role, i)), log: s.config.Log}
	crash := s.config.crashOf(role, i)
	p.spec = func() proc.Spec {
		c := s.roleConfig(role, i)
		c.Crash, crash = crash, "" // once: a successor has nothing to die for
		file := c.Control + ".role"
		spec := proc.Spec{Name: p.name(), Log: s.config.ChildLog, ReadyTimeout: childReadyTimeout, StopTimeout: childStopTimeout}
		if err := c.write(file); err != nil {
			spec.Path = "" // the start fails and says so
			s.config.Log.Error("role file", "process", p.name(), "error", err)
			return spec
		}
		spec.Path, spec.Args = s.config.Program(file)
		return spec
	}
	return p
}

// redisServer is a node's Redis: the real one where it is on PATH, nil where
// its address was given.
func (s *supervisor) redisServer(i int) (*process, error) {
	if s.config.Real.Redis != "" {
		s.nodes[i].redis, s.realRedis = s.config.Real.Redis, true
		return nil, nil
	}
	program, err := parts.Look(redisPackage, redisProgram)
	if err != nil || s.config.Real.Embedded {
		return s.child(RoleRedis, i), s.config.Real.missing(PartRedis, err)
	}
	n := s.nodes[i]
	dir := filepath.Join(n.dir, "redis")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	p := &process{role: RoleRedis, node: i, log: s.config.Log}
	aof := s.config.Composition.Buffer == BufferRedisConfirmed
	p.spec = func() proc.Spec {
		return proc.Spec{
			Name: p.name(), Path: program, Args: redisbuf.RealArgs(dir, n.redis, aof), Dir: dir, Log: s.config.ChildLog,
			ReadyTimeout: childReadyTimeout, StopTimeout: childStopTimeout,
			Probe: func(ctx context.Context) error {
				_, err := redisbuf.Version(ctx, n.redis)
				return err
			},
		}
	}
	s.realRedis = true
	return p, nil
}

// crashOf is the crash point of a process, from "edge:answered-not-buffered#137"
// or, for another node than the first, "edge/1:…".
func (c *Config) crashOf(role Role, node int) string {
	who, point, _ := strings.Cut(c.Crash, ":")
	name, number, found := strings.Cut(who, "/")
	if !found {
		name, number = who, "0"
	}
	if n, err := strconv.Atoi(number); err != nil || n != node || name != string(role) {
		return ""
	}
	return point
}
