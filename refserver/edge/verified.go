package edge

import "crypto/subtle"

// VerifiedHeader is how whoever stands in front says of a postback that its
// signature or token is right and that it is fresh: the value is Config.Verified.
// Of a postback without it the edge verifies that itself.
const VerifiedHeader = "Postbench-Verified"

// isVerified tells whether value, of VerifiedHeader, is believed. It compares in
// constant time.
func (e *Edge) isVerified(value []byte) bool {
	return len(e.verified) > 0 && subtle.ConstantTimeCompare(value, e.verified) == 1
}
