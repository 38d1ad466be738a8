package edge

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/postbench/postbench/refserver/accept"
)

var (
	errHTTP11  = errors.New("HTTP/1.1 is needed here")
	errAborted = errors.New("the answer was given up half-way")
)

// handOver lets Config.Admin answer. The limits of a postback are not for it:
// each read and each write of a long body has its own.
func (p *plain) handOver(w http.ResponseWriter, r *http.Request) {
	if !p.edge.admins.TryEnter() {
		p.send(w, answer{http.StatusServiceUnavailable, accept.ErrFull.Error()})
		return
	}
	defer p.edge.admins.Leave()
	ctx, cancel := context.WithTimeout(r.Context(), adminLimit)
	defer cancel()
	c := r.Context().Value(connKey{}).(*conn)
	r = r.WithContext(ctx)
	if r.Body != http.NoBody {
		r.Body = &patientBody{ReadCloser: r.Body, conn: c}
	}
	patient := &patientWriter{ResponseWriter: w, conn: c}
	p.edge.config.Admin.ServeHTTP(patient, r)
	patient.extend() // for what net/http still has to write
}

// patientBody allows each read of a request's body adminIOLimit.
type patientBody struct {
	io.ReadCloser
	conn net.Conn
}

// Read reads.
func (b *patientBody) Read(p []byte) (int, error) {
	if err := b.conn.SetReadDeadline(time.Now().Add(adminIOLimit)); err != nil {
		return 0, err
	}
	return b.ReadCloser.Read(p)
}

// patientWriter allows each write of an answer adminIOLimit.
type patientWriter struct {
	http.ResponseWriter
	conn net.Conn
}

func (w *patientWriter) extend() {
	_ = w.conn.SetWriteDeadline(time.Now().Add(adminIOLimit)) // of a closed connection the write will tell
}

// Write writes.
func (w *patientWriter) Write(p []byte) (int, error) {
	w.extend()
	return w.ResponseWriter.Write(p)
}

// Flush sends what was written.
func (w *patientWriter) Flush() {
	w.extend()
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap is for http.ResponseController.
func (w *patientWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
