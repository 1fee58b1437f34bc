package circuits

import (
	"testing"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

func TestNewDevelopmentLedgerListsEveryCircuitAndCanVerify(t *testing.T) {
	listed, err := Listed(entry.Development)
	if err != nil {
		t.Fatal(err)
	}
	if len(listed) != len(zk.Circuits()) {
		t.Fatalf("%d circuits of %d", len(listed), len(zk.Circuits()))
	}
	v, err := Verifier(&entry.Genesis{Network: entry.Development, Circuits: listed}, 1)
	if err != nil {
		t.Fatal(err)
	}
	errs := v.VerifyBatch([]settlement.Job{{Circuit: zk.Transfer, Public: &zk.LegPublic{Circuit: zk.Transfer}, Proof: new(zk.Proof)}})
	if len(errs) != 1 || errs[0] == nil {
		t.Fatalf("a proof of nothing: %v", errs)
	}
}

func TestProductionLedgerRefusesDevelopmentKeys(t *testing.T) {
	if _, err := Listed(entry.Production); entry.CodeOf(err) != CodeDevelopmentKey {
		t.Fatal(err)
	}
	listed, err := Listed(entry.Development)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verifier(&entry.Genesis{Network: entry.Production, Circuits: listed}, 1); entry.CodeOf(err) != CodeDevelopmentKey {
		t.Fatal(err)
	}
}

func TestGenesisWithAnotherFingerprintIsRefused(t *testing.T) {
	listed, err := Listed(entry.Development)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*entry.Circuit){
		"fingerprint": func(c *entry.Circuit) { c.Fingerprint[5] ^= 1 },
		"version":     func(c *entry.Circuit) { c.Version++ },
		"circuit":     func(c *entry.Circuit) { c.ID = zk.Disburse64 },
	} {
		changed := append([]entry.Circuit(nil), listed...)
		change(&changed[0])
		if _, err := Verifier(&entry.Genesis{Network: entry.Development, Circuits: changed}, 1); entry.CodeOf(err) != CodeUnknownKey {
			t.Errorf("%s: %v", name, err)
		}
	}
}
