package cli

import "slices"

// doubts are the reasons for which a measurement cannot be trusted, apart by
// whose fault it is: only what the machine spoilt is worth playing again, and
// only what the ledger did can be mended by a later audit.
type doubts struct {
	machine []string // steal, a late generator: playing it again may help
	server  []string // the server had to be killed, say
	books   []string // our own books do not balance: a bug of postbench
	ledger  []string // the ledger did not settle or could not be read
}

// all lists every reason.
func (d *doubts) all() []string {
	return slices.Concat(d.machine, d.server, d.books, d.ledger)
}

// lasting lists the reasons that hold whatever a later ledger says.
func (d *doubts) lasting() []string {
	return slices.Concat(d.machine, d.server, d.books)
}

// worthRepeating reports whether the machine is the only culprit.
func (d *doubts) worthRepeating() bool {
	return len(d.machine) > 0 && len(d.server) == 0 && len(d.books) == 0 && len(d.ledger) == 0
}

// imbalance notes that our own books do not balance.
func (d *doubts) imbalance(list []string) {
	for _, equation := range list {
		d.books = append(d.books, "books do not balance: "+equation)
	}
}
