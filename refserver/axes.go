package refserver

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/postbench/postbench/internal/strictyaml"
	"github.com/postbench/postbench/refserver/edge"
)

// axis is one question about an architecture. Of the known choices only the
// built ones run; the others are refused as not built instead of as unknown.
type axis struct {
	name   string
	choice func(*Composition) *string
	built  []string
	coming []string
	unless string // what a composition has that does not choose; "" means it must
}

func axes() []axis {
	return []axis{
		{name: "front", choice: func(c *Composition) *string { return &c.Front },
			built: []string{FrontPlain, FrontZerocopy, FrontGRPC, FrontWorker, FrontPHP}, coming: []string{"uring"}},
		{name: "answer", choice: func(c *Composition) *string { return &c.Answer },
			built: []string{AnswerBeforeBuffer, AnswerAfterBuffer, AnswerAfterCommit}},
		{name: "buffer", choice: func(c *Composition) *string { return &c.Buffer },
			built: []string{None, BufferRedisTTL, BufferRedisConfirmed, BufferShm}},
		{name: "uplink", choice: func(c *Composition) *string { return &c.Uplink },
			built: []string{None, UplinkReplicate, UplinkUDP, UplinkUDPAcked, UplinkGRPC}},
		{name: "attribution", choice: func(c *Composition) *string { return &c.Attribution },
			built: []string{AttributionSQL, AttributionRedisCache, AttributionMemory}},
		{name: "caps", choice: func(c *Composition) *string { return &c.Caps },
			built: []string{CapsCheckThenInsert, CapsAtomic}, coming: []string{"escrow"}},
		{name: "log", choice: func(c *Composition) *string { return &c.Log },
			built: []string{None, LogJSON, LogCapnp}},
		{name: "log_write", choice: func(c *Composition) *string { return &c.LogWrite },
			built: []string{None, LogOnRequest, LogInBackground, LogMapped}},
		{name: "place", choice: func(c *Composition) *string { return &c.Place },
			built: []string{PlaceRegion, PlacePartner}, unless: PlaceRegion},
	}
}

func axisNames() []string {
	var names []string
	for _, a := range axes() {
		names = append(names, a.name)
	}
	return append(names, "edges")
}

// check names every axis that stands against running c, and why. Whether the
// choices go together is asked when each of them is a known one.
func (c Composition) check(problems *strictyaml.Problems) {
	c.checkName(problems)
	if c.External != nil {
		c.checkExternal(problems)
		return
	}
	c.checkEach(problems)
	if problems.Len() > 0 || problems.UnreadIn("") {
		return
	}
	if axis, reason := c.impossible(); reason != "" {
		problems.Add(axis, "%s", reason)
		return
	}
	for _, a := range axes() {
		if choice := cmp.Or(*a.choice(&c), a.unless); !slices.Contains(a.built, choice) {
			problems.Add(a.name, "%q is not built yet; built: %s", choice, strings.Join(a.built, ", "))
		}
	}
}

func (c Composition) checkName(problems *strictyaml.Problems) {
	if c.Name == "" || len(c.Name) > maxNameBytes || strings.ContainsAny(c.Name, " \t\n,/\\") {
		problems.Add("name", "%.60q, expected 1 to %d bytes without spaces, commas and slashes", c.Name, maxNameBytes)
	}
}

// checkExternal is about a server of the user's own, of which nobody knows what
// it chose.
func (c Composition) checkExternal(problems *strictyaml.Problems) {
	c.External.check(problems)
	for _, a := range axes() {
		if *a.choice(&c) != "" {
			problems.Add(a.name, "%q, but the server is external: leave out the axes", *a.choice(&c))
		}
	}
	if c.Edges != 0 {
		problems.Add("edges", "%d, but the server is external: leave out the axes", c.Edges)
	}
}

// checkEach looks at every axis by itself.
func (c Composition) checkEach(problems *strictyaml.Problems) {
	for _, a := range axes() {
		choice := cmp.Or(*a.choice(&c), a.unless)
		known := slices.Concat(a.built, a.coming)
		switch {
		case choice == "":
			problems.Add(a.name, "missing, expected one of: %s", strings.Join(known, ", "))
		case !slices.Contains(known, choice):
			problems.Add(a.name, "%s", strictyaml.Unknown("choice", choice, known))
		}
	}
	if c.Edges < 1 || c.Edges > maxEdges {
		problems.Add("edges", "%d, expected 1 to %d", c.Edges, maxEdges)
	}
}

// maxEdges bounds the processes of one server.
const maxEdges = 64

// impossible refuses what can never run, whatever will be built.
func (c Composition) impossible() (axis, reason string) {
	switch {
	case (c.Log == None) != (c.LogWrite == None):
		return "log_write", fmt.Sprintf("%q with log %q; expected none exactly where there is no log", c.LogWrite, c.Log)
	case (c.Log == LogCapnp) != (c.LogWrite == LogMapped):
		return "log_write", fmt.Sprintf("%q with log %q; %s is written %s, and nothing else is", c.LogWrite, c.Log, LogCapnp, LogMapped)
	case c.Uplink == None:
		return c.impossibleInOne()
	}
	return c.impossibleAtEdges()
}

// impossibleInOne is about a server without edges.
func (c Composition) impossibleInOne() (axis, reason string) {
	switch {
	case c.Edges > 1:
		return "edges", fmt.Sprintf("%d edges without an uplink would be %d servers that know nothing of each other; expected 1", c.Edges, c.Edges)
	case c.Buffer != None:
		return "buffer", fmt.Sprintf("%q without an uplink is never emptied", c.Buffer)
	case c.Answer != AnswerAfterCommit:
		return "answer", fmt.Sprintf("%q needs a buffer", c.Answer)
	case c.Front == FrontZerocopy:
		return "front", fmt.Sprintf("%q in front of SQL would only wait faster; it needs a buffer", c.Front)
	case c.Front == FrontGRPC || c.Front == FrontWorker:
		return "front", fmt.Sprintf("%q is an edge's; without an uplink expected %s or %s", c.Front, FrontPlain, FrontPHP)
	case c.Attribution == AttributionMemory:
		return "attribution", fmt.Sprintf("%q is central's behind an uplink; expected %s or %s", c.Attribution, AttributionSQL, AttributionRedisCache)
	case c.Attribution == AttributionRedisCache && c.Caps == CapsAtomic:
		return "caps", fmt.Sprintf("%q: a counter that comes from a cache is read before the transaction; expected %s", c.Caps, CapsCheckThenInsert)
	case c.LogWrite == LogInBackground:
		return "log_write", fmt.Sprintf("%q is the edges' way; expected %s", c.LogWrite, LogOnRequest)
	case c.Place == PlacePartner:
		return "place", fmt.Sprintf("%q is for an edge; a server without an uplink is central itself", c.Place)
	case c.Front == FrontPHP:
		return c.impossibleInPHP()
	}
	return "", ""
}

// impossibleInPHP is about what the Laravel application does not do.
func (c Composition) impossibleInPHP() (axis, reason string) {
	switch {
	case c.Caps != CapsCheckThenInsert:
		return "caps", fmt.Sprintf("%q: the Laravel application checks before it inserts; expected %s", c.Caps, CapsCheckThenInsert)
	case c.Attribution != AttributionSQL:
		return "attribution", fmt.Sprintf("%q: the Laravel application asks ClickHouse; expected %s", c.Attribution, AttributionSQL)
	case c.Log != LogJSON:
		return "log", fmt.Sprintf("%q: the Laravel application writes lines of JSON; expected %s", c.Log, LogJSON)
	}
	return "", ""
}

// impossibleAtEdges is about edges with a central behind an uplink.
func (c Composition) impossibleAtEdges() (axis, reason string) {
	redis := c.Buffer == BufferRedisTTL || c.Buffer == BufferRedisConfirmed
	switch {
	case c.Front == FrontPHP:
		return "front", fmt.Sprintf("%q answers after its own commit; it has no uplink", c.Front)
	case c.Buffer == None:
		return "buffer", fmt.Sprintf("none: the uplink %q has nothing to take from", c.Uplink)
	case c.Answer == AnswerAfterCommit:
		return "answer", fmt.Sprintf("%q: an edge does not hear of central's commit over the uplink %q", c.Answer, c.Uplink)
	case c.Answer == AnswerBeforeBuffer && (c.Front == FrontGRPC || c.Front == FrontWorker):
		return "answer", fmt.Sprintf("%q: what stands before the queue of the front %q waits for it; expected %s", c.Answer, c.Front, AnswerAfterBuffer)
	case redis && c.Uplink != UplinkReplicate:
		return "uplink", fmt.Sprintf("%q does not read from Redis; expected %s", c.Uplink, UplinkReplicate)
	case c.Buffer == BufferShm && c.Uplink == UplinkReplicate:
		return "uplink", fmt.Sprintf("%q reads from Redis, not from shared memory; expected %s, %s or %s", c.Uplink, UplinkUDP, UplinkUDPAcked, UplinkGRPC)
	case c.Attribution != AttributionMemory:
		return "attribution", fmt.Sprintf("%q is for a server without edges; expected %s", c.Attribution, AttributionMemory)
	case c.Caps == CapsCheckThenInsert:
		return "caps", fmt.Sprintf("%q: central decides inside its commit; expected %s", c.Caps, CapsAtomic)
	}
	return "", ""
}

// Choices lists the composition's choice on every axis: "front=plain …".
func (c Composition) Choices() string {
	var list []string
	for _, a := range axes() {
		list = append(list, a.name+"="+cmp.Or(*a.choice(&c), a.unless))
	}
	return strings.Join(append(list, fmt.Sprintf("edges=%d", c.Edges)), " ")
}

// CrashPoints are the named points at which a process of the role can be made
// to kill itself.
func (r Role) CrashPoints() []string {
	if r == RoleEdge {
		return []string{edge.CrashAnsweredNotBuffered}
	}
	return nil
}

// Roles are the roles that the composition's processes play, in the order of a
// postback's way; none for a server in one process.
func (c Composition) Roles() []Role {
	list := []Role{RoleEdge}
	if c.Front == FrontWorker {
		list = []Role{RoleWorker, RoleEdge}
	}
	switch c.Uplink {
	case None:
		return nil
	case UplinkUDP, UplinkUDPAcked:
		return append(list, RoleBatcher, RoleCollector)
	case UplinkGRPC:
		return append(list, RoleStreamer, RoleCollector)
	}
	return append(list, RoleRedis, RoleReplicator, RoleCollector)
}

// SendsDatagrams tells whether records travel to central by UDP.
func (c Composition) SendsDatagrams() bool {
	return c.Uplink == UplinkUDP || c.Uplink == UplinkUDPAcked
}
