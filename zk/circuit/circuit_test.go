package circuit

import (
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/circuit/circuittest"
)

var update = flag.Bool("update", false, "record the sizes of the circuits")

// scenarios are true legs of every kind.
var scenarios = map[string]circuittest.Options{
	"transfer":                   {Circuit: zk.Transfer},
	"transfer of one note":       {Circuit: zk.Transfer, Dummies: 1, Tree: 65535},
	"transfer of nothing":        {Circuit: zk.Transfer, Dummies: 2},
	"transfer of earmarked":      {Circuit: zk.Transfer, Programme: 7},
	"transfer that releases":     {Circuit: zk.Transfer, Programme: 7, Release: true},
	"transfer that sets":         {Circuit: zk.Transfer, Set: ^zk.ProgrammeID(0)},
	"release by wildcard":        {Circuit: zk.Transfer, Programme: 7, Release: true, Rights: []zk.Right{{Programme: 9, MaySet: true}, {Wildcard: true, MayRelease: true}}, RightIndex: 1},
	"set by the ninth right":     {Circuit: zk.Transfer, Set: 3, Rights: nineRights(), RightIndex: 8},
	"issue":                      {Circuit: zk.Transfer, Dummies: 2, Issued: 5000},
	"issue of everything":        {Circuit: zk.Transfer, Dummies: 2, Issued: ^zk.Amount(0)},
	"issue into a programme":     {Circuit: zk.Transfer, Dummies: 2, Issued: 5000, Programme: 7},
	"redeem":                     {Circuit: zk.Transfer, Redeemed: 5000},
	"redeem of earmarked":        {Circuit: zk.Transfer, Dummies: 1, Redeemed: 5000, Programme: 7},
	"largest asset":              {Circuit: zk.Transfer, Asset: ^zk.AssetID(0), Programme: ^zk.ProgrammeID(0)},
	"hold":                       {Circuit: zk.Hold},
	"hold across a border":       {Circuit: zk.Hold, SizeClass: 1e13, Programme: 7},
	"disburse16":                 {Circuit: zk.Disburse16, Programme: 7},
	"disburse16 that sets":       {Circuit: zk.Disburse16, Set: 7},
	"disburse64":                 {Circuit: zk.Disburse64, Programme: 7},
	"consolidate":                {Circuit: zk.Consolidate, Programme: 7},
	"consolidate of three notes": {Circuit: zk.Consolidate, Dummies: 5},
}

func nineRights() (rights []zk.Right) {
	for i := range zk.ProgrammeID(9) {
		rights = append(rights, zk.Right{Programme: 11 - i, MaySet: i == 8})
	}
	return rights
}

func TestTrueLegsSolve(t *testing.T) {
	for name, o := range scenarios {
		t.Run(name, func(t *testing.T) {
			leg := trueLeg(t, o, 7)
			if err := solve(fullSystem(t, o.Circuit), assigned(t, leg)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

type size struct {
	Constraints int `json:"constraints"`
	Public      int `json:"public"` // without gnark's constant 1
	Secret      int `json:"secret"`
}

// Sizes are recorded: a change of a circuit is a new circuit version, and
// proving time steps up at powers of two. Record with: go test -run Sizes -update
func TestSizesAreTheRecordedOnes(t *testing.T) {
	got := map[string]size{}
	limits := map[zk.CircuitID]int{zk.Transfer: 1 << 15, zk.Hold: 1 << 15, zk.Disburse16: 1 << 15, zk.Disburse64: 1 << 16, zk.Consolidate: 1 << 16}
	for _, id := range zk.Circuits() {
		cs := fullSystem(t, id)
		s := size{cs.GetNbConstraints(), cs.GetNbPublicVariables() - 1, cs.GetNbSecretVariables()}
		got[id.String()] = s
		t.Logf("%-12v %6d constraints (%d left), %3d public inputs, %d secret inputs", id, s.Constraints, limits[id]-s.Constraints, s.Public, s.Secret)
		if s.Constraints > limits[id] {
			t.Errorf("%v has %d constraints, more than %d", id, s.Constraints, limits[id])
		}
		if want := zk.NumInputs(id); s.Public != want {
			t.Errorf("%v has %d public inputs, zk counts %d", id, s.Public, want)
		}
	}
	const path = "testdata/constraints.json"
	if *update {
		text, err := json.MarshalIndent(got, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]size{}
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if len(want) != len(got) {
		t.Errorf("%d circuits recorded, %d compiled", len(want), len(got))
	}
	for name, s := range got {
		if want[name] != s {
			t.Errorf("%s is %+v, recorded %+v", name, s, want[name])
		}
	}
}

// No lookups, no gnark commitments, no hints: what a proof says is in its
// constraints alone.
func TestCircuitsHaveNoHintsAndNoCommitments(t *testing.T) {
	for _, id := range zk.Circuits() {
		assertNoHints(t, fullSystem(t, id))
	}
}
