package rpc

import (
	"bytes"
	"fmt"
	"testing"

	"connectrpc.com/connect"

	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

func testHold(i int) settlement.Hold {
	return settlement.Hold{
		ID: entry.HoldID{Tx: entry.ID{byte(i >> 8), byte(i), 9}, Leg: uint8(i % 4)}, Entry: uint64(i), PlacedAt: 5, Commitment: zk.Commitment{3}, Return: zk.Commitment{4},
		SizeClass: 100, Condition: entry.Condition{Type: 2, Bytes: []byte{8}}, Until: 6, Attested: []int{0, 15}, Document: [32]byte{7}, ReadyAt: 11, Challenged: true,
	}
}

func message(id entry.HoldID) *ledgerv1.HoldId {
	return &ledgerv1.HoldId{Transaction: id.Tx[:], Leg: uint32(id.Leg)}
}

func TestHoldsAreListedInBoundedPages(t *testing.T) {
	h := start(t, Limits{})
	const all = 2*maxHolds + 5
	for i := range all {
		h.ledger.holds = append(h.ledger.holds, testHold(i))
	}
	c := h.clients()["grpc"]
	for _, limit := range []uint32{0, 100, maxHolds} {
		var after *ledgerv1.HoldId
		got := 0
		for {
			page, err := c.ListHolds(t.Context(), &ledgerv1.ListHoldsRequest{After: after, Limit: limit})
			if err != nil || page.GetHeight() != 7 {
				t.Fatalf("%v, %v", page, err)
			}
			want := maxHolds
			if limit == 100 {
				want = 100
			}
			if n := len(page.GetHolds()); n != min(want, all-got) {
				t.Fatalf("limit %d: a page of %d after %d", limit, n, got)
			}
			for _, m := range page.GetHolds() {
				if m.GetEntryIndex() != uint64(got) {
					t.Fatalf("limit %d: hold %d at place %d", limit, m.GetEntryIndex(), got)
				}
				got++
			}
			if !page.GetMore() {
				break
			}
			after = page.GetHolds()[len(page.GetHolds())-1].GetId()
		}
		if got != all {
			t.Fatalf("limit %d: %d of %d", limit, got, all)
		}
	}
	want := testHold(300)
	one, err := c.GetHold(t.Context(), &ledgerv1.GetHoldRequest{Id: message(want.ID)})
	if err != nil || one.GetOutcome() != 0 {
		t.Fatalf("%v, %v", one, err)
	}
	if m := one.GetHold(); !bytes.Equal(m.GetId().GetTransaction(), want.ID.Tx[:]) || m.GetId().GetLeg() != 0 || m.GetEntryIndex() != 300 || m.GetPlacedMillis() != 5 ||
		m.GetCommitment()[0] != 3 || m.GetReturnCommitment()[0] != 4 || m.GetSizeClass() != 100 || m.GetConditionType() != 2 || m.GetCondition()[0] != 8 || m.GetUntilMillis() != 6 ||
		fmt.Sprint(m.GetAttested()) != "[0 15]" || m.GetDocument()[0] != 7 || m.GetReadyMillis() != 11 || !m.GetChallenged() {
		t.Fatalf("%v", m)
	}
}

func TestDecidedHoldIsFoundByTheEntryThatDecidedIt(t *testing.T) {
	h := start(t, Limits{})
	c := h.clients()["connect json"]
	id := func(n byte) entry.HoldID { return entry.HoldID{Tx: entry.ID{n}, Leg: 1} }
	resolve := &entry.Resolve{Hold: id(1), Outcome: entry.Posted, Reason: entry.ReasonAttested}
	override := &entry.Override{Header: entry.Header{Sequence: 1}, Hold: id(2), Outcome: entry.Voided}
	for i, e := range []entry.Entry{resolve, override} {
		if _, err := entry.Decode(entry.Encode(e)); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
	}
	h.ledger.add(entry.Encode(resolve), entry.Encode(override), []byte("no entry"), entry.Encode(h.ledger.genesis))
	h.ledger.used = map[zk.Nullifier]uint64{id(1).Key(): 2, id(2).Key(): 3, id(3).Key(): 4, id(4).Key(): 5}
	for n, want := range map[byte]ledgerv1.HoldOutcome{1: ledgerv1.HoldOutcome_HOLD_OUTCOME_POSTED, 2: ledgerv1.HoldOutcome_HOLD_OUTCOME_VOIDED} {
		got, err := c.GetHold(t.Context(), &ledgerv1.GetHoldRequest{Id: message(id(n))})
		if err != nil || got.GetHold() != nil || got.GetOutcome() != want || got.GetResolvedIndex() != uint64(n)+1 {
			t.Errorf("hold %d: %v, %v", n, got, err)
		}
	}
	// A store that answers with what cannot be is our fault, not the caller's.
	for _, n := range []byte{3, 4} {
		if got, err := c.GetHold(t.Context(), &ledgerv1.GetHoldRequest{Id: message(id(n))}); connect.CodeOf(err) != connect.CodeInternal {
			t.Errorf("hold %d: %v, %v", n, got, err)
		}
	}
	if got, err := c.GetHold(t.Context(), &ledgerv1.GetHoldRequest{Id: message(id(5))}); detail(err) != "not_found" || connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("no such hold: %v, %v", got, err)
	}
	for name, bad := range map[string]*ledgerv1.HoldId{"none": nil, "empty": {}, "short": {Transaction: make([]byte, 31)}, "long": {Transaction: make([]byte, 33)},
		"leg 4": {Transaction: make([]byte, 32), Leg: 4}, "leg 257": {Transaction: make([]byte, 32), Leg: 257}} {
		if _, err := c.GetHold(t.Context(), &ledgerv1.GetHoldRequest{Id: bad}); detail(err) != "malformed" {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := c.ListHolds(t.Context(), &ledgerv1.ListHoldsRequest{After: bad}); bad != nil && detail(err) != "malformed" {
			t.Errorf("a list after %s: %v", name, err)
		}
	}
}

func TestCorridorsAreListedAndSummedUp(t *testing.T) {
	h := start(t, Limits{})
	terms := &entry.CorridorTerms{Name: "Borealis", Origin: "ledger.borealis.example", StaleMillis: 60, Cap: 500, SizeClasses: []uint64{10, 50}}
	for i, state := range []string{settlement.CorridorActive, settlement.CorridorStale, settlement.CorridorFrozen} {
		h.ledger.corridors = append(h.ledger.corridors, settlement.Corridor{Peer: entry.GenesisHash{byte(i)}, Name: "Borealis", Origin: terms.Origin, State: state, Why: "why " + state,
			LogKey: entry.SignerKey{2}, Rotations: 3, Size: 4, Root: [32]byte{5}, PeerTime: 6, ObservedAt: 7, InFlight: 60, Cap: 500, SizeClasses: terms.SizeClasses, Claims: 8, Terms: terms})
	}
	c := h.clients()["connect"]
	list, err := c.ListCorridors(t.Context(), &ledgerv1.ListCorridorsRequest{})
	if err != nil || len(list.GetCorridors()) != 3 {
		t.Fatalf("%v, %v", list, err)
	}
	status, err := c.GetStatus(t.Context(), &ledgerv1.GetStatusRequest{})
	if err != nil || len(status.GetCorridors()) != 3 || status.GetOpenHolds() != 12 {
		t.Fatalf("%v, %v", status, err)
	}
	for i, m := range list.GetCorridors() {
		state := ledgerv1.CorridorState(i + 1)
		if m.GetPeer()[0] != byte(i) || m.GetName() != "Borealis" || m.GetOrigin() != terms.Origin || m.GetState() != state || m.GetWhy() != "why "+h.ledger.corridors[i].State ||
			m.GetLogKey()[0] != 2 || m.GetRotations() != 3 || m.GetSize() != 4 || m.GetRoot()[0] != 5 || m.GetPeerMillis() != 6 || m.GetObservedMillis() != 7 || m.GetInFlight() != 60 ||
			m.GetCap() != 500 || fmt.Sprint(m.GetSizeClasses()) != "[10 50]" || m.GetStaleMillis() != 60 || m.GetClaims() != 8 || !bytes.Equal(m.GetTerms(), terms.Append(nil)) {
			t.Errorf("%v", m)
		}
		if s := status.GetCorridors()[i]; s.GetPeer()[0] != byte(i) || s.GetName() != "Borealis" || s.GetState() != state || s.GetInFlight() != 60 || s.GetCap() != 500 || s.GetObservedMillis() != 7 {
			t.Errorf("%v", s)
		}
	}
}
