package client

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"testing"
	"time"

	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/proto/gen/comity/ledger/v1/ledgerv1connect"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/zk"
)

// shelf is a ledger of holds, corridors and paths that a test puts into it.
type shelf struct {
	ledgerv1connect.UnimplementedLedgerServiceHandler
	holds     []*ledgerv1.Hold
	page      int // holds in a page
	stuck     bool
	decided   *ledgerv1.GetHoldResponse
	corridors []*ledgerv1.Corridor
	path      [][]byte
	asked     *ledgerv1.GetCheckpointRequest
	key       []byte
}

func (s *shelf) GetHold(_ context.Context, r *ledgerv1.GetHoldRequest) (*ledgerv1.GetHoldResponse, error) {
	if s.decided != nil {
		return s.decided, nil
	}
	for _, h := range s.holds {
		if bytes.Equal(h.GetId().GetTransaction(), r.GetId().GetTransaction()) {
			return &ledgerv1.GetHoldResponse{Hold: h}, nil
		}
	}
	return nil, refusal("not_found")
}

func (s *shelf) ListHolds(_ context.Context, r *ledgerv1.ListHoldsRequest) (*ledgerv1.ListHoldsResponse, error) {
	out := &ledgerv1.ListHoldsResponse{}
	for _, h := range s.holds {
		if r.GetAfter() != nil && !s.stuck && bytes.Compare(h.GetId().GetTransaction(), r.GetAfter().GetTransaction()) <= 0 {
			continue
		}
		if len(out.Holds) == s.page {
			out.More = true
			break
		}
		out.Holds = append(out.Holds, h)
	}
	return out, nil
}

func (s *shelf) ListCorridors(context.Context, *ledgerv1.ListCorridorsRequest) (*ledgerv1.ListCorridorsResponse, error) {
	return &ledgerv1.ListCorridorsResponse{Corridors: s.corridors}, nil
}

func (s *shelf) GetEntry(_ context.Context, r *ledgerv1.GetEntryRequest) (*ledgerv1.GetEntryResponse, error) {
	if r.GetEntryIndex() != 7 {
		return nil, refusal("not_found")
	}
	return &ledgerv1.GetEntryResponse{Entry: []byte("leaf"), Height: 3}, nil
}

func (s *shelf) GetInclusion(_ context.Context, r *ledgerv1.GetInclusionRequest) (*ledgerv1.GetInclusionResponse, error) {
	if r.GetEntryIndex() != 7 || r.GetSize() != 9 {
		return nil, refusal("not_found")
	}
	return &ledgerv1.GetInclusionResponse{Path: s.path}, nil
}

func (s *shelf) GetConsistency(_ context.Context, r *ledgerv1.GetConsistencyRequest) (*ledgerv1.GetConsistencyResponse, error) {
	if r.GetOldSize() != 7 || r.GetNewSize() != 9 {
		return nil, refusal("not_found")
	}
	return &ledgerv1.GetConsistencyResponse{Path: s.path}, nil
}

func (s *shelf) GetCheckpoint(_ context.Context, r *ledgerv1.GetCheckpointRequest) (*ledgerv1.GetCheckpointResponse, error) {
	s.asked = r
	if r.GetMinSize() > 10 {
		return nil, refusal("try_later")
	}
	return &ledgerv1.GetCheckpointResponse{Checkpoint: []byte("note"), Size: 10}, nil
}

func (s *shelf) GetReceipt(_ context.Context, r *ledgerv1.GetReceiptRequest) (*ledgerv1.GetReceiptResponse, error) {
	s.key = r.GetKey()
	return &ledgerv1.GetReceiptResponse{Receipt: []byte("receipt")}, nil
}

func held(n byte) *ledgerv1.Hold {
	condition := (&entry.DecidedThere{Ledger: entry.GenesisHash{1}, Hold: entry.HoldID{Tx: entry.ID{2}}, Until: 9}).Condition()
	return &ledgerv1.Hold{Id: &ledgerv1.HoldId{Transaction: append([]byte{n}, make([]byte, 31)...), Leg: 1}, EntryIndex: uint64(n), PlacedMillis: 5,
		Commitment: bytes.Repeat([]byte{3}, 32), ReturnCommitment: bytes.Repeat([]byte{4}, 32), Document: make([]byte, 32), SizeClass: 100,
		ConditionType: uint32(condition.Type), Condition: condition.Bytes, UntilMillis: 6, Attested: []uint32{0, 2}, ReadyMillis: 7, Challenged: true}
}

func TestHoldsComeInPages(t *testing.T) {
	s := &shelf{page: 3}
	for n := range byte(10) {
		s.holds = append(s.holds, held(n))
	}
	c := serve(t, s)
	got, err := c.Holds(t.Context())
	if err != nil || len(got) != 10 {
		t.Fatalf("%d holds, %v", len(got), err)
	}
	h := got[9]
	if h.ID != (entry.HoldID{Tx: entry.ID{9}, Leg: 1}) || h.Entry != 9 || h.PlacedAt != 5 || h.Commitment[0] != 3 || h.Return[0] != 4 || h.SizeClass != 100 ||
		h.Condition.Type != entry.ConditionDecidedThere || h.Until != 6 || len(h.Attested) != 2 || h.ReadyAt != 7 || !h.Challenged {
		t.Fatalf("%+v", h)
	}
	if one, done, err := c.Hold(t.Context(), h.ID); err != nil || done != nil || one.ID != h.ID {
		t.Fatalf("%+v %+v %v", one, done, err)
	}
	if _, _, err := c.Hold(t.Context(), entry.HoldID{Tx: entry.ID{9}}); wallets.CodeOf(err) != wallets.LedgerLied {
		t.Fatalf("another leg: %v", err)
	}
	if _, _, err := c.Hold(t.Context(), entry.HoldID{Tx: entry.ID{99}}); entry.CodeOf(err) != "not_found" {
		t.Fatalf("no such hold: %v", err)
	}
	s.decided = &ledgerv1.GetHoldResponse{Outcome: ledgerv1.HoldOutcome_HOLD_OUTCOME_VOIDED, ResolvedIndex: 8}
	if one, done, err := c.Hold(t.Context(), h.ID); err != nil || one != nil || *done != (Resolution{entry.Voided, 8}) {
		t.Fatalf("%+v %+v %v", one, done, err)
	}
	s.decided = &ledgerv1.GetHoldResponse{} // neither open nor decided
	if _, _, err := c.Hold(t.Context(), h.ID); wallets.CodeOf(err) != wallets.LedgerLied {
		t.Fatalf("%v", err)
	}
}

func TestListsThatCannotBeTrueAreLies(t *testing.T) {
	for name, change := range map[string]func(*shelf){
		"a page again and again":   func(s *shelf) { s.stuck = true },
		"empty pages for ever":     func(s *shelf) { s.page = 0 },
		"a short id":               func(s *shelf) { s.holds[0].Id.Transaction = []byte{1} },
		"no id":                    func(s *shelf) { s.holds[0].Id = nil },
		"a short commitment":       func(s *shelf) { s.holds[0].Commitment = nil },
		"a leg that cannot be":     func(s *shelf) { s.holds[0].Id.Leg = 4 },
		"a leg of 256":             func(s *shelf) { s.holds[0].Id.Leg = 256 },
		"a condition of no type":   func(s *shelf) { s.holds[0].ConditionType = 9 },
		"a condition of type 258":  func(s *shelf) { s.holds[0].ConditionType += 256 },
		"a condition that is none": func(s *shelf) { s.holds[0].Condition = []byte{1} },
		"an attestor of no place":  func(s *shelf) { s.holds[0].Attested = []uint32{16} },
	} {
		s := &shelf{page: 2, holds: []*ledgerv1.Hold{held(1), held(2), held(3)}}
		change(s)
		if got, err := serve(t, s).Holds(t.Context()); wallets.CodeOf(err) != wallets.LedgerLied {
			t.Errorf("%s: %d holds, %v", name, len(got), err)
		}
	}
}

func TestCorridorsKeepTheirTerms(t *testing.T) {
	key := func(n byte) entry.SignerKey {
		return entry.SignerKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, 32)).Public().(ed25519.PublicKey))
	}
	terms := &entry.CorridorTerms{Name: "Borealis", Origin: "ledger.borealis.example/log", LogKey: key(1), Quorum: 1,
		Witnesses: []entry.CorridorWitness{{Name: "w1.aurelia.example", Key: key(2), Own: true}}, Treasury: entry.Policy{Threshold: 1, Signers: []entry.SignerKey{key(3)}},
		Cap: 1000, SizeClasses: []uint64{10, 100}, StaleMillis: 60000}
	if err := terms.Validate(); err != nil {
		t.Fatal(err)
	}
	row := func() *ledgerv1.Corridor {
		return &ledgerv1.Corridor{Peer: bytes.Repeat([]byte{7}, 32), State: ledgerv1.CorridorState_CORRIDOR_STATE_FROZEN, Why: "fork", Size: 9, PeerMillis: 8,
			ObservedMillis: 6, InFlight: 110, Claims: 1, Terms: terms.Append(nil), Root: bytes.Repeat([]byte{5}, 32), LogKey: bytes.Repeat([]byte{4}, 32), Rotations: 3}
	}
	got, err := serve(t, &shelf{corridors: []*ledgerv1.Corridor{row()}}).Corridors(t.Context())
	if err != nil || len(got) != 1 {
		t.Fatalf("%v, %v", got, err)
	}
	if c := got[0]; c.Peer[0] != 7 || c.State != CorridorFrozen || c.Why != "fork" || c.Size != 9 || c.PeerTime != 8 || c.ObservedAt != 6 || c.InFlight != 110 || c.Claims != 1 ||
		c.Root[31] != 5 || c.LogKey[0] != 4 || c.Rotations != 3 ||
		!bytes.Equal(c.Terms.Append(nil), terms.Append(nil)) {
		t.Fatalf("%+v", c)
	}
	for name, change := range map[string]func(*ledgerv1.Corridor){
		"a short peer":    func(c *ledgerv1.Corridor) { c.Peer = nil },
		"no root":         func(c *ledgerv1.Corridor) { c.Root = nil },
		"a long log key":  func(c *ledgerv1.Corridor) { c.LogKey = make([]byte, 33) },
		"no state":        func(c *ledgerv1.Corridor) { c.State = 0 },
		"a state of none": func(c *ledgerv1.Corridor) { c.State = 9 },
		"no terms":        func(c *ledgerv1.Corridor) { c.Terms = nil },
		"trailing bytes":  func(c *ledgerv1.Corridor) { c.Terms = append(c.Terms, 0) },
	} {
		c := row()
		change(c)
		if _, err := serve(t, &shelf{corridors: []*ledgerv1.Corridor{c}}).Corridors(t.Context()); wallets.CodeOf(err) != wallets.LedgerLied {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestProofsAreFetchedAndMisshapenOnesAreLies(t *testing.T) {
	s := &shelf{path: [][]byte{bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)}}
	c := serve(t, s)
	if leaf, err := c.Entry(t.Context(), 7); err != nil || string(leaf) != "leaf" {
		t.Fatalf("%q %v", leaf, err)
	}
	if _, err := c.Entry(t.Context(), 8); entry.CodeOf(err) != "not_found" {
		t.Fatalf("%v", err)
	}
	if got, err := c.Inclusion(t.Context(), 7, 9); err != nil || len(got) != 2 || got[1][31] != 2 {
		t.Fatalf("%v %v", got, err)
	}
	if got, err := c.Consistency(t.Context(), 7, 9); err != nil || len(got) != 2 || got[0][0] != 1 {
		t.Fatalf("%v %v", got, err)
	}
	for name, bad := range map[string][][]byte{"a short hash": {{1}}, "a path without end": make([][]byte, 65)} {
		s.path = bad
		if _, err := c.Inclusion(t.Context(), 7, 9); wallets.CodeOf(err) != wallets.LedgerLied {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := c.Consistency(t.Context(), 7, 9); wallets.CodeOf(err) != wallets.LedgerLied {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckpointsAreWaitedForByTheLedger(t *testing.T) {
	s := &shelf{}
	c := serve(t, s)
	if note, size, err := c.WaitCheckpoint(t.Context(), 10, 5*time.Second, "w1", "w2"); err != nil || string(note) != "note" || size != 10 {
		t.Fatalf("%q %d %v", note, size, err)
	}
	if s.asked.GetMinSize() != 10 || s.asked.GetWaitMillis() != 5000 || len(s.asked.GetWitnesses()) != 1 || len(s.asked.GetWitnesses()[0].GetNames()) != 2 {
		t.Fatalf("%v", s.asked)
	}
	terms := &entry.CorridorTerms{Quorum: 2, Witnesses: []entry.CorridorWitness{{Name: "w1"}, {Name: "w2", Own: true}, {Name: "w3"}}}
	if _, size, err := c.WaitCheckpointFor(t.Context(), 9, time.Second, terms); err != nil || size != 10 {
		t.Fatalf("%d %v", size, err)
	}
	if sets := s.asked.GetWitnesses(); len(sets) != 2 || sets[0].GetAtLeast() != 2 || len(sets[0].GetNames()) != 3 || sets[1].GetAtLeast() != 1 || sets[1].GetNames()[0] != "w2" {
		t.Fatalf("%v", sets)
	}
	if _, _, err := c.WaitCheckpoint(t.Context(), 0, time.Hour); err != nil || s.asked.GetMinSize() != 1 || s.asked.GetWaitMillis() != 30000 || len(s.asked.GetWitnesses()) != 0 {
		t.Fatalf("%v %v", s.asked, err) // a size of 0 would not wait at all
	}
	if _, _, err := c.WaitCheckpoint(t.Context(), 11, 0); entry.CodeOf(err) != entry.TryLater {
		t.Fatalf("%v", err)
	}
	key := entry.HoldID{Tx: entry.ID{5}}.Key()
	if got, err := c.ReceiptOf(t.Context(), key, time.Second); err != nil || string(got) != "receipt" || zk.Nullifier(s.key) != key {
		t.Fatalf("%q %v", got, err)
	}
}
