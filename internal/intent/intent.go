package intent

import "github.com/postbench/postbench/internal/postback"

// Kind says whether an intent is legitimate and, if not, in which way.
type Kind uint8

const (
	// Legitimate conversions must be recorded once.
	Legitimate Kind = iota
	// UnknownClick is a legitimate postback whose click the server was never
	// told of: it must be recorded as unattributed.
	UnknownClick
	// BadSignature is signed with the right key and then altered.
	BadSignature
	// Malformed breaks the syntax that the template's contract promises.
	Malformed
	// UnknownPartner is correctly signed with a key that nobody registered.
	UnknownPartner
	// UnexpandedMacro carries the name of a macro where the payout should be,
	// as networks send when a link was set up wrongly: no amount, no conversion.
	UnexpandedMacro
	kinds
)

// Legitimate reports whether a row in the ledger is the wanted outcome.
func (k Kind) Legitimate() bool { return k == Legitimate || k == UnknownClick }

// String returns the word used in results.
func (k Kind) String() string {
	names := [kinds]string{"legitimate", "unknown_click", "bad_signature", "malformed", "unknown_partner", "unexpanded_macro"}
	if k >= kinds {
		return "invalid"
	}
	return names[k]
}

// Malformation is the way in which a malformed intent is broken.
type Malformation uint8

const (
	// BadEscape appends a parameter with an invalid percent escape.
	BadEscape Malformation = iota
	// RepeatedParameter sends the first parameter twice.
	RepeatedParameter
	// Malformations is the number of ways.
	Malformations
)

// Intent is one conversion that a partner wants to report. ClickID and TxID
// point into the Intent itself or into the caller's click list; they are valid
// until the Intent is filled again.
type Intent struct {
	Index uint64
	// Origin is the intent whose ids it carries: the beginning of its chain if
	// it is a later step of one, else Index.
	Origin uint64
	// ChainSteps is how many steps its chain has; 0 = it is in none.
	ChainSteps   int
	Kind         Kind
	Malformation Malformation
	Partner      int // position in Spec.Partners
	Offer        int // position in Spec.Offers
	Event        postback.Event
	Payout       postback.Money
	Currency     postback.Currency
	ClickID      []byte
	TxID         []byte
	// DuplicateAfterNs is the delay of the deliberate second attempt after
	// the first one's due time, in ns; 0 when there is none.
	DuplicateAfterNs int64
	// Late says that the click was older than the offer's attribution window
	// when the run began.
	Late bool

	clickBuffer, txBuffer [IDBytes]byte
}

// Payable reports whether the conversion should be paid if nothing (cap,
// window, unknown click) stands against it.
func (it *Intent) Payable() bool {
	return it.Kind.Legitimate() && !it.Event.Reverses() && it.Payout > 0
}
