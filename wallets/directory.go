package wallets

import (
	"fmt"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/tree"
)

// registry is the tree of registered wallets, built from register and freeze entries as the ledger builds it: a new owner takes the next
// leaf, a known one keeps leaf and status.
type registry struct {
	rows      []zk.RegistryLeaf
	index     map[zk.Owner]int
	tree      *tree.Sparse
	ownRights []zk.Right // of the wallet's owner, in the order of the rights tree
}

func newRegistry() registry {
	return registry{index: map[zk.Owner]int{}, tree: tree.NewSparse(zk.RegistryDepth)}
}

func (r *registry) find(own zk.Owner) (zk.RegistryLeaf, bool) {
	i, ok := r.index[own]
	if !ok {
		return zk.RegistryLeaf{}, false
	}
	return r.rows[i], true
}

func (r *registry) register(e *entry.Register, self zk.Owner) error {
	for i := range e.Owners {
		o := &e.Owners[i]
		rights, err := zk.RightsRoot(o.Rights)
		if err != nil {
			return err
		}
		row := zk.RegistryLeaf{Owner: o.Owner, Status: zk.Active, Limit: o.Limit, Rights: rights}
		at, known := r.index[o.Owner]
		if known {
			row.Status = r.rows[at].Status
			r.rows[at] = row
		} else {
			at = len(r.rows)
			r.index[o.Owner] = at
			r.rows = append(r.rows, row)
		}
		if o.Owner == self {
			r.ownRights = append([]zk.Right(nil), o.Rights...)
		}
		if err := r.set(at); err != nil {
			return err
		}
	}
	return nil
}

func (r *registry) freeze(e *entry.Freeze) error {
	at, known := r.index[e.Owner]
	if !known {
		return Refuse(LedgerLied, "a freeze of an owner who is not registered")
	}
	r.rows[at].Status = zk.Active
	if e.Frozen {
		r.rows[at].Status = zk.Frozen
	}
	return r.set(at)
}

// set writes one row into the tree.
func (r *registry) set(at int) error {
	if err := r.tree.Set(uint32(at), r.rows[at].Hash()); err != nil {
		return fmt.Errorf("registry leaf %d: %w", at, err)
	}
	return nil
}

// path leads from the owner's leaf to the registry root.
func (r *registry) path(own zk.Owner) (zk.Path, bool) {
	at, ok := r.index[own]
	if !ok {
		return zk.Path{}, false
	}
	p, err := r.tree.Path(uint32(at))
	return p, err == nil
}

// readers is the tree of programmes and their reader keys.
type readers struct {
	rows  []Programme
	index map[zk.ProgrammeID]int
	tree  *tree.Sparse
}

func newReaders() readers {
	return readers{index: map[zk.ProgrammeID]int{}, tree: tree.NewSparse(zk.ReaderDepth)}
}

func (r *readers) set(e *entry.Programme) error {
	row := Programme{ID: e.Programme, Name: e.Name, Open: e.Status == entry.StatusOpen, Reader: e.Reader}
	at, known := r.index[e.Programme]
	if known {
		r.rows[at] = row
	} else {
		at = len(r.rows)
		r.index[e.Programme] = at
		r.rows = append(r.rows, row)
	}
	return r.setLeaf(at)
}

// setLeaf writes one row into the tree.
func (r *readers) setLeaf(at int) error {
	if err := r.tree.Set(uint32(at), zk.ReaderLeaf(r.rows[at].ID, r.rows[at].Reader)); err != nil {
		return fmt.Errorf("readers' leaf %d: %w", at, err)
	}
	return nil
}

// reader gives the key and path of a programme's reader.
func (r *readers) reader(p zk.ProgrammeID) (zk.Point, zk.Path, bool) {
	at, ok := r.index[p]
	if !ok {
		return zk.Point{}, zk.Path{}, false
	}
	path, err := r.tree.Path(uint32(at))
	return r.rows[at].Reader, path, err == nil
}
