package zk

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"
)

// LegPublic is everything public that a leg's proof speaks about. All sides build the public inputs from it with AppendInputs,
// so that there is one order.
type LegPublic struct {
	Circuit          CircuitID
	NoteRoot         Root
	Tree             uint16 // number of the note tree that NoteRoot belongs to
	RegistryRoot     Root
	ReadersRoot      Root
	OversightKey     Point
	Ctx              Field // digest of the effecting data
	Asset            AssetID
	Programme        ProgrammeID
	Issued, Redeemed Amount
	Epk              [2]Field // e*G, proven in the circuit; may be the identity
	Wrap             Field    // the keystream key, wrapped to the programme's reader
	Sender           []Field  // 2, or 3 with more than 7 inputs
	Nullifiers       []Nullifier
	Commitments      []Commitment
	Cipher           [][2]Field // per output c0, c1
	SubtreeRoot      Root       // disbursements
	ReturnCommitment Commitment // holds
	SizeClass        uint64     // holds; LocalHold when local
}

// ErrShape refuses a leg whose lists do not have the circuit's lengths.
var ErrShape = errors.New("leg does not have the shape of its circuit")

// CheckShape compares the lists of the leg with its circuit.
func (l *LegPublic) CheckShape() error {
	s := l.Circuit.Shape()
	if s.Inputs == 0 {
		return fmt.Errorf("%w: unknown %v", ErrShape, l.Circuit)
	}
	if len(l.Sender) != s.SenderFields() || len(l.Nullifiers) != s.Inputs || len(l.Commitments) != s.Outputs || len(l.Cipher) != s.Outputs {
		return fmt.Errorf("%w: %v with %d sender fields, %d nullifiers, %d commitments, %d ciphertexts", ErrShape, l.Circuit,
			len(l.Sender), len(l.Nullifiers), len(l.Commitments), len(l.Cipher))
	}
	return nil
}

// AppendInputs appends the public inputs in the order of Z2.10. A leg that passes CheckShape appends NumInputs elements.
func (l *LegPublic) AppendInputs(dst []fr.Element) []fr.Element {
	kx, ky := l.OversightKey.XY()
	dst = append(dst,
		l.NoteRoot.Element(), fr.NewElement(uint64(l.Tree)), l.RegistryRoot.Element(), l.ReadersRoot.Element(), kx, ky, l.Ctx.Element(),
		fr.NewElement(uint64(l.Asset)), fr.NewElement(uint64(l.Programme)), fr.NewElement(uint64(l.Issued)), fr.NewElement(uint64(l.Redeemed)),
		l.Epk[0].Element(), l.Epk[1].Element(), l.Wrap.Element())
	for _, f := range l.Sender {
		dst = append(dst, f.Element())
	}
	for _, n := range l.Nullifiers {
		dst = append(dst, n.Element())
	}
	for _, c := range l.Commitments {
		dst = append(dst, c.Element())
	}
	for _, c := range l.Cipher {
		dst = append(dst, c[0].Element(), c[1].Element())
	}
	s := l.Circuit.Shape()
	if s.SubtreeLevel > 0 {
		dst = append(dst, l.SubtreeRoot.Element())
	}
	if s.Held {
		dst = append(dst, l.ReturnCommitment.Element(), fr.NewElement(l.SizeClass))
	}
	return dst
}

// InputWitness is one input of a leg. A dummy has value 0 and any path, its membership switched off; its nullifier follows the same
// formula as any other.
type InputWitness struct {
	Note  Note
	Index uint32 // what the path's digits spell
	Path  Path
}

// Slot is what the sender's part of the oversight ciphertext says of the input: 0 for a dummy (value 0), index + 1 for any
// other. The circuit computes it the same way, so that an auditor knows exactly which notes a leg spent (Z2.11).
func (w InputWitness) Slot() uint32 {
	if w.Note.Value == 0 {
		return 0
	}
	return w.Index + 1
}

// PackSlots packs 32-bit input slots, seven to a field, the first lowest (Z2.11). It returns one field, or two for more than
// seven slots.
func PackSlots(slots []uint32) []fr.Element {
	var out []fr.Element
	for len(slots) > 0 {
		n := min(len(slots), slotsPerLane)
		var b [32]byte
		for i, s := range slots[:n] {
			binary.BigEndian.PutUint32(b[28-4*i:], s)
		}
		var e fr.Element
		e.SetBytes(b[:])
		out = append(out, e)
		slots = slots[n:]
	}
	return out
}

// ErrSlots refuses fields that pack no input slots.
var ErrSlots = errors.New("not packed input slots")

// UnpackSlots splits the fields of PackSlots again into n slots, and refuses a bit set above them or an index above the
// capacity of a tree.
func UnpackSlots(packed []fr.Element, n int) ([]uint32, error) {
	if n < 1 || len(packed) != (n+slotsPerLane-1)/slotsPerLane {
		return nil, ErrSlots
	}
	out := make([]uint32, 0, n)
	for _, e := range packed {
		b := e.Bytes()
		take := min(n-len(out), slotsPerLane)
		for _, x := range b[:32-4*take] {
			if x != 0 {
				return nil, ErrSlots
			}
		}
		for i := range take {
			s := binary.BigEndian.Uint32(b[28-4*i:])
			if s > NoteCapacity {
				return nil, ErrSlots
			}
			out = append(out, s)
		}
	}
	return out, nil
}

// RegistryWitness opens the payer's leaf in the registry.
type RegistryWitness struct {
	Status Status
	Limit  Amount
	Rights Root
	Path   Path
}

// RightWitness opens the one right that the leg uses. It is the zero Right with EmptyPath(RightsDepth) when the leg releases and
// sets nothing.
type RightWitness struct {
	Right Right
	Path  Path
}

// ReaderWitness opens the reader of the leg's input programme. Key is the oversight key, with EmptyPath(ReaderDepth), when the
// input programme is 0.
type ReaderWitness struct {
	Key  Point
	Path Path
}

// LegWitness is what a leg's proof needs beyond Public. It has no types of the proof system, so that wallets can build it.
type LegWitness struct {
	Public         LegPublic
	Asset          AssetID     // of every input and output
	InputProgramme ProgrammeID // of every input
	SetProgramme   ProgrammeID // what the leg may set when InputProgramme is 0; 0 if it sets none
	Inputs         []InputWitness
	Outputs        []Note // with the rho that the oversight keystream gives
	AK             Point
	NK             NullifierKey
	Signature      Signature
	E              Scalar
	Registry       RegistryWitness
	Right          RightWitness
	Reader         ReaderWitness
}
