package refserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/postbench/postbench/internal/netem"
	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/internal/wholefile"
	"github.com/postbench/postbench/refserver/cost"
	"github.com/postbench/postbench/refserver/datagram"
)

// Role is the part that one process of a server plays.
type Role string

// The roles. A server in one process has RoleAll alone.
const (
	RoleAll        Role = "all"        // the supervisor and whatever it starts
	RoleEdge       Role = "edge"       // takes postbacks, answers, buffers
	RoleBatcher    Role = "batcher"    // lanes to datagrams
	RoleRedis      Role = "redis"      // an edge's Redis
	RoleReplicator Role = "replicator" // an edge's Redis to central
	RoleStreamer   Role = "streamer"   // lanes to central over a gRPC stream
	RoleWorker     Role = "worker"     // workerd with our Worker, in front of the edges
	RoleCollector  Role = "collector"  // central
)

const (
	// RedisTTL is how long the post keeps a postback in the edge's Redis.
	RedisTTL = 5 * time.Minute
	// batchEvery is how often the post's batcher looks into the lanes.
	batchEvery = 10 * time.Millisecond
	// maxLanes bounds an edge's lanes: one for the living process, the others
	// for dead ones that are not drained yet.
	maxLanes = 3
	// receiveBufferBytes is what the collector asks of the kernel for its
	// socket: some 14,000 full datagrams, more than a second of any load here.
	receiveBufferBytes = 32 << 20
	// maxRoleFileBytes bounds what a child reads of its role.
	maxRoleFileBytes = 16 << 20
)

// RoleConfig is what a child process is told: the supervisor writes it to a
// file that only this user can read. Fields that a role does not need are empty.
type RoleConfig struct {
	Role        Role        `json:"role"`
	Node        int         `json:"node"`
	Composition Composition `json:"composition"`
	SignedOnly  bool        `json:"signed_only"`
	BootID      string      `json:"boot_id"`
	// Dir keeps what must outlive the process.
	Dir string `json:"dir"`
	// Control is the unix socket on which the process answers its supervisor.
	Control string `json:"control"`
	// Addr is where an edge listens, together with the other edges, and where
	// the collector receives datagrams.
	Addr string `json:"addr"`
	// Admin is the supervisor's address, to which an edge hands over whatever
	// is no postback.
	Admin string `json:"admin"`
	// Central is the collector's control socket, CollectorAddr where it takes
	// datagrams.
	Central       string `json:"central"`
	CollectorAddr string `json:"collector_addr"`
	Redis         string `json:"redis"`
	// RedisTTLNs is RedisTTL on the scaled clock.
	RedisTTLNs int64  `json:"redis_ttl_ns"`
	LaneDir    string `json:"lane_dir"`
	LaneSlots  int    `json:"lane_slots"`
	// KeysFile holds the partners' keys, PSKFiles the edges' shared secrets by
	// node.
	KeysFile string   `json:"keys_file"`
	PSKFiles []string `json:"psk_files"`
	// Dialects are the partners that write their postbacks in their own way.
	Dialects []postback.Dialect `json:"dialects"`
	// Costs are the process's stages, drawn from Seed.
	Costs []cost.Spec `json:"costs"`
	Seed  uint64      `json:"seed"`
	// Uplink lies between the node and central; nil is nothing.
	Uplink *netem.PathSpec `json:"uplink"`
	// IngestAddr is where central takes what a replicator hands over across
	// Uplink with IngestToken; "" means on its socket.
	IngestAddr  string `json:"ingest_addr"`
	IngestToken string `json:"ingest_token"`
	// TLSAddr is where an edge listens for TLS, together with the others; "" is
	// nowhere.
	TLSAddr     string `json:"tls_addr"`
	TLSCertFile string `json:"tls_cert_file"`
	TLSKeyFile  string `json:"tls_key_file"`
	// GRPCAddr is where an edge takes streams, together with the others; "" is
	// nowhere.
	GRPCAddr string `json:"grpc_addr"`
	// EdgeAddr is where the edges listen that a Worker hands over to, and
	// Verified the token by which they know it; "" is nobody.
	EdgeAddr string `json:"edge_addr"`
	Verified string `json:"verified"`
	// Guard and GuardSweep are Config's.
	Guard      []string `json:"guard"`
	GuardSweep []string `json:"guard_sweep"`
	// Crash is a named point and on which passage the process kills itself
	// there: "answered-not-buffered#137"; "" means never.
	Crash string `json:"crash"`
}

// ReadRoleConfig reads the file that the supervisor wrote for a child.
func ReadRoleConfig(file string) (RoleConfig, error) {
	var c RoleConfig
	data, err := readLimited(file, maxRoleFileBytes)
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err == nil && c.Role == "" {
		err = errors.New("it names no role")
	}
	if err != nil {
		return c, fmt.Errorf("read the role of this process from %s: %w", file, err)
	}
	return c, nil
}

// write writes the file that ReadRoleConfig reads.
func (c *RoleConfig) write(file string) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return wholefile.Write(file, text)
}

// edge is the identity of the process's node on the wire.
func (c *RoleConfig) edge(node int) (datagram.Edge, error) {
	e := datagram.Edge{ID: uint16(node), KeyID: 1}
	psk, err := readLimited(c.PSKFiles[node], int64(len(e.PSK))+1)
	if err != nil {
		return e, fmt.Errorf("read the shared secret of edge %d: %w", node, err)
	}
	if len(psk) != len(e.PSK) {
		return e, fmt.Errorf("shared secret of edge %d: %s has %d bytes, want %d", node, c.PSKFiles[node], len(psk), len(e.PSK))
	}
	copy(e.PSK[:], psk)
	return e, nil
}

// edges are the identities of all nodes.
func (c *RoleConfig) edges() ([]datagram.Edge, error) {
	var list []datagram.Edge
	for node := range c.PSKFiles {
		e, err := c.edge(node)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

// stages are the process's own, each node's drawn differently.
func (c *RoleConfig) stages() (*cost.Stages, error) {
	return cost.New(c.Costs, c.Seed^uint64(c.Node+1)<<48, nil)
}

// storedKey is a partner's key in the keys file.
type storedKey struct {
	KID    string `json:"kid"`
	Secret []byte `json:"secret"`
}

// check refuses what postback's keyring would panic on.
func (k *storedKey) check() error { return postback.CheckKey(k.KID, k.Secret) }
