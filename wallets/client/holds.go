package client

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"

	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/zk"
)

// Hold is an open hold, as the ledger says. Times are ledger time in milliseconds since the Unix epoch.
type Hold struct {
	ID         entry.HoldID
	Entry      uint64 // log index of the transaction that placed it
	PlacedAt   uint64
	Commitment zk.Commitment
	Return     zk.Commitment
	SizeClass  uint64 // minor units; 2^64-1 for one that no other ledger sees
	Condition  entry.Condition
	Until      uint64   // expiry, as amended; 0 of one that another ledger decides
	Attested   []int    // attestors that stand for Document, ascending
	Document   [32]byte // zero while there is none
	ReadyAt    uint64   // from when it may be posted; 0 while attestations are missing
	Challenged bool
}

// Resolution is how a hold was decided.
type Resolution struct {
	Outcome entry.Outcome
	Entry   uint64 // log index of the entry that decided it
}

// Hold looks a hold up: an open one is returned as it stands, a decided one as its resolution, and one that was never placed is refused as
// not_found.
func (c *Client) Hold(ctx context.Context, id entry.HoldID) (*Hold, *Resolution, error) {
	got, err := read(ctx, "get hold", func(ctx context.Context) (*ledgerv1.GetHoldResponse, error) {
		return c.rpc.GetHold(ctx, &ledgerv1.GetHoldRequest{Id: holdID(id)})
	})
	if err != nil {
		return nil, nil, err
	}
	switch got.GetOutcome() {
	case ledgerv1.HoldOutcome_HOLD_OUTCOME_POSTED:
		return nil, &Resolution{entry.Posted, got.GetResolvedIndex()}, nil
	case ledgerv1.HoldOutcome_HOLD_OUTCOME_VOIDED:
		return nil, &Resolution{entry.Voided, got.GetResolvedIndex()}, nil
	}
	h, err := parseHold(got.GetHold())
	if err == nil && h.ID != id {
		err = errors.New("another hold")
	}
	if err != nil {
		return nil, nil, wallets.Refuse(wallets.LedgerLied, "hold %s: %v", id, err)
	}
	return &h, nil, nil
}

// Holds gives all open holds, ascending by id. The pages may be of different heights: a hold that was placed meanwhile may be missing, and
// one that was decided meanwhile may be there.
func (c *Client) Holds(ctx context.Context) ([]Hold, error) {
	var out []Hold
	var after *ledgerv1.HoldId
	for {
		page, err := read(ctx, "list holds", func(ctx context.Context) (*ledgerv1.ListHoldsResponse, error) {
			return c.rpc.ListHolds(ctx, &ledgerv1.ListHoldsRequest{After: after})
		})
		if err != nil {
			return nil, err
		}
		for _, m := range page.GetHolds() {
			h, err := parseHold(m)
			if err != nil {
				return nil, wallets.Refuse(wallets.LedgerLied, "a list of holds: %v", err)
			}
			if n := len(out); n > 0 && compareHolds(out[n-1].ID, h.ID) >= 0 { // or a ledger could keep its reader for ever
				return nil, wallets.Refuse(wallets.LedgerLied, "a list of holds out of order")
			}
			out = append(out, h)
		}
		if !page.GetMore() {
			return out, nil
		}
		if len(page.GetHolds()) == 0 {
			return nil, wallets.Refuse(wallets.LedgerLied, "an empty page of holds before the last")
		}
		after = holdID(out[len(out)-1].ID)
	}
}

func compareHolds(a, b entry.HoldID) int {
	return cmp.Or(bytes.Compare(a.Tx[:], b.Tx[:]), cmp.Compare(a.Leg, b.Leg))
}

func holdID(id entry.HoldID) *ledgerv1.HoldId {
	return &ledgerv1.HoldId{Transaction: id.Tx[:], Leg: uint32(id.Leg)}
}

func parseHold(m *ledgerv1.Hold) (Hold, error) {
	fixed := func(b []byte) (out [32]byte, err error) {
		if len(b) != len(out) {
			return out, fmt.Errorf("a field of %d bytes, want %d", len(b), len(out))
		}
		return [32]byte(b), nil
	}
	tx, err1 := fixed(m.GetId().GetTransaction())
	payee, err2 := fixed(m.GetCommitment())
	back, err3 := fixed(m.GetReturnCommitment())
	document, err4 := fixed(m.GetDocument())
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return Hold{}, err
	}
	if m.GetId().GetLeg() >= entry.MaxLegs || m.GetConditionType() > 255 {
		return Hold{}, fmt.Errorf("leg %d, condition type %d", m.GetId().GetLeg(), m.GetConditionType())
	}
	h := Hold{ID: entry.HoldID{Tx: tx, Leg: uint8(m.GetId().GetLeg())}, Entry: m.GetEntryIndex(), PlacedAt: m.GetPlacedMillis(), Commitment: payee,
		Return: back, SizeClass: m.GetSizeClass(), Condition: entry.Condition{Type: uint8(m.GetConditionType()), Bytes: m.GetCondition()},
		Until: m.GetUntilMillis(), Document: document, ReadyAt: m.GetReadyMillis(), Challenged: m.GetChallenged()}
	for _, a := range m.GetAttested() {
		if a >= entry.MaxAttestors {
			return Hold{}, fmt.Errorf("attestor %d", a)
		}
		h.Attested = append(h.Attested, int(a))
	}
	if _, err := h.Condition.Decode(); err != nil {
		return Hold{}, err
	}
	return h, nil
}

// CorridorState is whether new holds may be placed over a corridor.
type CorridorState string

// States of a corridor.
const (
	CorridorActive CorridorState = "active" // the peer was observed lately
	CorridorStale  CorridorState = "stale"  // it was not: no new hold, but open ones can be decided
	CorridorFrozen CorridorState = "frozen" // by the policy or by evidence: no new hold, and what the peer decides waits
)

// Corridor is what a ledger keeps about a peer, as that ledger says. Times are in milliseconds since the Unix epoch.
type Corridor struct {
	Peer       entry.GenesisHash
	State      CorridorState
	Why        string          // why it is stale or frozen, for people
	LogKey     entry.SignerKey // signs the peer's checkpoints now, after Rotations rotations
	Rotations  uint32
	Size       uint64 // leaves of the peer's log at the last observation, 0 before the first
	Root       [32]byte
	PeerTime   uint64 // the peer's ledger time then
	ObservedAt uint64 // this ledger's time then
	InFlight   uint64 // size classes of open holds, minor units
	Claims     uint64 // size classes of holds that the peer decided against an override, minor units
	Terms      *entry.CorridorTerms
}

// Corridors gives all corridors, ascending by the peer's genesis hash.
func (c *Client) Corridors(ctx context.Context) ([]Corridor, error) {
	got, err := read(ctx, "list corridors", func(ctx context.Context) (*ledgerv1.ListCorridorsResponse, error) {
		return c.rpc.ListCorridors(ctx, &ledgerv1.ListCorridorsRequest{})
	})
	if err != nil {
		return nil, err
	}
	states := map[ledgerv1.CorridorState]CorridorState{ledgerv1.CorridorState_CORRIDOR_STATE_ACTIVE: CorridorActive,
		ledgerv1.CorridorState_CORRIDOR_STATE_STALE: CorridorStale, ledgerv1.CorridorState_CORRIDOR_STATE_FROZEN: CorridorFrozen}
	out := make([]Corridor, len(got.GetCorridors()))
	for i, m := range got.GetCorridors() {
		terms, rest, err := entry.ParseCorridorTerms(m.GetTerms())
		if err == nil && len(rest) != 0 {
			err = errors.New("trailing bytes")
		}
		if err != nil {
			return nil, wallets.Refuse(wallets.LedgerLied, "the terms of a corridor: %v", err)
		}
		if len(m.GetPeer()) != 32 || len(m.GetRoot()) != 32 || len(m.GetLogKey()) != 32 || states[m.GetState()] == "" {
			return nil, wallets.Refuse(wallets.LedgerLied, "a corridor with a peer of %d bytes, a root of %d, a log key of %d and the state %v",
				len(m.GetPeer()), len(m.GetRoot()), len(m.GetLogKey()), m.GetState())
		}
		out[i] = Corridor{Peer: entry.GenesisHash(m.GetPeer()), State: states[m.GetState()], Why: m.GetWhy(), LogKey: entry.SignerKey(m.GetLogKey()),
			Rotations: m.GetRotations(), Size: m.GetSize(), Root: [32]byte(m.GetRoot()), PeerTime: m.GetPeerMillis(), ObservedAt: m.GetObservedMillis(),
			InFlight: m.GetInFlight(), Claims: m.GetClaims(), Terms: terms}
	}
	return out, nil
}
