package refserver

import (
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
}

func axes() []axis {
	return []axis{
		{"front", func(c *Composition) *string { return &c.Front },
			[]string{FrontPlain, FrontZerocopy}, []string{"grpc", "worker", "php", "uring"}},
		{"answer", func(c *Composition) *string { return &c.Answer },
			[]string{AnswerBeforeBuffer, AnswerAfterBuffer, AnswerAfterCommit}, nil},
		{"buffer", func(c *Composition) *string { return &c.Buffer },
			[]string{None, BufferRedisTTL, BufferRedisConfirmed, BufferShm}, nil},
		{"uplink", func(c *Composition) *string { return &c.Uplink },
			[]string{None, UplinkReplicate, UplinkUDP}, []string{"udp-acked", "grpc"}},
		{"attribution", func(c *Composition) *string { return &c.Attribution },
			[]string{AttributionSQL, AttributionMemory}, []string{"redis-cache"}},
		{"caps", func(c *Composition) *string { return &c.Caps },
			[]string{CapsCheckThenInsert, CapsAtomic}, []string{"escrow"}},
		{"log", func(c *Composition) *string { return &c.Log },
			[]string{None, LogJSON}, []string{"capnp"}},
		{"log_write", func(c *Composition) *string { return &c.LogWrite },
			[]string{None, LogOnRequest, LogInBackground}, nil},
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
	c.checkEach(problems)
	if problems.Len() > 0 || problems.UnreadIn("") {
		return
	}
	if axis, reason := c.impossible(); reason != "" {
		problems.Add(axis, "%s", reason)
		return
	}
	for _, a := range axes() {
		if choice := *a.choice(&c); !slices.Contains(a.built, choice) {
			problems.Add(a.name, "%q is not built yet; built: %s", choice, strings.Join(a.built, ", "))
		}
	}
}

// checkEach looks at every axis by itself.
func (c Composition) checkEach(problems *strictyaml.Problems) {
	if c.Name == "" || len(c.Name) > maxNameBytes || strings.ContainsAny(c.Name, " \t\n,/\\") {
		problems.Add("name", "%.60q, expected 1 to %d bytes without spaces, commas and slashes", c.Name, maxNameBytes)
	}
	for _, a := range axes() {
		choice := *a.choice(&c)
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
	case c.Uplink == None:
		return c.impossibleInOne()
	}
	return c.impossibleAtEdges()
}

// impossibleInOne is about a server in one process.
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
	case c.Attribution == AttributionMemory:
		return "attribution", fmt.Sprintf("%q is central's behind an uplink; expected %s", c.Attribution, AttributionSQL)
	case c.LogWrite == LogInBackground:
		return "log_write", fmt.Sprintf("%q is the edges' way; expected %s", c.LogWrite, LogOnRequest)
	}
	return "", ""
}

// impossibleAtEdges is about edges with a central behind an uplink.
func (c Composition) impossibleAtEdges() (axis, reason string) {
	redis := c.Buffer == BufferRedisTTL || c.Buffer == BufferRedisConfirmed
	switch {
	case c.Buffer == None:
		return "buffer", fmt.Sprintf("none: the uplink %q has nothing to take from", c.Uplink)
	case c.Answer == AnswerAfterCommit:
		return "answer", fmt.Sprintf("%q: an edge does not hear of central's commit over the uplink %q", c.Answer, c.Uplink)
	case redis && c.Uplink != UplinkReplicate:
		return "uplink", fmt.Sprintf("%q does not read from Redis; expected %s", c.Uplink, UplinkReplicate)
	case c.Buffer == BufferShm && c.Uplink == UplinkReplicate:
		return "uplink", fmt.Sprintf("%q reads from Redis, not from shared memory; expected %s", c.Uplink, UplinkUDP)
	case c.Attribution == AttributionSQL:
		return "attribution", fmt.Sprintf("%q is the one-process server's; expected %s", c.Attribution, AttributionMemory)
	case c.Caps == CapsCheckThenInsert:
		return "caps", fmt.Sprintf("%q: central decides inside its commit; expected %s", c.Caps, CapsAtomic)
	}
	return "", ""
}

// Choices lists the composition's choice on every axis: "front=plain …".
func (c Composition) Choices() string {
	var list []string
	for _, a := range axes() {
		list = append(list, a.name+"="+*a.choice(&c))
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
	switch c.Uplink {
	case None:
		return nil
	case UplinkUDP:
		return []Role{RoleEdge, RoleBatcher, RoleCollector}
	}
	return []Role{RoleEdge, RoleRedis, RoleReplicator, RoleCollector}
}
