package circuit

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark/frontend"

	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/circuit/circuittest"
)

// reader hands out the fuzzer's bytes, then zeros.
type reader []byte

func (r *reader) Read(dst []byte) (int, error) {
	n := copy(dst, *r)
	*r = (*r)[n:]
	clear(dst[n:])
	return len(dst), nil
}

func (r *reader) number() uint64 {
	var b [8]byte
	_, _ = r.Read(b[:])
	return binary.BigEndian.Uint64(b[:])
}

func (r *reader) element() (x [32]byte) {
	_, _ = r.Read(x[:])
	return x
}

func (r *reader) path(depth int) zk.Path {
	p := zk.EmptyPath(depth)
	switch b := r.number(); b % 8 {
	case 0:
		p.Digits = nil
	case 1:
		p.Siblings = p.Siblings[1:]
	default:
		_, _ = r.Read(p.Digits)
		for i := range p.Digits {
			if b%8 != 2 {
				p.Digits[i] %= 3
			}
		}
	}
	return p
}

// FuzzAssign hands Assign any witness that the types allow: it may refuse and
// must not panic, and what it assigns is a witness of the circuit's size.
func FuzzAssign(f *testing.F) {
	f.Add(byte(zk.Transfer), byte(0), []byte{})
	f.Add(byte(zk.Hold), byte(1), []byte("seed"))
	f.Add(byte(zk.Disburse16), byte(200), []byte{255, 255, 255, 255, 255, 255, 255, 255, 255})
	f.Add(byte(9), byte(3), []byte{1})
	f.Add(byte(zk.Consolidate), byte(7), make([]byte, 512))
	point := func(r *reader) zk.Point {
		if r.number()%16 == 0 {
			return zk.Point{}
		}
		s, _ := zk.NewScalar(r)
		return s.Base()
	}
	f.Fuzz(func(t *testing.T, id, mode byte, data []byte) {
		var w zk.LegWitness
		if s := zk.CircuitID(id).Shape(); mode%2 == 0 && s.Inputs > 0 && id != byte(zk.Disburse64) {
			// A true leg, spoiled below in places.
			leg, err := circuittest.Build(rand.NewChaCha8([32]byte{mode}), circuittest.Options{Circuit: zk.CircuitID(id)})
			if err != nil {
				t.Fatal(err)
			}
			w = leg.Witness
		}
		r := reader(data)
		pub := &w.Public
		pub.Circuit = zk.CircuitID(id)
		for len(r) > 0 {
			switch r.number() % 24 {
			case 0:
				pub.NoteRoot = r.element()
			case 1:
				pub.Epk[0], pub.Wrap, pub.Ctx = r.element(), r.element(), r.element()
			case 2:
				pub.OversightKey = point(&r)
			case 3:
				pub.Sender = make([]zk.Field, r.number()%5)
			case 4:
				pub.Nullifiers = append(pub.Nullifiers, r.element())
			case 5:
				pub.Commitments = append(pub.Commitments, r.element())
			case 6:
				pub.Cipher = append(pub.Cipher, [2]zk.Field{r.element(), r.element()})
			case 7:
				pub.SubtreeRoot, pub.ReturnCommitment, pub.SizeClass = r.element(), r.element(), r.number()
			case 8:
				pub.Issued, pub.Redeemed = zk.Amount(r.number()), zk.Amount(r.number())
			case 9:
				w.Inputs = append(w.Inputs, zk.InputWitness{Index: uint32(r.number()), Path: r.path(zk.NoteDepth)})
			case 10:
				if len(w.Inputs) > 0 {
					in := &w.Inputs[len(w.Inputs)-1]
					in.Path, in.Note.Rho, in.Note.Value = r.path(zk.NoteDepth), r.element(), zk.Amount(r.number())
					in.Index = in.Path.Index()
				}
			case 11:
				w.Outputs = append(w.Outputs, zk.Note{Value: zk.Amount(r.number()), Owner: r.element()})
			case 12:
				if len(w.Outputs) > 0 {
					w.Outputs[0].Programme, w.Outputs[0].Value = zk.ProgrammeID(r.number()), zk.Amount(r.number())
				}
			case 13:
				w.AK = point(&r)
			case 14:
				w.NK = zk.NullifierKey{}
			case 15:
				w.Signature.S, w.Signature.R = r.element(), point(&r)
			case 16:
				w.E = zk.Scalar{}
			case 17:
				w.E, _ = zk.NewScalar(&r)
			case 18:
				w.Registry = zk.RegistryWitness{Limit: zk.Amount(r.number()), Rights: r.element(), Path: r.path(zk.RegistryDepth)}
			case 19:
				w.Right = zk.RightWitness{Right: zk.Right{Programme: zk.ProgrammeID(r.number()), Wildcard: r.number()%2 == 0}, Path: r.path(zk.RightsDepth)}
			case 20:
				w.Reader = zk.ReaderWitness{Key: point(&r), Path: r.path(zk.ReaderDepth)}
			case 21:
				w.SetProgramme, w.InputProgramme = zk.ProgrammeID(r.number()), zk.ProgrammeID(r.number())
			case 22:
				w.Inputs, pub.Nullifiers = nil, nil
			case 23:
				w.Outputs, pub.Commitments, pub.Cipher = nil, nil, nil
			}
		}
		c, err := Assign(&w)
		if err != nil {
			return
		}
		full, err := frontend.NewWitness(c, ecc.BLS12_381.ScalarField())
		if err != nil {
			t.Fatalf("assigned, but no witness: %v", err)
		}
		public, err := full.Public()
		if err != nil {
			t.Fatal(err)
		}
		if n, want := public.Vector().(interface{ Len() int }).Len(), zk.NumInputs(pub.Circuit); n != want {
			t.Fatalf("%d public inputs, want %d", n, want)
		}
	})
}
