package edge

import (
	"crypto/tls"
	"net"
)

// OverTLS makes the connections of inner speak TLS. It goes into Serve in place
// of tls.NewListener, which hides from net/http that HTTP/2 was agreed on.
func OverTLS(inner net.Listener, config *tls.Config) net.Listener { return tlsListener{inner, config} }

type tlsListener struct {
	net.Listener
	config *tls.Config
}

// Accept returns a connection that listener.Accept turns into TLS.
func (l tlsListener) Accept() (net.Conn, error) {
	inner, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return tlsToBe{inner, l.config}, nil
}

// tlsToBe is a connection on which TLS is to be spoken.
type tlsToBe struct {
	net.Conn
	config *tls.Config
}

// connOf is the connection that an HTTP library was given, below its TLS.
func connOf(c net.Conn) *conn {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	return c.(*conn)
}
