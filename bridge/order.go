package bridge

import (
	"crypto/ed25519"
	"encoding/json"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// Stop is one currency on the way of a payment.
type Stop struct {
	Ledger    entry.GenesisHash
	Asset     zk.AssetID
	Programme zk.ProgrammeID
	Decimals  uint8
}

// stopJSON is a Stop in the journal.
type stopJSON struct {
	Ledger    ID             `json:"ledger"`
	Asset     zk.AssetID     `json:"asset"`
	Programme zk.ProgrammeID `json:"programme,omitempty"`
	Decimals  uint8          `json:"decimals"`
}

// MarshalJSON writes the ledger as hexadecimal.
func (s Stop) MarshalJSON() ([]byte, error) {
	return json.Marshal(stopJSON{ID(s.Ledger), s.Asset, s.Programme, s.Decimals})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (s *Stop) UnmarshalJSON(b []byte) error {
	var j stopJSON
	err := decode(b, &j)
	*s = Stop{entry.GenesisHash(j.Ledger), j.Asset, j.Programme, j.Decimals}
	return err
}

// Order is what a payer wants. Its id is the caller's, and names the wallet's order too; its fields never change.
type Order struct {
	ID             string    `json:"id"`
	Route          []Stop    `json:"route"` // from the payer's currency to the payee's; the last ledger decides
	Fixed          Fixed     `json:"fixed"`
	Amount         zk.Amount `json:"amount"` // of the fixed side
	Limit          zk.Amount `json:"limit"`  // payee fixed: most that the payer pays; payer fixed: least that the payee gets
	Payee          Address   `json:"payee"`
	DeadlineMillis uint64    `json:"deadline"`         // nothing is placed from then on
	MarginMillis   uint64    `json:"margin,omitempty"` // B5.3; 0 for DefaultMarginMillis
	Seed           []byte    `json:"seed"`             // 32 bytes: of the one-use key
}

// Validate checks the order alone.
func (o *Order) Validate() error {
	switch {
	case o.ID == "" || len(o.ID) > 128 || !printable(o.ID):
		return Refuse(Malformed, "a payment id is 1 to 128 bytes of printable text without spaces at its ends")
	case len(o.Route) < 2 || len(o.Route) > MaxHops+1:
		return Refuse(Malformed, "a route of %d stops, want 2 to %d", len(o.Route), MaxHops+1)
	case o.Fixed != FixedPayee && o.Fixed != FixedPayer:
		return Refuse(Malformed, "fixed side %d", o.Fixed)
	case o.Amount == 0 || o.Limit == 0:
		return Refuse(AmountZero, "amount %d, limit %d", o.Amount, o.Limit)
	case o.DeadlineMillis == 0:
		return Refuse(Malformed, "no deadline")
	case len(o.Seed) != ed25519.SeedSize:
		return Refuse(Malformed, "a seed of %d bytes", len(o.Seed))
	}
	for i, s := range o.Route {
		if s.Asset == 0 || s.Decimals > entry.MaxDecimals {
			return Refuse(UnknownAsset, "stop %d: asset %d with %d decimals", i, s.Asset, s.Decimals)
		}
		for _, before := range o.Route[:i] {
			if before.Ledger == s.Ledger {
				return Refuse(Malformed, "the route passes ledger %s twice", s.Ledger)
			}
		}
	}
	return o.Payee.Check()
}

func (o *Order) hops() int { return len(o.Route) - 1 }

func (o *Order) key() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(o.Seed) }

func (o *Order) margin() uint64 {
	if o.MarginMillis == 0 {
		return DefaultMarginMillis
	}
	return o.MarginMillis
}

// Request makes the request of one hop, counted from the payer's ledger. amount is that of the fixed side. payee is the order's for the last
// hop; before it, where the next provider is paid: payee fixed, from its quote (hops are asked last to first); payer fixed, from its offer.
func (o *Order) Request(hop int, amount zk.Amount, payee Address) *Request {
	from, to := o.Route[hop], o.Route[hop+1]
	key, err := entry.SignerKeyOf(o.key().Public().(ed25519.PublicKey))
	if err != nil {
		panic(err) // an Ed25519 key has one length
	}
	return &Request{From: from.Ledger, To: to.Ledger, Decider: o.Route[o.hops()].Ledger, FromAsset: from.Asset, ToAsset: to.Asset,
		FromProgramme: from.Programme, ToProgramme: to.Programme, Fixed: o.Fixed, Amount: amount, Payer: key, Payee: payee}
}
