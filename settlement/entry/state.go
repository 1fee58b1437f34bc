package entry

import (
	"github.com/comity-ledger/comity/zk"
)

// GenesisOversightEpoch is the epoch of the oversight key that genesis holds. Epoch 0 is none.
const GenesisOversightEpoch = 1

// A State entry ends every block. It puts the roots into the log, where witnesses and auditors recompute them.
type State struct {
	Height         uint64
	TimeMillis     uint64 // ledger time, milliseconds since the Unix epoch; never less than the block before
	Tree           uint16 // the note tree that takes the next output
	TreeSize       uint32 // its leaves
	NoteRoot       zk.Root
	RegistryRoot   zk.Root
	ReadersRoot    zk.Root
	RegistryLeaves uint32
	OversightEpoch uint32
	PolicyHash     [32]byte // Policy.Hash
	CircuitsHash   [32]byte // Genesis.CircuitsHash
	Nullifiers     uint64   // once-only keys used up so far: nullifiers, dummies included, and those of holds and documents
	NextSequence   uint64   // policy sequence number of the next privileged entry
	Holds          uint32   // open holds
	CorridorsHash  [32]byte // of all corridors and what they observed
	Supply         []Supply // every asset of genesis, ascending by id
}

// Supply is what was ever issued and redeemed of one asset, in minor units. Issued - Redeemed is the counter of the pool.
type Supply struct {
	Asset            zk.AssetID
	Issued, Redeemed zk.Amount
}

// Kind returns KindState.
func (*State) Kind() Kind { return KindState }

// Head returns nil: the ledger writes state entries, no client sends one.
func (*State) Head() *Header { return nil }

// AppendWitness appends nothing.
func (*State) AppendWitness(dst []byte) []byte { return dst }

// AppendEffecting appends the entry's bytes.
func (s *State) AppendEffecting(dst []byte) []byte {
	dst = append(dst, Version, byte(KindState))
	dst = put64(put64(dst, s.Height), s.TimeMillis)
	dst = put32(put16(dst, s.Tree), s.TreeSize)
	dst = append(dst, s.NoteRoot[:]...)
	dst = append(dst, s.RegistryRoot[:]...)
	dst = append(dst, s.ReadersRoot[:]...)
	dst = put32(put32(dst, s.RegistryLeaves), s.OversightEpoch)
	dst = append(append(dst, s.PolicyHash[:]...), s.CircuitsHash[:]...)
	dst = put64(put64(dst, s.Nullifiers), s.NextSequence)
	dst = append(put32(dst, s.Holds), s.CorridorsHash[:]...)
	dst = put16(dst, uint16(len(s.Supply)))
	for _, a := range s.Supply {
		dst = put64(put64(put32(dst, uint32(a.Asset)), uint64(a.Issued)), uint64(a.Redeemed))
	}
	return dst
}

// DecodeState reads a state entry.
func DecodeState(b []byte) (*State, error) {
	if err := wantKind(b, KindState); err != nil {
		return nil, err
	}
	r := reader{b: b[2:]}
	s := &State{
		Height: r.u64(), TimeMillis: r.u64(), Tree: r.u16(), TreeSize: r.u32(),
		NoteRoot: zk.Root(r.field()), RegistryRoot: zk.Root(r.field()), ReadersRoot: zk.Root(r.field()),
		RegistryLeaves: r.u32(), OversightEpoch: r.u32(),
		PolicyHash: r.bytes32(), CircuitsHash: r.bytes32(),
		Nullifiers: r.u64(), NextSequence: r.u64(), Holds: r.u32(), CorridorsHash: r.bytes32(),
	}
	n := int(r.u16())
	if n > MaxAssets {
		r.fail(Refuse(Malformed, "%d assets, at most %d", n, MaxAssets))
	}
	if n > 0 && r.has(n*20) {
		s.Supply = make([]Supply, n)
		for i := range s.Supply {
			s.Supply[i] = Supply{zk.AssetID(r.u32()), zk.Amount(r.u64()), zk.Amount(r.u64())}
		}
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	return s, nil
}

// Validate checks the order of the supply table and that nothing was redeemed that was never issued.
func (s *State) Validate() error {
	if len(s.Supply) > MaxAssets {
		return Refuse(Malformed, "%d assets, at most %d", len(s.Supply), MaxAssets)
	}
	for i, a := range s.Supply {
		if a.Asset == 0 || i > 0 && a.Asset <= s.Supply[i-1].Asset {
			return Refuse(NonCanonical, "the supply table is not ascending by asset")
		}
		if a.Redeemed > a.Issued {
			return Refuse(SupplyNegative, "asset %d: %d redeemed, %d issued", a.Asset, a.Redeemed, a.Issued)
		}
	}
	return nil
}

func wantKind(b []byte, want Kind) error {
	k, err := KindOf(b)
	if err != nil {
		return err
	}
	if k != want {
		return Refuse(UnknownKind, "a %s entry where a %s entry belongs", k, want)
	}
	return nil
}
