package cli

import (
	"fmt"
	"time"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// MoneyOf prints an amount of an asset of a ledger: "12,345.60 AUR".
func MoneyOf(g *entry.Genesis, amount zk.Amount, id zk.AssetID) string {
	if row, ok := g.Asset(id); ok {
		return Money(amount, int(row.Decimals), row.Code)
	}
	return Money(amount, 0, fmt.Sprintf("asset %d", id))
}

// AssetOf finds a currency of a ledger by its code; empty stands for the only one.
func AssetOf(g *entry.Genesis, code string) (entry.Asset, error) {
	if code == "" && len(g.Assets) == 1 {
		return g.Assets[0], nil
	}
	if a, ok := g.AssetByCode(code); ok {
		return a, nil
	}
	var known []string
	for _, a := range g.Assets {
		known = append(known, a.Code)
	}
	return entry.Asset{}, RefusedAs("unknown_asset", fmt.Errorf("currency %q, ledger %q has %v", code, g.Name, known))
}

// Stamp prints a time of a ledger, milliseconds since the Unix epoch; 0 is none.
func Stamp(millis uint64) string {
	if millis == 0 {
		return "-"
	}
	return time.UnixMilli(int64(millis)).UTC().Format("2006-01-02T15:04:05.000Z")
}

// Deadline reads a moment as a ledger keeps it: a duration from now ("72h") or a time ("2026-12-01T12:00:00Z").
func Deadline(text string, now time.Time) (uint64, error) {
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return uint64(now.Add(d).UnixMilli()), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.UnixMilli() <= 0 {
		return 0, Usagef("%q: want a duration such as 72h or a time such as 2026-12-01T12:00:00Z", text)
	}
	return uint64(t.UnixMilli()), nil
}
