package strictyaml

import (
	"fmt"
	"strings"
)

// maxSuggestDistance is how many letters a word may differ from its suggestion.
const maxSuggestDistance = 3

// Unknown returns the message for a word outside a closed list, e.g.
//
//	unknown field "raet_per_s"; allowed: process, rate_per_s; did you mean "rate_per_s"?
func Unknown(what, word string, allowed []string) string {
	msg := fmt.Sprintf("unknown %s %q; allowed: %s", what, shorten(word, maxQuotedRunes), strings.Join(allowed, ", "))
	if near := nearest(word, allowed); near != "" {
		msg += fmt.Sprintf("; did you mean %q?", near)
	}
	return msg
}

// IsNear reports whether word is most likely a misspelling of an allowed one.
func IsNear(word string, allowed []string) bool { return nearest(word, allowed) != "" }

// nearest returns the allowed word that word is most likely a misspelling of,
// "" if none is near.
func nearest(word string, allowed []string) string {
	best, bestDistance := "", maxSuggestDistance+1
	for _, candidate := range allowed {
		// A third of the letters wrong is another word, not a misspelling.
		limit := min(maxSuggestDistance, max(1, len(candidate)/3))
		distance := editDistance(strings.ToLower(word), strings.ToLower(candidate))
		if distance <= limit && distance < bestDistance {
			best, bestDistance = candidate, distance
		}
	}
	return best
}

// editDistance counts insertions, deletions, replacements and swaps of
// neighbours between two words (optimal string alignment, Boytsov 2011, §2.1).
func editDistance(a, b string) int {
	if len(a) > len(b)+maxSuggestDistance || len(b) > len(a)+maxSuggestDistance {
		return maxSuggestDistance + 1
	}
	beforeLast, last, current := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		current[0] = i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			current[j] = min(replace, last[j]+1, current[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				current[j] = min(current[j], beforeLast[j-2]+1)
			}
		}
		beforeLast, last, current = last, current, beforeLast
	}
	return last[len(b)]
}
