package bridge

import (
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

// Address is whom to pay on a ledger that the message names: an address without its text form.
type Address struct {
	Owner   zk.Owner
	ViewKey keys.ViewKey
}

// Check refuses an owner that is no field element, and a view key to which anybody could decrypt.
func (a Address) Check() error {
	if _, err := keys.ParseAddress(keys.Address{Prefix: "x", Owner: a.Owner, ViewKey: a.ViewKey}.String()); err != nil {
		return Refuse(AddressInvalid, "%v", err)
	}
	return nil
}

// Text is the address as wallets take it, for a ledger and its address prefix.
func (a Address) Text(prefix string, ledger entry.GenesisHash) string {
	return keys.Address{Prefix: prefix, Ledger: [8]byte(ledger[:8]), Owner: a.Owner, ViewKey: a.ViewKey}.String()
}

// Money is an amount of an asset under a programme: what an opening must hold.
type Money struct {
	Amount    zk.Amount
	Asset     zk.AssetID
	Programme zk.ProgrammeID
}

// CheckOpening recomputes a commitment from its opening and compares what it pays, and whom, with what was agreed (B4.1). It refuses
// opening_mismatch, amount_mismatch and payee_mismatch.
func CheckOpening(n zk.Note, cm zk.Commitment, want Money, payee zk.Owner) error {
	if n.Commitment() != cm {
		return Refuse(OpeningMismatch, "the opening hashes to %s, the commitment is %s", n.Commitment(), cm)
	}
	return checkNote(n, want, payee)
}

func checkNote(n zk.Note, want Money, payee zk.Owner) error {
	if got := (Money{n.Value, n.Asset, n.Programme}); got != want {
		return Refuse(AmountMismatch, "the opening holds %d of asset %d, programme %d; agreed were %d of asset %d, programme %d",
			got.Amount, got.Asset, got.Programme, want.Amount, want.Asset, want.Programme)
	}
	if n.Owner != payee {
		return Refuse(PayeeMismatch, "the opening pays owner %s, agreed was %s", n.Owner, payee)
	}
	return nil
}
