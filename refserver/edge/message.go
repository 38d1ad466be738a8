package edge

import (
	"context"
	"errors"
	"net/http"
)

// Of messages, what a request line would not have let through or would have
// handed to Config.Admin.
var (
	errTarget = errors.New("the target has characters that no request line has")
	errNoPath = errors.New("no such path: a message carries a postback")
)

// Exchange takes one postback that came as a message, not over HTTP, by the
// rules of HTTP: method (GET if empty), target and body are those of a request,
// status and reply those of its answer. It keeps none of them and is safe for
// concurrent use. A path that is no postback's is answered 404 and counted
// nowhere. The record is in the buffer before Exchange returns, before-buffer or
// not. It waits for stages and buffer until ctx ends, then answers 503: ctx
// should not end with the sender's connection, as a postback that came is taken
// although nobody waits for the answer. Serve's end is not Exchange's.
func (e *Edge) Exchange(ctx context.Context, method, target, body []byte) (status int, reply []byte) {
	if len(method) == 0 {
		method = methodGET
	}
	r := request{method: method, target: target, hasBody: len(body) > 0}
	switch {
	case !isRequestTarget(target):
		e.counts.malformed.Add(1)
		return http.StatusBadRequest, []byte(errTarget.Error())
	case !e.inPlace.find(&r):
		return http.StatusNotFound, []byte(errNoPath.Error())
	}
	a := e.inPlace.answer(ctx, nil, &r)
	return a.status, []byte(a.line)
}

// isRequestTarget tells whether a request line could carry the target.
func isRequestTarget(target []byte) bool {
	for _, c := range target {
		if c <= ' ' || c == 0x7f {
			return false
		}
	}
	return true
}
