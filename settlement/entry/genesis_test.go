package entry

import (
	"encoding/hex"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/comity-ledger/comity/zk"
)

// possess signs the first oversight key's possession anew after a test changed the rest of genesis.
func possess(t *testing.T, g *Genesis) {
	g.OversightPossession = ProvePossession(scalar(t, "oversight"), OversightPossession(g.DraftHash(), GenesisOversightEpoch), &seeded{name: "again"})
}

func TestGenesisRulesAreRefusedByName(t *testing.T) {
	key := func(s string) (k SignerKey) {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		copy(k[:], b)
		return k
	}
	for _, c := range []struct {
		name   string
		change func(*Genesis)
	}{
		{"no name", func(g *Genesis) { g.Name = "" }},
		{"a name with a control character", func(g *Genesis) { g.Name = "a\x1b[2Jb" }},
		{"an upper-case prefix", func(g *Genesis) { g.Prefix = "Aur" }},
		{"a prefix that reads as a view key", func(g *Genesis) { g.Prefix = "aurfvk" }},
		{"a prefix of digits", func(g *Genesis) { g.Prefix = "1a" }},
		{"an origin with a space", func(g *Genesis) { g.Origin = "a b" }},
		{"an origin with a plus", func(g *Genesis) { g.Origin = "a+b" }},
		{"an origin with a line end", func(g *Genesis) { g.Origin = "a\nb" }},
		{"no creation time", func(g *Genesis) { g.CreatedMillis = 0 }},
		{"network 3", func(g *Genesis) { g.Network = 3 }},
		{"no registry window", func(g *Genesis) { g.RegistryWindowMillis = 0 }},
		{"a window of two days", func(g *Genesis) { g.RegistryWindowMillis = 2 * maxWindowMillis }},
		{"no room for expiry", func(g *Genesis) { g.MaxExpiryMillis = 999 }},
		{"no asset", func(g *Genesis) { g.Assets = nil }},
		{"asset 0", func(g *Genesis) { g.Assets[0].ID = 0 }},
		{"an asset id twice", func(g *Genesis) { g.Assets[1].ID = 1 }},
		{"an asset code twice", func(g *Genesis) { g.Assets[1].Code = "AUR" }},
		{"a lower-case code", func(g *Genesis) { g.Assets[1].Code = "aux" }},
		{"a code of two letters", func(g *Genesis) { g.Assets[1].Code = "AU" }},
		{"19 decimals", func(g *Genesis) { g.Assets[1].Decimals = 19 }},
		{"a policy of nobody", func(g *Genesis) { g.Policy = Policy{} }},
		{"a policy of 0 of n", func(g *Genesis) { g.Policy.Threshold = 0 }},
		{"a policy of 4 of 3", func(g *Genesis) { g.Policy.Threshold = 4 }},
		{"a signer twice", func(g *Genesis) { g.Policy.Signers[1] = g.Policy.Signers[0] }},
		{"a signer who is the log", func(g *Genesis) { g.Policy.Signers[1] = g.LogKey }},
		{"a signer who is a witness", func(g *Genesis) { g.Policy.Signers[1] = g.Witnesses.Members[0].Key }},
		{"the identity as a signer", func(g *Genesis) { g.Policy.Signers[1] = SignerKey{1} }},
		{"the identity with the other sign", func(g *Genesis) { g.Policy.Signers[1] = SignerKey{0: 1, 31: 0x80} }},
		{"a log key of order 8", func(g *Genesis) {
			g.LogKey = key("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
		}},
		{"a log key of order 4", func(g *Genesis) { g.LogKey = SignerKey{} }},
		{"a log key that is not canonical", func(g *Genesis) {
			g.LogKey = key("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")
		}},
		{"a witness who is the log", func(g *Genesis) { g.Witnesses.Members[0].Key = g.LogKey }},
		{"a witness with the log's name", func(g *Genesis) { g.Witnesses.Members[0].Name = g.Origin }},
		{"a witness name twice", func(g *Genesis) { g.Witnesses.Members[0].Name = "w2.example" }},
		{"a witness key twice", func(g *Genesis) { g.Witnesses.Members[0].Key = g.Witnesses.Members[1].Key }},
		{"a witness of kind 3", func(g *Genesis) { g.Witnesses.Members[0].Kind = 3 }},
		{"no witness", func(g *Genesis) { g.Witnesses = WitnessPolicy{} }},
		{"a quorum of 0", func(g *Genesis) { g.Witnesses.Quorum = 0 }},
		{"a quorum of 4 of 3", func(g *Genesis) { g.Witnesses.Quorum = 4 }},
		{"a quorum that one faulty witness splits", func(g *Genesis) { g.Witnesses.Faulty = 1 }},
		{"two quorums without a common member", func(g *Genesis) { g.Witnesses.Quorum = 1 }},
		{"no circuit", func(g *Genesis) { g.Circuits = nil }},
		{"an unknown circuit", func(g *Genesis) { g.Circuits[3].ID = 6 }},
		{"an unknown circuit version", func(g *Genesis) { g.Circuits[3].Version = 2 }},
		{"circuits out of order", func(g *Genesis) { slices.Reverse(g.Circuits) }},
		{"a circuit without a fingerprint", func(g *Genesis) { g.Circuits[0].Fingerprint = [32]byte{} }},
	} {
		g := genesisFixture(t)
		c.change(g)
		possess(t, g)
		if err := g.Validate(); CodeOf(err) != GenesisInvalid {
			t.Errorf("%s: validating gave %v", c.name, err)
		}
		if _, err := DecodeGenesis(Encode(g)); CodeOf(err) != GenesisInvalid && CodeOf(err) != Malformed {
			t.Errorf("%s: decoding gave %v", c.name, err)
		}
	}
	g := genesisFixture(t)
	g.Name = "Republic of Borealis"
	wantCode(t, g.Validate(), OversightKeyInvalid) // a proof of possession taken from another ledger
	g = genesisFixture(t)
	g.OversightKey = scalar(t, "thief").Base()
	wantCode(t, g.Validate(), OversightKeyInvalid)
}

func TestQuorumsThatResistTheirFaultsAreAccepted(t *testing.T) {
	for _, c := range []struct{ n, k, f int }{{1, 1, 0}, {2, 2, 1}, {3, 2, 0}, {3, 3, 2}, {4, 3, 1}, {7, 5, 2}} {
		w := WitnessPolicy{Quorum: uint8(c.k), Faulty: uint8(c.f)}
		for i := range c.n {
			name := string(rune('a' + i))
			w.Members = append(w.Members, Witness{name, edPublic(name), ValidatingWitness})
		}
		if err := w.Validate(); err != nil {
			t.Errorf("%d of %d with %d faulty: %v", c.k, c.n, c.f, err)
		}
		w.Faulty++
		wantCode(t, w.Validate(), GenesisInvalid)
	}
}

func TestGenesisHashCoversEveryByteAndTheDraftAllButThePossession(t *testing.T) {
	g := genesisFixture(t)
	hash, draft := g.Hash(), g.DraftHash()
	possess(t, g)
	if g.DraftHash() != draft {
		t.Error("the draft hash covers the proof of possession")
	}
	if g.Hash() == hash {
		t.Error("the genesis hash does not cover the proof of possession")
	}
	g.Circuits[0].Fingerprint[0]++
	if g.DraftHash() == draft {
		t.Error("the draft hash does not cover the circuits")
	}
}

func TestGenesisReadsBackFromJSON(t *testing.T) {
	g := genesisFixture(t)
	b, err := g.JSON()
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseGenesisJSON(b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back, g) || back.Hash() != g.Hash() {
		t.Errorf("read back as %+v", back)
	}
	if a, ok := back.AssetByCode("AUX"); !ok || a.ID != 2 {
		t.Error("asset by code")
	}
	if _, ok := back.AssetByCode("EUR"); ok {
		t.Error("an asset that is not there")
	}
	if c, ok := back.Circuit(zk.Disburse64); !ok || c.ID != zk.Disburse64 {
		t.Error("circuit")
	}
	if _, ok := back.Circuit(zk.Hold); ok {
		t.Error("a circuit that is not there")
	}
}

func TestGenesisJSONIsStrict(t *testing.T) {
	b, err := genesisFixture(t).JSON()
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for name, c := range map[string][2]string{
		"an unknown key":            {`"prefix":`, `"colour": "red", "prefix":`},
		"a key twice":               {`"prefix":`, `"prefix": "aur", "prefix":`},
		"a key twice further in":    {`"quorum": 2`, `"quorum": 2, "quorum": 2`},
		"a key in capitals":         {`"prefix":`, `"Prefix":`},
		"a missing key":             {`"prefix": "aur",`, ``},
		"an upper-case key":         {edPublic("log").String(), strings.ToUpper(edPublic("log").String())},
		"a short key":               {edPublic("log").String(), edPublic("log").String()[2:]},
		"a number in quotes":        {`"quorum": 2`, `"quorum": "2"`},
		"a number past its range":   {`"quorum": 2`, `"quorum": 258`},
		"an unknown network":        {`"development"`, `"test"`},
		"an unknown witness kind":   {`"validating"`, `"observing"`},
		"an unknown circuit":        {`"disburse16"`, `"disburse8"`},
		"a time without its zone":   {`.000Z"`, `"`},
		"a time in another form":    {`.000Z"`, `.0Z"`},
		"bytes after the end":       {"\n}\n", "\n} {}"},
		"an end that is missing":    {"\n}\n", "\n"},
		"a null in place of a list": {`"assets": [`, `"assets": null, "assets2": [`},
	} {
		bad := strings.Replace(text, c[0], c[1], 1)
		if bad == text {
			t.Fatalf("%s: nothing was replaced", name)
		}
		if _, err := ParseGenesisJSON([]byte(bad)); CodeOf(err) != GenesisInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}
