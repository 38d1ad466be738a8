package labtarget

import (
	"bufio"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/postbench/postbench/internal/postback"
)

// Paths of the contract. Every other path takes plain postbacks, so that
// recorded traffic and templates of one's own need no set-up.
const (
	pathSigned    = "/pb/signed"
	pathLedger    = "/ledger"
	pathClock     = "/clock"
	pathCapPrefix = "/offers/"
	pathCapSuffix = "/cap"

	serverTiming = "Server-Timing"
)

func (t *Target) handle(ctx *fasthttp.RequestCtx) {
	path := string(ctx.Path())
	offerID, isCap := strings.CutSuffix(strings.TrimPrefix(path, pathCapPrefix), pathCapSuffix)
	switch {
	case path == pathLedger:
		t.ledger(ctx)
	case path == pathClock:
		answerJSON(ctx, map[string]any{"unix_ns": time.Now().UnixNano(), "boot_id": t.bootID})
	case strings.HasPrefix(path, pathCapPrefix) && isCap:
		t.mu.Lock()
		status := t.books.capStatus(offerID)
		t.mu.Unlock()
		answerJSON(ctx, status)
	default:
		t.postback(ctx)
	}
}

func answerJSON(ctx *fasthttp.RequestCtx, v any) {
	ctx.SetContentType("application/json")
	// A broken connection is the client's to notice.
	_ = json.NewEncoder(ctx).Encode(v)
}

// ledger streams the rows of this moment. Rows are only ever added, so the
// slice needs no lock once it is taken.
func (t *Target) ledger(ctx *fasthttp.RequestCtx) {
	t.mu.Lock()
	rows := t.books.rows
	t.mu.Unlock()
	ctx.SetContentType("application/x-ndjson")
	ctx.SetBodyStreamWriter(func(w *bufio.Writer) { writeRows(w, rows) })
}

// postback takes a request over HTTP/1.1.
func (t *Target) postback(ctx *fasthttp.RequestCtx) {
	header := &ctx.Request.Header
	status, struck := t.answer(&arrival{method: header.Method(), target: header.RequestURI(), protocol: header.Protocol(),
		header: header.RawHeaders(), body: ctx.Request.Body(), uri: ctx.URI()})
	switch struck {
	case hang:
		<-t.closed
		closeConnection(ctx)
	case hangUp:
		closeConnection(ctx)
	default:
		ctx.SetStatusCode(status)
		if stages := t.stages(status); stages != "" {
			ctx.Response.Header.Set(serverTiming, stages)
		}
		ctx.SetBodyString(fasthttp.StatusMessage(status))
	}
}

// stages is what an answer says of its stages.
func (t *Target) stages(status int) string {
	if status != fasthttp.StatusOK {
		return ""
	}
	return t.options.ServerTiming
}

// closeConnection ends the connection without an answer.
func closeConnection(ctx *fasthttp.RequestCtx) {
	ctx.HijackSetNoResponse(true)
	ctx.Hijack(func(net.Conn) {}) // fasthttp closes it when this returns
}

// arrival is one request for a postback, however it came. The buffers are its
// front's again after answer.
type arrival struct {
	method, target, protocol []byte
	header                   []byte // all lines, and the empty one
	body                     []byte
	uri                      *fasthttp.URI // of target
}

// answer decides everything at the arrival, in one go, and returns when the
// answer is due. Only faults that end a connection are returned as such.
func (t *Target) answer(a *arrival) (status int, struck fault) {
	status, struck, first := t.arrived(a)
	t.wait(t.options.Delay)
	t.wait(t.options.stallLeft(time.Since(first)))
	return status, struck
}

func (t *Target) arrived(a *arrival) (status int, struck fault, first time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if t.first.IsZero() {
		t.first = now
	}
	t.record(a, now)
	truth := &t.books.truth
	truth.Postbacks++
	struck = t.requests.next()
	if struck != none && !t.options.StoreFirst {
		return t.struck(struck), struck, t.first
	}
	switch err := t.parse(a); {
	case errors.Is(err, postback.ErrBadSignature):
		truth.BadSignature++
		return fasthttp.StatusForbidden, none, t.first
	case err != nil:
		truth.Malformed++
		return fasthttp.StatusBadRequest, none, t.first
	case t.books.full():
		truth.Full++
		return fasthttp.StatusServiceUnavailable, none, t.first
	}
	t.books.take(&t.parsed, a.uri.QueryArgs().Has("payout"), now)
	return t.struck(struck), struck, t.first
}

// struck counts a request's fault and returns the status of its answer.
func (t *Target) struck(by fault) int {
	truth := &t.books.truth
	switch by {
	case refuse:
		truth.Refused++
		return fasthttp.StatusServiceUnavailable
	case hang:
		truth.Hung++
	case hangUp:
		truth.Closed++
	default:
		truth.Acked++
	}
	return fasthttp.StatusOK
}

// parse reads the postback into t.parsed.
func (t *Target) parse(a *arrival) error {
	query := a.uri.QueryString()
	if string(a.uri.Path()) != pathSigned {
		return t.parsed.ParsePlain(query)
	}
	if err := t.parsed.ParseSigned(query); err != nil || t.options.Keyring == nil {
		return err
	}
	return t.options.Keyring.Verify(a.method, a.uri.Path(), query, &t.parsed)
}

// record puts the request, byte for byte, into the hash and the kept ones.
func (t *Target) record(a *arrival, now time.Time) {
	raw := append(t.raw[:0], a.method...)
	raw = append(raw, ' ')
	raw = append(raw, a.target...)
	raw = append(raw, ' ')
	raw = append(raw, a.protocol...)
	raw = append(raw, "\r\n"...)
	raw = append(raw, a.header...)
	raw = append(raw, a.body...)
	t.raw = raw
	t.wire.Write(raw)
	if len(t.kept) < t.options.KeepRequests {
		t.kept = append(t.kept, Request{At: now.Sub(t.first), Target: string(a.target), Raw: string(raw)})
	}
}
