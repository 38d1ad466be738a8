package edge

import (
	"net/http"
	"strings"
	"testing"

	"github.com/postbench/postbench/refserver/accept/accepttest"
)

// Who shows the token has verified; nobody else has.
func TestVerifiedByOthers(t *testing.T) {
	const token = "0123456789abcdef"
	genuine := signed("k1", "secret one", nowUnixS)
	forged := signed("k1", "another secret", nowUnixS)
	stale := signed("k1", "another secret", 1)
	md5 := accepttest.Dialects()[5]
	dialect := accepttest.Target(t, md5.As(md5.Partner, []byte("another secret")), accepttest.Fields())
	malformed := strings.Replace(forged, "currency=EUR", "currency=eur", 1)
	for _, front := range fronts() {
		for _, c := range []struct {
			what, knows, shows, target string
			want                       int
		}{
			{"token", token, token, forged, http.StatusOK},
			{"token, stale", token, token, stale, http.StatusOK},
			{"token, dialect", token, token, dialect, http.StatusOK},
			{"token, malformed", token, token, malformed, http.StatusBadRequest},
			{"token, unknown partner", token, token, "/p/stranger/w?subId=c", http.StatusForbidden},
			{"no token", token, "", forged, http.StatusForbidden},
			{"no token, genuine", token, "", genuine, http.StatusOK},
			{"wrong token, genuine", token, token + "0", genuine, http.StatusOK},
			{"half a token", token, token[1:], forged, http.StatusForbidden},
			{"wrong token, dialect", token, strings.ToUpper(token), dialect, http.StatusForbidden},
			{"nobody is trusted", "", "", forged, http.StatusForbidden},
			{"nobody is trusted, token", "", token, forged, http.StatusForbidden},
		} {
			t.Run(front+"/"+c.what, func(t *testing.T) {
				buffer := &memory{}
				config := testConfig(front, buffer)
				config.Verified, config.Dialects = c.knows, accepttest.Dialects()
				s := serve(t, config)
				request, err := http.NewRequest(http.MethodGet, "http://"+s.addr+c.target, nil)
				if err != nil {
					t.Fatal(err)
				}
				request.Header.Set(VerifiedHeader, c.shows)
				response, err := http.DefaultTransport.RoundTrip(request)
				if err != nil {
					t.Fatal(err)
				}
				_ = response.Body.Close()
				if n := len(buffer.take()); response.StatusCode != c.want || (n == 1) != (c.want == http.StatusOK) {
					t.Errorf("%d with %d records, want %d", response.StatusCode, n, c.want)
				}
			})
		}
	}
}
