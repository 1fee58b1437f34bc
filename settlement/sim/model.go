package sim

import (
	"bytes"
	"crypto/ed25519"
	"fmt"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/zk"
)

// model is the independent judge: plain tables, rebuilt from nothing but the
// entries of the log and from what the oracle was told.
type model struct {
	genesis *entry.Genesis
	hash    entry.GenesisHash

	openings map[statement]*opening

	log     [][]byte // every leaf seen, which the log may never take back
	ids     map[entry.ID]settled
	height  uint64
	time    uint64
	started bool

	notes      *plainTree
	size       uint64
	placed     map[zk.Position]zk.Commitment
	noteRootAt map[treeRoot]uint32 // greatest size with this root

	unspent map[zk.Position]zk.Note
	spent   map[zk.Nullifier]uint64
	issued  map[zk.AssetID]wide // issued minus redeemed
	totals  map[zk.AssetID]entry.Supply

	registry     *plainTree
	owners       []zk.Owner
	rows         map[zk.Owner]row
	registryAt   map[zk.Root]map[zk.Owner]row
	registryRoot zk.Root
	superseded   map[zk.Root]uint64 // when a root was last taken out of force
	froze        map[zk.Root]bool   // and that a freeze did it, or came later

	readers     *plainTree
	programmes  map[zk.ProgrammeID]programme
	readersRoot zk.Root
	readersAt   map[zk.Root]int
	readersGone map[zk.Root]uint64

	epoch    uint32
	ovk      zk.Point
	stampKey [32]byte
	sequence uint64
	anchors  []settlement.Anchor // by height
	payments int                 // settled transactions
}

type treeRoot struct {
	tree uint16
	root zk.Root
}

type row struct {
	limit  zk.Amount
	rights zk.Root
	frozen bool
}

type programme struct {
	leaf int
	open bool
}

// settled is where the model saw an entry.
type settled struct{ index, height uint64 }

func newModel(genesis *entry.Genesis) *model {
	m := &model{
		genesis: genesis, hash: genesis.Hash(), openings: make(map[statement]*opening), ids: make(map[entry.ID]settled),
		notes: newPlainTree(zk.NoteDepth), placed: make(map[zk.Position]zk.Commitment), noteRootAt: make(map[treeRoot]uint32),
		unspent: make(map[zk.Position]zk.Note), spent: make(map[zk.Nullifier]uint64), issued: make(map[zk.AssetID]wide), totals: make(map[zk.AssetID]entry.Supply),
		registry: newPlainTree(zk.RegistryDepth), rows: make(map[zk.Owner]row), registryAt: make(map[zk.Root]map[zk.Owner]row),
		superseded: make(map[zk.Root]uint64), froze: make(map[zk.Root]bool),
		readers: newPlainTree(zk.ReaderDepth), programmes: make(map[zk.ProgrammeID]programme), readersAt: make(map[zk.Root]int), readersGone: make(map[zk.Root]uint64),
		epoch: entry.GenesisOversightEpoch, ovk: genesis.OversightKey, sequence: 1,
	}
	m.registryRoot, m.readersRoot = m.registry.root(), m.readers.root()
	return m
}

// violation is something that must never happen.
type violation struct{ what string }

func (v *violation) Error() string { return v.what }

func wrong(format string, args ...any) error { return &violation{fmt.Sprintf(format, args...)} }

// follow takes in the next block that became durable. wall is the clock that
// the node had when it made the block.
func (m *model) follow(b *settlement.Block, wall uint64) error {
	if len(b.Entries) == 0 {
		return wrong("block %d is empty", b.Height)
	}
	last, err := entry.DecodeState(b.Entries[len(b.Entries)-1])
	if err != nil {
		return wrong("block %d ends in no state entry: %v", b.Height, err)
	}
	if !m.started {
		m.started = true
		m.time = last.TimeMillis
		m.log = append(m.log, b.Entries...)
		return m.endBlock(b, last)
	}
	switch {
	case b.Height != m.height+1 || b.FirstIndex != uint64(len(m.log)):
		return wrong("block %d at %d follows block %d with %d entries", b.Height, b.FirstIndex, m.height, len(m.log))
	case last.TimeMillis != max(m.time, wall):
		return wrong("ledger time %d after %d with the clock at %d", last.TimeMillis, m.time, wall)
	}
	m.height, m.time = b.Height, last.TimeMillis
	blk := &blockView{m: m, registryBefore: m.registryRoot, readersBefore: m.readersRoot}
	for i, leaf := range b.Entries[:len(b.Entries)-1] {
		index := b.FirstIndex + uint64(i)
		e, err := entry.Decode(leaf)
		if err != nil {
			return wrong("entry %d does not decode: %v", index, err)
		}
		id := entry.IDOf(e)
		if first, seen := m.ids[id]; seen {
			return wrong("entry %d settles %s again, first at %d", index, id, first.index)
		}
		if err := blk.follow(e, id, index); err != nil {
			return err
		}
		m.ids[id] = settled{index, b.Height}
	}
	m.log = append(m.log, b.Entries...)
	if err := blk.place(b); err != nil {
		return err
	}
	blk.moveRoots()
	return m.endBlock(b, last)
}

// endBlock compares the state entry with the model's tables.
func (m *model) endBlock(b *settlement.Block, last *entry.State) error {
	root := m.notes.root()
	switch {
	case last.Height != b.Height:
		return wrong("state entry of block %d says height %d", b.Height, last.Height)
	case last.NoteRoot != root || uint64(last.TreeSize) != m.size || last.Tree != 0:
		return wrong("block %d: note root %s at %d, the model has %s at %d", b.Height, last.NoteRoot, last.TreeSize, root, m.size)
	case last.RegistryRoot != m.registryRoot || int(last.RegistryLeaves) != len(m.owners):
		return wrong("block %d: registry root %s, the model has %s", b.Height, last.RegistryRoot, m.registryRoot)
	case last.ReadersRoot != m.readersRoot:
		return wrong("block %d: readers' root %s, the model has %s", b.Height, last.ReadersRoot, m.readersRoot)
	case last.OversightEpoch != m.epoch || last.NextSequence != m.sequence || last.Nullifiers != uint64(len(m.spent)):
		return wrong("block %d: epoch %d, sequence %d, %d nullifiers; the model has %d, %d, %d", b.Height, last.OversightEpoch, last.NextSequence,
			last.Nullifiers, m.epoch, m.sequence, len(m.spent))
	}
	unspent := make(map[zk.AssetID]wide)
	for _, note := range m.unspent {
		sum := unspent[note.Asset]
		sum.add(note.Value)
		unspent[note.Asset] = sum
	}
	for _, s := range last.Supply {
		if total := m.totals[s.Asset]; total.Issued != s.Issued || total.Redeemed != s.Redeemed {
			return wrong("block %d: asset %d issued %d redeemed %d, the entries give %d and %d", b.Height, s.Asset, s.Issued, s.Redeemed, total.Issued, total.Redeemed)
		}
		if unspent[s.Asset] != m.issued[s.Asset] || unspent[s.Asset] != (wide{lo: uint64(s.Issued - s.Redeemed)}) {
			return wrong("block %d: asset %d: unspent notes hold %v, issued minus redeemed is %v", b.Height, s.Asset, unspent[s.Asset], m.issued[s.Asset])
		}
	}
	m.noteRootAt[treeRoot{0, root}] = uint32(m.size)
	rows := make(map[zk.Owner]row, len(m.rows))
	for own, r := range m.rows {
		rows[own] = r
	}
	m.registryAt[m.registryRoot] = rows
	m.readersAt[m.readersRoot] = 1 + len(m.programmes)
	m.anchors = append(m.anchors, settlement.Anchor{Height: b.Height, Time: m.time, TreeSize: last.TreeSize, NoteRoot: root, RegistryRoot: m.registryRoot, ReadersRoot: m.readersRoot})
	return nil
}

// blockView is the model inside one block, where entries see those before.
type blockView struct {
	m                             *model
	registryBefore, readersBefore zk.Root
	freeze                        bool
	legs                          []placing
}

type placing struct {
	level   int
	outputs []zk.Note
	cms     []zk.Commitment
}

func (v *blockView) follow(e entry.Entry, id entry.ID, index uint64) error {
	m, head := v.m, e.Head()
	if head == nil {
		return wrong("entry %d is a %s entry of a client", index, e.Kind())
	}
	switch {
	case head.Ledger != m.hash:
		return wrong("entry %d is of ledger %s", index, head.Ledger)
	case m.time >= head.ExpiryMillis:
		return wrong("entry %d settled at %d, its expiry is %d", index, m.time, head.ExpiryMillis)
	case head.ExpiryMillis-m.time > m.genesis.MaxExpiryMillis:
		return wrong("entry %d settled at %d, its expiry %d is too far", index, m.time, head.ExpiryMillis)
	}
	if e.Kind() != entry.KindTransfer {
		if head.Sequence != m.sequence {
			return wrong("entry %d has sequence %d, the next is %d", index, head.Sequence, m.sequence)
		}
		m.sequence++
		if err := m.signed(head, id); err != nil {
			return wrong("entry %d: %v", index, err)
		}
	}
	switch e := e.(type) {
	case *entry.Transaction:
		return v.transact(e, index)
	case *entry.Register:
		for _, o := range e.Owners {
			rights, err := zk.RightsRoot(o.Rights)
			if err != nil {
				return wrong("entry %d: %v", index, err)
			}
			r, known := m.rows[o.Owner]
			if !known {
				m.owners = append(m.owners, o.Owner)
			}
			r.limit, r.rights = o.Limit, rights
			m.setRow(o.Owner, r)
		}
	case *entry.Freeze:
		r, known := m.rows[e.Owner]
		if !known || r.frozen == e.Frozen {
			return wrong("entry %d freezes or releases for nothing", index)
		}
		r.frozen = e.Frozen
		m.setRow(e.Owner, r)
		v.freeze = v.freeze || e.Frozen
	case *entry.Programme:
		p, known := m.programmes[e.Programme]
		if !known {
			p.leaf = len(m.programmes)
		}
		p.open = e.Status == entry.StatusOpen
		m.programmes[e.Programme] = p
		m.readers.set(uint64(p.leaf), zk.RootFromElement(zk.ReaderLeaf(e.Programme, e.Reader)))
	case *entry.Oversight:
		if e.Epoch != m.epoch+1 {
			return wrong("entry %d begins epoch %d after %d", index, e.Epoch, m.epoch)
		}
		m.epoch, m.ovk = e.Epoch, e.Key
	}
	return nil
}

func (m *model) setRow(own zk.Owner, r row) {
	m.rows[own] = r
	status := zk.Active
	if r.frozen {
		status = zk.Frozen
	}
	for i, o := range m.owners {
		if o == own {
			leaf := zk.RegistryLeaf{Owner: own, Status: status, Limit: r.limit, Rights: r.rights}
			m.registry.set(uint64(i), zk.RootFromElement(leaf.Hash()))
		}
	}
}

// signed counts distinct signers whose signature is good.
func (m *model) signed(head *entry.Header, id entry.ID) error {
	good := make(map[uint8]bool)
	for _, s := range head.Signatures {
		if int(s.Signer) >= len(m.genesis.Policy.Signers) {
			return fmt.Errorf("signer %d does not exist", s.Signer)
		}
		key := m.genesis.Policy.Signers[s.Signer]
		if !ed25519.Verify(key[:], append([]byte("comity/authorise/v1"), id[:]...), s.Signature[:]) {
			return fmt.Errorf("signature of signer %d is bad", s.Signer)
		}
		good[s.Signer] = true
	}
	if len(good) < int(m.genesis.Policy.Threshold) {
		return fmt.Errorf("%d good signatures", len(good))
	}
	return nil
}

func (v *blockView) transact(tx *entry.Transaction, index uint64) error {
	m, ctx := v.m, tx.Ctx()
	m.payments++
	for i := range tx.Legs {
		leg := &tx.Legs[i]
		open := m.openings[statement{ctx, leg.Nullifiers[0]}]
		switch {
		case open == nil:
			return wrong("entry %d leg %d settled without a proof", index, i)
		case m.rows[open.payer.own].frozen && !open.forged:
			return wrong("entry %d: %s paid while frozen", index, open.payer.name)
		case leg.OversightEpoch != m.epoch:
			return wrong("entry %d is readable in epoch %d only, the epoch is %d", index, leg.OversightEpoch, m.epoch)
		case leg.Anchor >= m.height:
			return wrong("entry %d is proven under block %d", index, leg.Anchor)
		}
		anchor := m.anchors[leg.Anchor]
		public := leg.Public(anchor.NoteRoot, anchor.RegistryRoot, anchor.ReadersRoot, m.ovk, ctx)
		if leg.Proof != ledgertest.Stamp(m.stampKey, [16]byte(leg.Proof[:16]), &public) {
			return wrong("entry %d leg %d settled with a proof of something else", index, i)
		}
		if v.freeze {
			return wrong("entry %d settled after a freeze in its block", index)
		}
		if r := anchor.RegistryRoot; r != v.registryBefore && (m.froze[r] || m.time >= m.superseded[r]+m.genesis.RegistryWindowMillis) {
			return wrong("entry %d settled at %d under a registry root that was superseded at %d", index, m.time, m.superseded[r])
		}
		if r := anchor.ReadersRoot; r != v.readersBefore && m.time >= m.readersGone[r]+m.genesis.RegistryWindowMillis {
			return wrong("entry %d settled at %d under a readers' root that was superseded at %d", index, m.time, m.readersGone[r])
		}
		if leg.Issued != 0 && leg.Programme != 0 && !m.programmes[leg.Programme].open {
			return wrong("entry %d issues into programme %d, which is not open", index, leg.Programme)
		}
		for _, nf := range leg.Nullifiers {
			if first, dup := m.spent[nf]; dup {
				return wrong("entry %d spends nullifier %s again, first spent by %d", index, nf, first)
			}
			m.spent[nf] = index
		}
		for _, in := range open.inputs {
			if in.note.Value == 0 || open.forged {
				continue
			}
			if note, there := m.unspent[in.at]; !there || note != in.note {
				return wrong("entry %d spends a note at %v that is not unspent", index, in.at)
			}
			delete(m.unspent, in.at)
		}
		net := m.issued[leg.Asset]
		total := m.totals[leg.Asset]
		if leg.Issued > 0 || leg.Redeemed > 0 {
			net.add(leg.Issued)
			net.sub(leg.Redeemed)
			total.Issued += leg.Issued
			total.Redeemed += leg.Redeemed
			m.issued[leg.Asset], m.totals[leg.Asset] = net, total
		}
		v.legs = append(v.legs, placing{leg.Circuit.Shape().SubtreeLevel, open.outputs, leg.Commitments})
	}
	return nil
}

// place puts the block's outputs where the rule says (L4.13) and compares the
// ledger's own placing.
func (v *blockView) place(b *settlement.Block) error {
	m := v.m
	at := make([]uint64, len(v.legs))
	for _, level := range []int{4, 3} {
		width := uint64(27)
		if level == 4 {
			width = 81
		}
		for i, leg := range v.legs {
			if leg.level == level {
				for m.size%width != 0 {
					m.size++
				}
				at[i] = m.size
				m.size += width
			}
		}
	}
	for i, leg := range v.legs {
		if leg.level == 0 {
			at[i] = m.size
			m.size += uint64(len(leg.cms))
		}
	}
	n := 0
	for i, leg := range v.legs {
		for j, cm := range leg.cms {
			pos := zk.Position{Index: uint32(at[i]) + uint32(j)}
			if n >= len(b.Commitments) || b.Commitments[n].Commitment != cm || b.Commitments[n].Position != pos {
				return wrong("block %d: commitment %d is not placed at %v", b.Height, n, pos)
			}
			n++
			m.placed[pos] = cm
			m.notes.set(uint64(pos.Index), zk.Root(cm))
			if leg.outputs[j].Value != 0 {
				m.unspent[pos] = leg.outputs[j]
			}
		}
	}
	if n != len(b.Commitments) {
		return wrong("block %d places %d commitments, its legs have %d", b.Height, len(b.Commitments), n)
	}
	return nil
}

func (v *blockView) moveRoots() {
	m := v.m
	m.registryRoot, m.readersRoot = m.registry.root(), m.readers.root()
	if m.registryRoot != v.registryBefore {
		m.superseded[v.registryBefore] = m.time
		m.froze[v.registryBefore] = false
	}
	if v.freeze {
		for root := range m.registryAt {
			m.froze[root] = true
		}
	}
	if m.readersRoot != v.readersBefore {
		m.readersGone[v.readersBefore] = m.time
	}
}

// sameLog checks that a log still begins with everything that the model saw.
func (m *model) sameLog(blocks []*settlement.Block) error {
	at := 0
	for _, b := range blocks {
		for _, leaf := range b.Entries {
			if at < len(m.log) && !bytes.Equal(leaf, m.log[at]) {
				return wrong("entry %d of the log has changed", at)
			}
			at++
		}
	}
	if at < len(m.log) {
		return wrong("the log has %d entries, %d were durable before", at, len(m.log))
	}
	return nil
}
