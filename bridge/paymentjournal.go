package bridge

import (
	"fmt"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

type paymentRecord struct {
	Ordered  *Order        `json:"ordered,omitempty"`
	Chosen   *chosenRecord `json:"chosen,omitempty"`
	Opening  *zk.Note      `json:"opening,omitempty"`
	Promised []byte        `json:"promised,omitempty"`
	Covered  []byte        `json:"covered,omitempty"`
	Followed []byte        `json:"followed,omitempty"`
	Placing  uint64        `json:"placing,omitempty"` // expiry of the transaction
	Placed   *entry.HoldID `json:"placed,omitempty"`
	Settled  entry.Outcome `json:"settled,omitempty"`
	GaveUp   Code          `json:"gave_up,omitempty"`
}

type chosenRecord struct {
	Requests [][]byte `json:"requests"`
	Quotes   [][]byte `json:"quotes"`
}

// ReplayPayment makes a payment from its records.
func ReplayPayment(records [][]byte) (*Payment, error) {
	p := &Payment{}
	for i, r := range records {
		if err := p.Add(r); err != nil {
			return nil, fmt.Errorf("journal record %d: %w", i, err)
		}
	}
	if p.Stage == "" {
		return nil, Refuse(JournalInvalid, "no payment")
	}
	return p, nil
}

// Add folds one record in. It refuses journal_invalid for a record that does not follow from those before it.
func (p *Payment) Add(record []byte) error {
	var r paymentRecord
	if err := decode(record, &r); err != nil {
		return err
	}
	wrong := Refuse(JournalInvalid, "a record that does not follow on %q", p.Stage)
	switch {
	case r.Ordered != nil:
		if err := r.Ordered.Validate(); err != nil || p.Stage != "" {
			return Refuse(JournalInvalid, "%q: %v", p.Stage, err)
		}
		p.Order, p.Stage = *r.Ordered, PayOrdered
	case p.Stage == "":
		return wrong
	case r.Chosen != nil:
		n := p.Order.hops()
		if p.Stage != PayOrdered || len(r.Chosen.Requests) != n || len(r.Chosen.Quotes) != n {
			return wrong
		}
		requests, quotes := make([]*Request, n), make([]*Quote, n)
		for i := range n {
			var err error
			if requests[i], err = ParseRequest(r.Chosen.Requests[i]); err != nil {
				return Refuse(JournalInvalid, "%v", err)
			}
			if quotes[i], err = ParseQuote(r.Chosen.Quotes[i]); err != nil {
				return Refuse(JournalInvalid, "%v", err)
			}
		}
		if err := p.checkChain(requests, quotes); err != nil {
			return Refuse(JournalInvalid, "%v", err)
		}
		p.Requests, p.Quotes, p.Stage = requests, quotes, PayChosen
	case r.Opening != nil:
		if p.Stage != PayChosen {
			return wrong
		}
		p.Opening, p.Stage = r.Opening, PayReserved
	case r.Promised != nil:
		m, err := ParseReservation(r.Promised)
		if err != nil || p.Stage != PayReserved || p.promises() == 0 {
			return wrong
		}
		p.Promised = append(p.Promised, m)
	case r.Covered != nil:
		m, err := ParsePlacement(r.Covered)
		if err != nil || p.Stage != PayReserved || p.promises() != 0 {
			return wrong
		}
		p.Cover, p.Until, p.Stage = m, m.Until, PayCovered
	case r.Followed != nil:
		m, err := ParsePlacement(r.Followed)
		if err != nil || p.Stage != PayCovered || len(p.Followed) == p.Order.hops()-1 {
			return wrong
		}
		p.Followed = append(p.Followed, m)
	case r.Placing != 0:
		if p.Stage != PayCovered || len(p.Followed) < p.Order.hops()-1 {
			return wrong
		}
		p.Expiry, p.Stage = r.Placing, PayPlacing
	case r.Placed != nil:
		if p.Stage != PayPlacing {
			return wrong
		}
		p.Hold, p.Stage = *r.Placed, PayPlaced
	case r.Settled == entry.Posted && p.Stage == PayPlaced:
		p.Stage = PayPosted
	case r.Settled == entry.Voided && p.Stage == PayPlaced:
		p.Stage = PayVoided
	case r.GaveUp != "":
		if p.Stage == PayPlaced || p.Done() {
			return wrong
		}
		p.GaveUp, p.Stage = r.GaveUp, PayGivenUp
	default:
		return wrong
	}
	return nil
}
