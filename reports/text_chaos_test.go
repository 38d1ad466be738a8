package reports

import "testing"

func TestChaosTable(t *testing.T) {
	broken := func(variant, fault, class string, lost, never int64, path *Path) Variant {
		ledger := Ledger{Balanced: true, Acked: 3_600, Fates: NewFates(3_600-lost, 0, lost, never, 0, 0)}
		return Variant{Name: ChaosName(variant, fault), Durability: class, Ledger: ledger, Path: path, Faults: []Fault{{Do: "kill", Process: "edge/0"}}}
	}
	unknown := Variant{Name: ChaosName("silent", "kill-edge"), Faults: []Fault{{Do: "kill", Process: "edge/0"}}, Ledger: Ledger{Balanced: true},
		Validity: Validity{Verdict: VerdictInvalid, Reasons: []string{"no fates: the ledger does not answer"}}}
	// A fault that was not done has shown nothing, however little was lost.
	unharmed := broken("udp-acked", "kill-edge", "D1", 0, 0, &Path{})
	unharmed.Faults, unharmed.Validity = nil, Validity{Verdict: VerdictInvalid, Reasons: []string{"a fault was not injected: kill of edge/0 came after the end"}}
	text := ChaosTable([]Variant{
		broken("monolith", "kill-edge", "D3", 0, 812, nil), broken("monolith", "central-outage", "D3", 0, 2_900, nil),
		broken("edge-redis", "kill-edge", "D0", 0, 4, &Path{}), broken("edge-redis", "central-outage", "D0", 488, 0, &Path{RecordsExpired: 489}),
		broken("udp-batch", "kill-edge", "D0", 1, 3, &Path{}),
		broken("udp-batch", "central-outage", "D0", 2_400, 0, &Path{RecordsSent: ptr(int64(3_600)), Datagrams: ptr(int64(900)), RecordsCommitted: 1_200}),
		unknown, unharmed,
	}, []string{"kill-edge", "central-outage"}, "mine")
	requireNarrow(t, text)
	golden(t, "chaos.txt", text)
}
