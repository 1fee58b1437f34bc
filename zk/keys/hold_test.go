package keys

import (
	"bytes"
	"testing"
)

func TestAHoldKeyIsOfOneHoldAndOneSide(t *testing.T) {
	w := walletFrom(t, 1, genesis)
	base, err := w.HoldKey(HoldPayer, "invoice 7")
	if err != nil {
		t.Fatal(err)
	}
	again, err := walletFrom(t, 1, genesis).HoldKey(HoldPayer, "invoice 7")
	if err != nil || !bytes.Equal(base, again) {
		t.Fatal("derivation is not deterministic")
	}
	sister := genesis
	sister[0] ^= 1
	for name, other := range map[string]func() ([]byte, error){
		"the other side": func() ([]byte, error) { k, err := w.HoldKey(HoldPayee, "invoice 7"); return k, err },
		"another hold":   func() ([]byte, error) { k, err := w.HoldKey(HoldPayer, "invoice 8"); return k, err },
		"another wallet": func() ([]byte, error) {
			k, err := walletFrom(t, 2, genesis).HoldKey(HoldPayer, "invoice 7")
			return k, err
		},
		"another ledger": func() ([]byte, error) {
			k, err := walletFrom(t, 1, sister).HoldKey(HoldPayer, "invoice 7")
			return k, err
		},
		"a shifted label": func() ([]byte, error) { k, err := w.HoldKey(HoldPayer+"\x00", "invoice 7"); return k, err },
	} {
		if k, err := other(); err != nil || bytes.Equal(k, base) {
			t.Errorf("%s has the same key: %v", name, err)
		}
	}
	if _, err := (Wallet{}).HoldKey(HoldPayer, "x"); err == nil {
		t.Error("no keys and a key")
	}
}
