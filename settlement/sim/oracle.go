package sim

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/zk"
)

// opening is what a leg hides: the truth that a proof would vouch for.
type opening struct {
	payer     *wallet
	asset     zk.AssetID
	programme zk.ProgrammeID // of every input; of every output too, but for releases
	inputs    []input
	outputs   []zk.Note
	forged    bool // made as if the circuit were broken
}

// input is a note and where it lies. A note of value 0 is a dummy: it need not
// exist.
type input struct {
	note zk.Note
	at   zk.Position
}

// statement identifies a leg of a transaction: proofs are bound to both.
type statement struct {
	ctx   zk.Field
	first zk.Nullifier
}

// oracle stands in for the prover and the verifier. It stamps a statement when
// the model says that it is true, never because the ledger's rules would.
type oracle struct {
	verifier ledgertest.StampVerifier
	model    *model
	rand     *ledgertest.Rand
	stamped  int
}

// prove checks the leg statements of DESIGN section 4 (1 to 5, and the subtree
// root) against the model's tables and stamps the public inputs.
func (o *oracle) prove(public *zk.LegPublic, open *opening) (zk.Proof, error) {
	if err := o.model.statementHolds(public, open); err != nil {
		return zk.Proof{}, err
	}
	return o.stamp(public, open), nil
}

// forge stamps without looking, as a broken circuit would.
func (o *oracle) forge(public *zk.LegPublic, open *opening) zk.Proof {
	open.forged = true
	return o.stamp(public, open)
}

func (o *oracle) stamp(public *zk.LegPublic, open *opening) zk.Proof {
	o.stamped++
	o.model.openings[statement{public.Ctx, public.Nullifiers[0]}] = open
	return ledgertest.Stamp(o.verifier.Key, [16]byte(o.rand.Bytes(16)), public)
}

// rerandomise makes another valid proof of the same statement, which anybody
// can do with Groth16, knowing no secret.
func (o *oracle) rerandomise(public *zk.LegPublic, proof zk.Proof) (zk.Proof, error) {
	if proof != ledgertest.Stamp(o.verifier.Key, [16]byte(proof[:16]), public) {
		return proof, ledgertest.ErrStamp
	}
	return ledgertest.Stamp(o.verifier.Key, [16]byte(o.rand.Bytes(16)), public), nil
}

// statementHolds is the model's own reading of the leg statement.
func (m *model) statementHolds(p *zk.LegPublic, o *opening) error {
	row, known := m.registryAt[p.RegistryRoot][o.payer.own]
	switch {
	case !known:
		return errUnregistered
	case row.frozen:
		return errFrozen
	case m.readersAt[p.ReadersRoot] == 0:
		return errors.New("no such readers' root")
	}
	size, known := m.noteRootAt[treeRoot{p.Tree, p.NoteRoot}]
	if !known {
		return errors.New("no such note root")
	}
	var in, out, toOthers wide
	in.add(p.Issued)
	out.add(p.Redeemed)
	toOthers.add(p.Redeemed)
	for i, input := range o.inputs {
		cm := input.note.Commitment()
		if p.Nullifiers[i] != o.payer.nk.Nullify(cm, input.at) {
			return fmt.Errorf("nullifier %d is not that of its note", i)
		}
		in.add(input.note.Value)
		if input.note.Owner != o.payer.own || input.note.Asset != o.asset || input.note.Programme != o.programme {
			return fmt.Errorf("input %d is of another owner, asset or programme", i)
		}
		if input.note.Value != 0 && (input.at.Tree != p.Tree || input.at.Index >= size || m.placed[input.at] != cm) {
			return fmt.Errorf("input %d is not in the tree", i)
		}
	}
	for i, note := range o.outputs {
		if p.Commitments[i] != note.Commitment() || note.Asset != o.asset || note.Programme != o.programme {
			return fmt.Errorf("output %d is not what the leg shows", i)
		}
		out.add(note.Value)
		if note.Owner != o.payer.own {
			toOthers.add(note.Value)
		}
	}
	switch {
	case in != out:
		return errors.New("inputs and outputs differ")
	case toOthers.hi > 0 || toOthers.lo > uint64(row.limit):
		return errors.New("over the limit per leg")
	case p.Issued != 0 || p.Redeemed != 0:
		if p.Asset != o.asset || p.Programme != o.programme {
			return errors.New("shows another asset or programme")
		}
	}
	if level := p.Circuit.Shape().SubtreeLevel; level > 0 {
		t := newPlainTree(level)
		for i, note := range o.outputs {
			t.set(uint64(i), zk.Root(note.Commitment()))
		}
		if t.root() != p.SubtreeRoot {
			return errors.New("subtree root is not that of the outputs")
		}
	}
	return nil
}

// What a payer may have to wait for.
var (
	errFrozen       = errors.New("payer is frozen under the registry root")
	errUnregistered = errors.New("payer is not under the registry root")
)

// wide is a sum that cannot overflow.
type wide struct{ hi, lo uint64 }

func (w *wide) add(v zk.Amount) {
	var carry uint64
	w.lo, carry = bits.Add64(w.lo, uint64(v), 0)
	w.hi += carry
}

func (w *wide) sub(v zk.Amount) {
	var borrow uint64
	w.lo, borrow = bits.Sub64(w.lo, uint64(v), 0)
	w.hi -= borrow
}
