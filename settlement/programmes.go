package settlement

import (
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/tree"
)

// programmes are the earmarks that money can carry, each with its reader's
// key in the readers' tree. Shared between states like the registry.
type programmes struct {
	rows  []Programme // by leaf index
	index map[zk.ProgrammeID]uint32
	tree  *tree.Sparse
}

// Programme is an earmark as it stands at the last block.
type Programme struct {
	ID     zk.ProgrammeID
	Name   string
	Status entry.ProgrammeStatus
	Reader zk.Point
}

// readersCapacity is 3^ReaderDepth.
const readersCapacity = 729

func newProgrammes() *programmes {
	return &programmes{index: make(map[zk.ProgrammeID]uint32), tree: tree.NewSparse(zk.ReaderDepth)}
}

func (p *programmes) clone() *programmes {
	c := &programmes{
		rows:  append(make([]Programme, 0, len(p.rows)+1), p.rows...),
		index: make(map[zk.ProgrammeID]uint32, len(p.index)+1),
		tree:  p.tree.Clone(),
	}
	for id, i := range p.index {
		c.index[id] = i
	}
	return c
}

func (p *programmes) root() zk.Root { return p.tree.Root() }

// check refuses a new programme when the readers' tree is full.
func (p *programmes) check(e *entry.Programme) error {
	if _, known := p.index[e.Programme]; !known && len(p.rows) >= readersCapacity {
		return entry.Refuse(entry.ProgrammesFull, "%d programmes", len(p.rows))
	}
	return nil
}

// set applies an entry that check let pass. A closed programme keeps its leaf,
// so that what it still holds can be spent and read (L4.10).
func (p *programmes) set(e *entry.Programme) {
	row := Programme{ID: e.Programme, Name: e.Name, Status: e.Status, Reader: e.Reader}
	at, known := p.index[e.Programme]
	if known {
		p.rows[at] = row
	} else {
		at = uint32(len(p.rows))
		p.index[e.Programme] = at
		p.rows = append(p.rows, row)
	}
	p.tree.Set(at, zk.ReaderLeaf(e.Programme, e.Reader))
}

// checkShown judges the programme that a leg shows when it issues or redeems.
func (p *programmes) checkShown(leg *entry.Leg) error {
	if leg.Programme == 0 {
		return nil
	}
	at, known := p.index[leg.Programme]
	if !known {
		return entry.Refuse(entry.UnknownProgramme, "programme %d", leg.Programme)
	}
	// Money may leave a closed programme for ever, or it could never be closed
	// to the last unit; none comes in.
	if leg.Issued != 0 && p.rows[at].Status != entry.StatusOpen {
		return entry.Refuse(entry.ProgrammeClosed, "programme %d", leg.Programme)
	}
	return nil
}

// Programmes returns all programmes in the order in which they were opened,
// which is that of the readers' tree.
func (s *State) Programmes() []Programme { return append([]Programme(nil), s.programmes.rows...) }

// ReaderPath returns the path of a leaf of the readers' tree under the last
// block's root.
func (s *State) ReaderPath(index uint32) (zk.Path, error) {
	return s.programmes.tree.Path(index)
}
