package cli

import (
	"testing"
	"time"

	"github.com/comity-ledger/comity/settlement/entry"
)

func TestAssetsAreFoundByCode(t *testing.T) {
	one := &entry.Genesis{Name: "A", Assets: []entry.Asset{{ID: 7, Code: "AUR", Decimals: 2}}}
	two := &entry.Genesis{Name: "B", Assets: []entry.Asset{{ID: 1, Code: "AUR"}, {ID: 2, Code: "BOR", Decimals: 3}}}
	if a, err := AssetOf(one, ""); err != nil || a.ID != 7 {
		t.Errorf("the only one: %+v, %v", a, err)
	}
	if a, err := AssetOf(two, "BOR"); err != nil || a.ID != 2 {
		t.Errorf("by its code: %+v, %v", a, err)
	}
	for _, code := range []string{"", "XXX"} {
		_, err := AssetOf(two, code)
		if _, name := CodeOf(err); name != "unknown_asset" {
			t.Errorf("%q: %v", code, err)
		}
	}
	if got := MoneyOf(two, 1234567, 2); got != "1,234.567 BOR" {
		t.Errorf("got %q", got)
	}
	if got := MoneyOf(two, 5, 9); got != "5 asset 9" {
		t.Errorf("got %q", got)
	}
}

func TestDeadlines(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	for text, want := range map[string]uint64{"90s": 1_090_000, "1970-01-01T00:00:07Z": 7000} {
		if got, err := Deadline(text, now); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "-5m", "0s", "tomorrow", "1969-01-01T00:00:00Z"} {
		if got, err := Deadline(bad, now); err == nil {
			t.Errorf("%q is %d", bad, got)
		}
	}
}
