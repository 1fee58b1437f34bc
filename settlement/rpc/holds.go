package rpc

import (
	"context"
	"fmt"

	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// maxHolds is how many holds one page of ListHolds has where the request names no number, and the most that the schema lets one name.
const maxHolds = 1024

func (h *handlers) GetHold(ctx context.Context, req *ledgerv1.GetHoldRequest) (*ledgerv1.GetHoldResponse, error) {
	id := holdID(req.GetId())
	if hold, open := h.ledger.Hold(id); open {
		return &ledgerv1.GetHoldResponse{Hold: holdMessage(&hold)}, nil
	}
	outcome, index, err := h.resolution(ctx, id)
	if err != nil {
		return nil, h.fail(ctx, "find hold", err)
	}
	return &ledgerv1.GetHoldResponse{Outcome: outcome, ResolvedIndex: index}, nil
}

// resolution finds what decided a hold by the key that deciding uses up.
func (h *handlers) resolution(ctx context.Context, id entry.HoldID) (ledgerv1.HoldOutcome, uint64, error) {
	hits, err := h.ledger.Spent(ctx, []zk.Nullifier{id.Key()})
	if err != nil {
		return 0, 0, err
	}
	if !hits[0].Found {
		return 0, 0, entry.Refuse(CodeNotFound, "the log holds no hold %s", id)
	}
	leaf, _, err := h.ledger.Entry(ctx, hits[0].EntryIndex)
	if err != nil {
		return 0, 0, err
	}
	decoded, err := entry.Decode(leaf)
	if err != nil {
		return 0, 0, fmt.Errorf("entry %d: %w", hits[0].EntryIndex, settlement.ErrStoreCorrupt)
	}
	var outcome entry.Outcome
	switch e := decoded.(type) {
	case *entry.Resolve:
		outcome = e.Outcome
	case *entry.Override:
		outcome = e.Outcome
	default:
		return 0, 0, fmt.Errorf("entry %d used the key of hold %s: %w", hits[0].EntryIndex, id, settlement.ErrStoreCorrupt)
	}
	if outcome == entry.Posted {
		return ledgerv1.HoldOutcome_HOLD_OUTCOME_POSTED, hits[0].EntryIndex, nil
	}
	return ledgerv1.HoldOutcome_HOLD_OUTCOME_VOIDED, hits[0].EntryIndex, nil
}

func (h *handlers) ListHolds(_ context.Context, req *ledgerv1.ListHoldsRequest) (*ledgerv1.ListHoldsResponse, error) {
	var after entry.HoldID
	if req.GetAfter() != nil {
		after = holdID(req.GetAfter())
	}
	limit := int(req.GetLimit())
	if limit == 0 {
		limit = maxHolds
	}
	holds, more, height := h.ledger.HoldsAfter(after, limit)
	out := &ledgerv1.ListHoldsResponse{Holds: make([]*ledgerv1.Hold, len(holds)), More: more, Height: height}
	for i := range holds {
		out.Holds[i] = holdMessage(&holds[i])
	}
	return out, nil
}

// holdID reads the name of a hold, whose lengths the schema has checked.
func holdID(m *ledgerv1.HoldId) entry.HoldID {
	return entry.HoldID{Tx: entry.ID(m.GetTransaction()), Leg: uint8(m.GetLeg())}
}

func holdMessage(h *settlement.Hold) *ledgerv1.Hold {
	m := &ledgerv1.Hold{
		Id: &ledgerv1.HoldId{Transaction: h.ID.Tx[:], Leg: uint32(h.ID.Leg)}, EntryIndex: h.Entry, PlacedMillis: h.PlacedAt,
		Commitment: h.Commitment[:], ReturnCommitment: h.Return[:], SizeClass: h.SizeClass,
		ConditionType: uint32(h.Condition.Type), Condition: h.Condition.Bytes, UntilMillis: h.Until,
		ReadyMillis: h.ReadyAt, Challenged: h.Challenged, Document: h.Document[:],
	}
	for _, a := range h.Attested {
		m.Attested = append(m.Attested, uint32(a))
	}
	return m
}

var corridorStates = map[string]ledgerv1.CorridorState{
	settlement.CorridorActive: ledgerv1.CorridorState_CORRIDOR_STATE_ACTIVE,
	settlement.CorridorStale:  ledgerv1.CorridorState_CORRIDOR_STATE_STALE,
	settlement.CorridorFrozen: ledgerv1.CorridorState_CORRIDOR_STATE_FROZEN,
}

func (h *handlers) ListCorridors(context.Context, *ledgerv1.ListCorridorsRequest) (*ledgerv1.ListCorridorsResponse, error) {
	corridors := h.ledger.Corridors()
	out := &ledgerv1.ListCorridorsResponse{Corridors: make([]*ledgerv1.Corridor, len(corridors))}
	for i := range corridors {
		c := &corridors[i]
		out.Corridors[i] = &ledgerv1.Corridor{
			Peer: c.Peer[:], Name: c.Name, Origin: c.Origin, State: corridorStates[c.State], Why: c.Why,
			Size: c.Size, Root: c.Root[:], PeerMillis: c.PeerTime, ObservedMillis: c.ObservedAt, InFlight: c.InFlight, Cap: c.Cap,
			SizeClasses: c.SizeClasses, StaleMillis: c.Terms.StaleMillis, Claims: c.Claims, Terms: c.Terms.Append(nil),
			LogKey: c.LogKey[:], Rotations: c.Rotations,
		}
	}
	return out, nil
}
