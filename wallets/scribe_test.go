package wallets

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"slices"
	"testing"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
	"github.com/comity-ledger/comity/zk/prover"
	"github.com/comity-ledger/comity/zk/tree"
)

// native checks every statement of a leg and makes no proof.
type native struct{}

func (native) Check(w zk.LegWitness) error                                  { return prover.Check(w) }
func (native) Prove(context.Context, zk.LegWitness) (p zk.Proof, err error) { return p, nil }

// scribe writes blocks as a ledger would, with its own model of where commitments lie. It judges nothing.
type scribe struct {
	t        testing.TB
	genesis  *entry.Genesis
	blocks   []*Block
	size     uint64
	now      uint64
	frontier *tree.Frontier
	registry registry
	readers  readers
	keys     uint64
	holds    uint32
	sequence uint64
	issued   zk.Amount
	pending  []entry.Entry
	segments [][]byte
	wallets  map[string]*State
}

func newScribe(t testing.TB) *scribe {
	g := testGenesis()
	for _, id := range []zk.CircuitID{zk.Hold, zk.Disburse16, zk.Disburse64, zk.Consolidate} {
		g.Circuits = append(g.Circuits, entry.Circuit{ID: id, Version: 1, Fingerprint: [32]byte{byte(id)}})
	}
	oversight := must(zk.NewScalar(&stream{name: "oversight"}))
	g.OversightPossession = entry.ProvePossession(oversight, entry.OversightPossession(g.DraftHash(), entry.GenesisOversightEpoch), &stream{name: "n"})
	s := &scribe{t: t, genesis: g, now: g.CreatedMillis, frontier: tree.NewFrontier(), registry: newRegistry(), readers: newReaders(), sequence: 1,
		wallets: map[string]*State{}}
	s.pending = []entry.Entry{g}
	s.close()
	return s
}

func (s *scribe) wallet(name string) keys.Wallet { return testKeys(s.genesis, name) }

// add puts an entry into the next block; a privileged one is signed.
func (s *scribe) add(e entry.Entry, segments ...[]byte) {
	head := e.Head()
	head.Ledger = s.genesis.Hash()
	if head.ExpiryMillis == 0 {
		head.ExpiryMillis = s.now + 60000
	}
	if e.Kind().Privileged() {
		head.Sequence = s.sequence
		s.sequence++
		h := sha256.Sum256([]byte("s"))
		head.Signatures = []entry.PolicySignature{must(s.genesis.Policy.SignAuthorisation(ed25519.NewKeyFromSeed(h[:]), entry.IDOf(e)))}
	}
	s.pending = append(s.pending, e)
	s.segments = append(s.segments, segments...)
}

// close writes the block.
func (s *scribe) close(tamper ...func(*entry.State)) {
	s.t.Helper()
	s.now += 1000
	b := &Block{Height: uint64(len(s.blocks)), TimeMillis: s.now, FirstIndex: s.size, Segments: s.segments}
	var singles []zk.Commitment
	for level := 4; level > 0; level-- {
		aligned := false
		for _, e := range s.pending {
			tx, ok := e.(*entry.Transaction)
			if !ok {
				continue
			}
			for i := range tx.Legs {
				if tx.Legs[i].Circuit.Shape().SubtreeLevel != level {
					continue
				}
				if !aligned {
					aligned = true
					must(0, s.frontier.Align(level))
				}
				must(0, s.frontier.AppendSubtree(tx.Legs[i].SubtreeRoot.Element(), level))
			}
		}
	}
	for _, e := range s.pending {
		b.Entries = append(b.Entries, entry.Encode(e))
		s.keys += uint64(len(entry.Keys(e)))
		switch e := e.(type) {
		case *entry.Transaction:
			for i := range e.Legs {
				switch l := &e.Legs[i]; l.Circuit {
				case zk.Transfer, zk.Consolidate:
					singles = append(singles, l.Commitments...)
				case zk.Hold:
					singles = append(singles, l.Commitments[1])
					s.holds++
				}
				s.issued += e.Legs[i].Issued
			}
		case *entry.Resolve:
			singles = append(singles, e.Commitment)
			s.holds--
		case *entry.Override:
			singles = append(singles, e.Commitment)
			s.holds--
		case *entry.Register:
			must(0, s.registry.register(e, zk.Owner{}))
		}
	}
	for _, cm := range singles {
		must(0, s.frontier.Append(cm.Element()))
	}
	st := &entry.State{Height: b.Height, TimeMillis: s.now, TreeSize: s.frontier.Size(), NoteRoot: s.frontier.Root(), RegistryRoot: s.registry.tree.Root(),
		ReadersRoot: s.readers.tree.Root(), RegistryLeaves: uint32(len(s.registry.rows)), OversightEpoch: 1, PolicyHash: s.genesis.Policy.Hash(),
		CircuitsHash: s.genesis.CircuitsHash(), Nullifiers: s.keys, NextSequence: s.sequence, Holds: s.holds, CorridorsHash: [32]byte{7},
		Supply: []entry.Supply{{Asset: 1, Issued: s.issued}}}
	for _, f := range tamper {
		f(st)
	}
	b.Entries = append(b.Entries, entry.Encode(st))
	s.blocks, s.size = append(s.blocks, b), s.size+uint64(len(b.Entries))
	s.pending, s.segments = nil, nil
}

// read is the state of a wallet that has read every block; it is kept and read on.
func (s *scribe) read(k keys.Wallet) *State {
	s.t.Helper()
	st, err := s.try(k)
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

func (s *scribe) try(k keys.Wallet) (*State, error) {
	name := k.Owner().String()
	if s.wallets[name] == nil {
		s.wallets[name] = NewState(s.genesis, k.FullView())
	}
	st := s.wallets[name]
	for st.NextHeight() < uint64(len(s.blocks)) {
		if err := st.Apply(Scan(k.IncomingView(), s.blocks[st.NextHeight()])); err != nil {
			return st, err
		}
	}
	return st, nil
}

// restore reads everything with nothing but the keys.
func (s *scribe) restore(k keys.Wallet) *State {
	delete(s.wallets, k.Owner().String())
	return s.read(k)
}

func (s *scribe) builder(k keys.Wallet, seed string) *Builder {
	return &Builder{State: s.read(k), Keys: k, Rand: &stream{name: seed}, NowMillis: s.now}
}

// settle proves a draft natively and puts it into the next block.
func (s *scribe) settle(d *Draft) {
	s.t.Helper()
	if err := d.Prove(s.t.Context(), native{}, nil); err != nil {
		s.t.Fatal(err)
	}
	s.add(d.Tx, d.Segments...)
}

func (s *scribe) register(k keys.Wallet, limit zk.Amount) {
	s.add(&entry.Register{Owners: []entry.Registration{{Owner: k.Owner(), Limit: limit}}})
	s.close()
}

func (s *scribe) issue(k keys.Wallet, amounts ...zk.Amount) {
	s.t.Helper()
	for _, a := range amounts {
		d := must(s.builder(k, "issue "+a.Format(0)+string(rune(len(s.blocks)))).BuildIssue(1, 0, a, 0))
		s.settle(d)
		s.close()
	}
}

func (s *scribe) order(id string, to keys.Wallet, amount zk.Amount) *Order {
	return &Order{ID: id, To: to.Address(s.genesis.Prefix, s.genesis.Hash()).String(), Asset: 1, Amount: amount, Reference: "for " + id, Held: true}
}

// attested is a local condition that nobody but the clock touches in these tests.
func (s *scribe) attested(name string) entry.Condition {
	h := sha256.Sum256([]byte(name))
	key := must(entry.SignerKeyOf(ed25519.NewKeyFromSeed(h[:]).Public().(ed25519.PublicKey)))
	return (&entry.Attested{Until: s.now + 1_000_000, Statement: entry.StatementDelivery, Threshold: 1, Attestors: []entry.SignerKey{key}}).Condition()
}

// hold reserves, builds and puts a local hold into the next block.
func (s *scribe) hold(k keys.Wallet, o *Order) *Draft {
	s.t.Helper()
	b := s.builder(k, "hold "+o.ID)
	h, merge, err := b.ReserveHold(must(NewOutbox(nil)), o)
	if err != nil || merge != nil {
		s.t.Fatalf("%v, %d merges", err, len(merge))
	}
	d := must(b.BuildHold(h, s.attested("a"), entry.LocalSizeClass, 0))
	s.settle(d)
	return d
}

func (s *scribe) resolve(id entry.HoldID, outcome entry.Outcome, cm zk.Commitment) *entry.Resolve {
	e := &entry.Resolve{Hold: id, Outcome: outcome, Reason: entry.ReasonAttested, Commitment: cm}
	if outcome == entry.Voided {
		e.Reason = entry.ReasonExpired
	}
	s.add(e)
	return e
}

func balance(st *State) (sum zk.Amount) {
	all, _ := st.Balances(must(NewOutbox(nil)))
	for _, b := range all {
		sum += b.Amount
	}
	return sum
}

func directions(st *State) (out []Direction) {
	for _, m := range st.History() {
		out = append(out, m.Direction)
	}
	return out
}

func wantDirections(t *testing.T, st *State, want ...Direction) {
	t.Helper()
	if got := directions(st); !slices.Equal(got, want) {
		t.Fatalf("history %v, want %v", got, want)
	}
}
