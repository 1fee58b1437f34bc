package settlement

import (
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/tree"
)

// registry is the tree of registered wallets. States share one until a block
// changes it: then the block's draft works on a clone (registry entries are
// rare, and a full registry clones in milliseconds).
type registry struct {
	leaves []zk.RegistryLeaf // by leaf index
	index  map[zk.Owner]uint32
	tree   *tree.Sparse
}

// registryCapacity is 3^RegistryDepth.
const registryCapacity = 177147

func newRegistry() *registry {
	return &registry{index: make(map[zk.Owner]uint32), tree: tree.NewSparse(zk.RegistryDepth)}
}

func (r *registry) clone() *registry {
	c := &registry{
		leaves: append(make([]zk.RegistryLeaf, 0, len(r.leaves)+1), r.leaves...),
		index:  make(map[zk.Owner]uint32, len(r.index)+1),
		tree:   r.tree.Clone(),
	}
	for own, i := range r.index {
		c.index[own] = i
	}
	return c
}

func (r *registry) size() uint32 { return uint32(len(r.leaves)) }

func (r *registry) root() zk.Root { return r.tree.Root() }

// checkRegister refuses a register entry that would not fit. A registry that
// is full can still change the owners that it holds.
func (r *registry) checkRegister(e *entry.Register) error {
	fresh := 0
	for i := range e.Owners {
		if _, known := r.index[e.Owners[i].Owner]; !known {
			fresh++
		}
	}
	if len(r.leaves)+fresh > registryCapacity {
		return entry.Refuse(entry.RegistryFull, "%d owners more than %d of %d leaves leave room for", fresh, len(r.leaves), registryCapacity)
	}
	return nil
}

// rightsRoots computes what the leaves of a register entry hold of rights.
func rightsRoots(e *entry.Register) ([]zk.Root, error) {
	roots := make([]zk.Root, len(e.Owners))
	for i := range e.Owners {
		root, err := zk.RightsRoot(e.Owners[i].Rights)
		if err != nil {
			return nil, entry.Refuse(entry.RightsInvalid, "owner %s: %v", e.Owners[i].Owner, err)
		}
		roots[i] = root
	}
	return roots, nil
}

// register applies an entry that checkRegister let pass: a new owner takes the
// next free leaf and is active, a known one keeps leaf and status (L4.9).
func (r *registry) register(e *entry.Register, rights []zk.Root) {
	for i := range e.Owners {
		o := &e.Owners[i]
		leaf := zk.RegistryLeaf{Owner: o.Owner, Status: zk.Active, Limit: o.Limit, Rights: rights[i]}
		at, known := r.index[o.Owner]
		if known {
			leaf.Status = r.leaves[at].Status
			r.leaves[at] = leaf
		} else {
			at = r.size()
			r.index[o.Owner] = at
			r.leaves = append(r.leaves, leaf)
		}
		r.tree.Set(at, leaf.Hash())
	}
}

// checkFreeze refuses a freeze of an unknown owner and one that changes
// nothing: it would end every window for no reason.
func (r *registry) checkFreeze(e *entry.Freeze) error {
	at, known := r.index[e.Owner]
	switch {
	case !known:
		return entry.Refuse(entry.OwnerUnknown, "owner %s", e.Owner)
	case e.Frozen && r.leaves[at].Status == zk.Frozen:
		return entry.Refuse(entry.OwnerFrozenAlready, "owner %s", e.Owner)
	case !e.Frozen && r.leaves[at].Status == zk.Active:
		return entry.Refuse(entry.OwnerActiveAlready, "owner %s", e.Owner)
	}
	return nil
}

// freeze applies an entry that checkFreeze let pass.
func (r *registry) freeze(e *entry.Freeze) {
	at := r.index[e.Owner]
	r.leaves[at].Status = zk.Active
	if e.Frozen {
		r.leaves[at].Status = zk.Frozen
	}
	r.tree.Set(at, r.leaves[at].Hash())
}

// Registered is an owner's row as it stands at the last block.
type Registered struct {
	Leaf  zk.RegistryLeaf
	Index uint32
}

// Registered looks an owner up.
func (s *State) Registered(own zk.Owner) (Registered, bool) {
	at, known := s.registry.index[own]
	if !known {
		return Registered{}, false
	}
	return Registered{Leaf: s.registry.leaves[at], Index: at}, true
}

// RegistryPath returns the path of a leaf of the registry under the last
// block's root, for wallets that do not follow the log themselves.
func (s *State) RegistryPath(index uint32) (zk.Path, error) {
	return s.registry.tree.Path(index)
}
