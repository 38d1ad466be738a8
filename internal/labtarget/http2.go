package labtarget

import (
	"bytes"
	"io"
	"log"
	"net"
	"net/http"

	"github.com/valyala/fasthttp"
)

// http2Streams is how many requests a connection may carry at once: more than
// any test needs.
const http2Streams = 1000

// http2Front takes postbacks over HTTP/2 without TLS.
type http2Front struct {
	target   *Target
	listener net.Listener
	server   *http.Server
}

func newHTTP2Front(t *Target, listener net.Listener) *http2Front {
	f := &http2Front{target: t, listener: listener}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	f.server = &http.Server{Handler: f, Protocols: protocols, MaxHeaderBytes: maxRequestBytes,
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: http2Streams}, ErrorLog: log.New(io.Discard, "", 0)}
	return f
}

func (f *http2Front) serve() error {
	if err := f.server.Serve(f.listener); err != http.ErrServerClosed {
		return err
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (f *http2Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequestBytes))
	if err != nil {
		return // the client is gone
	}
	var header bytes.Buffer
	_ = r.Header.Write(&header) // to memory; sorted by name
	header.WriteString("\r\n")
	a := &arrival{method: []byte(r.Method), target: []byte(r.RequestURI), protocol: []byte(r.Proto), header: header.Bytes(), body: body, uri: new(fasthttp.URI)}
	if err := a.uri.Parse(nil, a.target); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	status, struck := f.target.answer(a)
	switch struck {
	case hang:
		select {
		case <-f.target.closed:
		case <-r.Context().Done():
		}
		panic(http.ErrAbortHandler)
	case hangUp:
		panic(http.ErrAbortHandler)
	}
	if stages := f.target.stages(status); stages != "" {
		w.Header().Set(serverTiming, stages)
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, fasthttp.StatusMessage(status)) // a broken connection is the client's to notice
}
