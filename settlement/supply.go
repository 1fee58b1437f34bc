package settlement

import (
	"math"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/planted"
	"github.com/comity-ledger/comity/zk"
)

// supplyAt finds an asset's row, or -1.
func supplyAt(supply []entry.Supply, asset zk.AssetID) int {
	for i := range supply {
		if supply[i].Asset == asset {
			return i
		}
	}
	return -1
}

// move returns the supply table after a transaction: issued and redeemed only
// grow, the total issued stays below 2^64 and the counter of a pool, issued
// minus redeemed, never goes negative (L4.5). The table given is not changed.
func move(supply []entry.Supply, tx *entry.Transaction, bugs planted.Set) ([]entry.Supply, error) {
	if tx.Type == entry.KindTransfer {
		return supply, nil
	}
	next := append([]entry.Supply(nil), supply...)
	for i := range tx.Legs {
		leg := &tx.Legs[i]
		if leg.Issued == 0 && leg.Redeemed == 0 {
			continue
		}
		at := supplyAt(next, leg.Asset)
		if at < 0 {
			return nil, entry.Refuse(entry.UnknownAsset, "asset %d", leg.Asset)
		}
		row := &next[at]
		if leg.Issued > math.MaxUint64-row.Issued {
			return nil, entry.Refuse(entry.SupplyOverflow, "asset %d: %d issued, %d more", leg.Asset, row.Issued, leg.Issued)
		}
		row.Issued += leg.Issued
		if bugs.Has(planted.SupplyTwice) {
			row.Issued += leg.Issued
		}
		if leg.Redeemed > row.Issued-row.Redeemed && !bugs.Has(planted.SupplyUnbounded) {
			return nil, entry.Refuse(entry.SupplyNegative, "asset %d: %d in circulation, %d redeemed", leg.Asset, row.Issued-row.Redeemed, leg.Redeemed)
		}
		row.Redeemed += leg.Redeemed
	}
	return next, nil
}
