package postback

// Event is the status that a postback reports. It is part of the identity that
// deduplication uses: one transaction may be a lead, then a sale, then a refund.
// The numbers are on the wire (FORMAT.md) and never change.
type Event uint8

const (
	EventNone     Event = iota // not given
	EventLead                  // an action that may or may not pay
	EventSale                  // a purchase
	EventRejected              // an earlier lead or sale was refused by the advertiser
	EventRefund                // an earlier sale was paid back
	EventRebill                // a subscription's further payment

	lastEvent = EventRebill
)

// ParseEvent reads the lower-case name of an event. ok is false for anything
// else, the empty name included.
func ParseEvent(b []byte) (e Event, ok bool) {
	switch string(b) {
	case "lead":
		return EventLead, true
	case "sale":
		return EventSale, true
	case "rejected":
		return EventRejected, true
	case "refund":
		return EventRefund, true
	case "rebill":
		return EventRebill, true
	}
	return EventNone, false
}

// String is the name that ParseEvent reads; "" for EventNone and for numbers
// that are no event.
func (e Event) String() string {
	switch e {
	case EventLead:
		return "lead"
	case EventSale:
		return "sale"
	case EventRejected:
		return "rejected"
	case EventRefund:
		return "refund"
	case EventRebill:
		return "rebill"
	}
	return ""
}

// Reverses reports whether the event takes back an earlier one (rejected,
// refund). A reversal stands even if it arrives before what it reverses.
func (e Event) Reverses() bool { return e == EventRejected || e == EventRefund }
