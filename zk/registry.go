package zk

import (
	"errors"
	"fmt"
	"math/big"

	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"
)

// Right lets a wallet release a programme's earmark (its outputs may drop to programme 0) or set it on unrestricted money.
// Wildcard stands for every programme; Programme is then 0.
type Right struct {
	Programme                    ProgrammeID
	Wildcard, MaySet, MayRelease bool
}

// MaxRights is the number of rights of one wallet: the leaves of the rights tree.
const MaxRights = 9

// Why a list of rights is refused.
var (
	ErrRightsTooMany   = errors.New("more than nine rights")
	ErrRightsDuplicate = errors.New("two rights for one programme")
	ErrRightsWildcard  = errors.New("a wildcard right names a programme")
	ErrRightsProgramme = errors.New("a right for programme 0, which is unrestricted")
)

// Leaf is P("right", q, flags): q the programme, or 2^64 for the wildcard; flags is 1 for set plus 2 for release (Z2.8).
func (r Right) Leaf() fr.Element { return Hash("right", r.Subject(), r.Flags()) }

// Subject is the programme as a field element, or 2^64 for the wildcard.
func (r Right) Subject() fr.Element {
	if !r.Wildcard {
		return fr.NewElement(uint64(r.Programme))
	}
	var q fr.Element
	q.SetBigInt(new(big.Int).Lsh(big.NewInt(1), 64))
	return q
}

// Flags is 1 for may set plus 2 for may release.
func (r Right) Flags() fr.Element {
	var f uint64
	if r.MaySet {
		f |= 1
	}
	if r.MayRelease {
		f |= 2
	}
	return fr.NewElement(f)
}

// RightsLeaves checks the rights and returns the nine leaves of their tree, in order, the rest empty.
func RightsLeaves(rights []Right) (leaves [MaxRights]fr.Element, err error) {
	if len(rights) > MaxRights {
		return leaves, fmt.Errorf("%w: %d", ErrRightsTooMany, len(rights))
	}
	for i, r := range rights {
		switch {
		case r.Wildcard && r.Programme != 0:
			return leaves, fmt.Errorf("%w: %d", ErrRightsWildcard, r.Programme)
		case !r.Wildcard && r.Programme == 0:
			return leaves, ErrRightsProgramme
		}
		for _, s := range rights[:i] {
			if r.Wildcard == s.Wildcard && r.Programme == s.Programme {
				return leaves, fmt.Errorf("%w: %d", ErrRightsDuplicate, r.Programme)
			}
		}
		leaves[i] = r.Leaf()
	}
	return leaves, nil
}

// RightsRoot is the root of a wallet's rights tree (Z2.8).
func RightsRoot(rights []Right) (Root, error) {
	p, err := RightsPath(rights, 0)
	if err != nil {
		return Root{}, err
	}
	leaves, _ := RightsLeaves(rights)
	return RootFromElement(p.Root(leaves[0])), nil
}

// RightsPath is the path of the i-th leaf of a wallet's rights tree, 0 to 8.
func RightsPath(rights []Right, i int) (Path, error) {
	leaves, err := RightsLeaves(rights)
	if err != nil {
		return Path{}, err
	}
	if i < 0 || i >= MaxRights {
		return Path{}, fmt.Errorf("rights tree has no leaf %d", i)
	}
	var mid [3]fr.Element
	for j := range mid {
		mid[j] = Hash3(leaves[3*j], leaves[3*j+1], leaves[3*j+2])
	}
	without := func(three []fr.Element, skip int) (out [2]fr.Element) {
		k := 0
		for j, e := range three {
			if j != skip {
				out[k] = e
				k++
			}
		}
		return out
	}
	low, high := i%3, i/3
	return Path{
		Digits:   []uint8{uint8(low), uint8(high)},
		Siblings: [][2]fr.Element{without(leaves[3*high:3*high+3], low), without(mid[:], high)},
	}, nil
}

// Status of a registered wallet.
type Status uint8

// A frozen wallet receives and cannot spend.
const (
	Active Status = 1
	Frozen Status = 2
)

// String is "active" or "frozen".
func (s Status) String() string {
	switch s {
	case Active:
		return "active"
	case Frozen:
		return "frozen"
	}
	return fmt.Sprintf("status(%d)", uint8(s))
}

// RegistryLeaf is what the registry holds of a wallet. Limit is the most that one leg moves to others, held or redeemed.
type RegistryLeaf struct {
	Owner  Owner
	Status Status
	Limit  Amount
	Rights Root
}

// Hash is P("reg", own, status, limit, rights) (Z2.7).
func (l RegistryLeaf) Hash() fr.Element {
	return Hash("reg", l.Owner.Element(), fr.NewElement(uint64(l.Status)), fr.NewElement(uint64(l.Limit)), l.Rights.Element())
}

// ReaderLeaf is P("reader", programme, RK.x, RK.y) (Z2.9).
func ReaderLeaf(p ProgrammeID, rk Point) fr.Element {
	x, y := rk.XY()
	return Hash("reader", fr.NewElement(uint64(p)), x, y)
}
