package cli

import (
	"fmt"
	"time"
)

// The notes that commands write to stderr beside their progress: what a user
// should know and could not see from the report.

func noteCapsUnread(failures int64) string {
	return fmt.Sprintf("note: the router could not read the caps %d times: the traffic overshoot is not known\n", failures)
}

func noteUnsettled() string { return "note: the run is over, its ledger has yet to settle\n" }

func noteInterrupted() string {
	return "interrupted: waiting for what is under way; a second Ctrl-C ends at once\n"
}

func noteNothingAcked(intents int64) string {
	return fmt.Sprintf("note: none of %d postbacks was acked; see responses: does the target speak what was sent?\n", intents)
}

func noteStillTrying(postbacks int64, grace time.Duration) string {
	return fmt.Sprintf("note: %d postbacks were still to be tried again when the run ended, %v after the last one was due: they count as lost (run_ended)\n", postbacks, grace)
}

func notePatience(patience time.Duration) string {
	return fmt.Sprintf("note: if attempts fail, partners go on trying for up to %v after the last postback is due; a grace in the scenario ends that earlier, --time-scale makes it shorter\n", patience.Round(time.Second))
}

func noteUnattributed() string {
	return "note: every recorded row is unattributed: the server does not know the clicks; see --populate, or load what postbench clicks prints\n"
}

func noteAuditLater(dir string) string {
	return fmt.Sprintf("note: account for it later with: postbench audit %s --ledger FILE\n", dir)
}

func noteOnlyNetworks(profile string) string {
	return fmt.Sprintf("note: of profile %s only the networks apply: its stages and its TLS are those of our own variants\n", profile)
}

func noteNotSlowed(scenario string) string {
	return fmt.Sprintf("note: scenario %s slows the server down for a while; yours is left alone\n", scenario)
}

func noteSkippedLines(skipped int64, file string) string {
	return fmt.Sprintf("note: %d lines of %s are no HTTP requests and are left out\n", skipped, file)
}

func noteRounds(rounds int, each time.Duration, scenario string, variants int) string {
	return fmt.Sprintf("%d rounds of %v each, %s, %d variants\n", rounds, each, scenario, variants)
}

func noteRound(round uint32, rounds int, name, line string) string {
	return fmt.Sprintf("round %d/%d  %-34s %s\n", round, rounds, name, line)
}

func noteCutShort(after time.Duration) string {
	return fmt.Sprintf("interrupted: the figures are of the first %v\n", after.Round(time.Millisecond))
}
