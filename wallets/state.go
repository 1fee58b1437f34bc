package wallets

import (
	"fmt"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

// OwnNote is a note of this wallet, spent or not.
type OwnNote struct {
	Note       zk.Note       `json:"note"`
	Commitment zk.Commitment `json:"commitment"`
	Position   zk.Position   `json:"position"`
	Nullifier  zk.Nullifier  `json:"nullifier"`
	Entry      uint64        `json:"entry"` // log index of the entry that made it
	Leg        int           `json:"leg"`   // of a transaction; 0, and output 0, of a resolution
	Output     int           `json:"output"`
	Hold       entry.HoldID  `json:"hold,omitzero"` // whose resolution made it
	Height     uint64        `json:"height"`
	TimeMillis uint64        `json:"time"`
	Memo       []byte        `json:"memo,omitempty"`
	Spent      bool          `json:"spent,omitempty"`
	SpentBy    entry.ID      `json:"spent_by,omitzero"`
}

// Settled says where the log holds a transaction of this wallet.
type Settled struct {
	Entry      uint64 `json:"entry"`
	Height     uint64 `json:"height"`
	TimeMillis uint64 `json:"time"`
}

// Direction says which way money moved.
type Direction string

// The directions.
const (
	In       Direction = "in"
	Out      Direction = "out"
	Internal Direction = "internal" // notes of this wallet made into others of it
	Issued   Direction = "issued"
	Redeemed Direction = "redeemed"

	HeldOut   Direction = "held-out"   // out of this wallet, into a hold
	HeldIn    Direction = "held-in"    // into a hold for this wallet: not its money yet
	PostedOut Direction = "posted-out" // a hold of this wallet went to its payee: nothing more leaves
	PostedIn  Direction = "posted-in"  // a hold for this wallet is its money now
	Returned  Direction = "returned"   // a hold of this wallet was voided and is its money again
	Lapsed    Direction = "lapsed"     // a hold for this wallet was voided
)

// Movement is one line of the wallet's history as the log shows it.
type Movement struct {
	Direction Direction `json:"direction"`
	Settled
	TxID      entry.ID       `json:"tx"`
	Asset     zk.AssetID     `json:"asset"`
	Programme zk.ProgrammeID `json:"programme"` // of the money received, or of the first note spent
	Amount    zk.Amount      `json:"amount"`
	Reference string         `json:"reference,omitempty"` // of a payment received
	Leg       int            `json:"leg,omitempty"`       // of a payment received
	Output    int            `json:"output,omitempty"`
	Hold      entry.HoldID   `json:"hold,omitzero"` // of the directions that begin or end a hold
}

// Programme is an earmark as the log shows it.
type Programme struct {
	ID     zk.ProgrammeID `json:"id"`
	Name   string         `json:"name"`
	Open   bool           `json:"open"`
	Reader zk.Point       `json:"-"`
}

// State is what a wallet knows of its ledger: computed from the stream alone. It is not safe for concurrent use. After an error from
// Apply it must be thrown away: half a block is in it.
type State struct {
	genesis *entry.Genesis
	hash    entry.GenesisHash
	view    keys.FullView

	blocks     uint64 // applied so far; the next block has this height
	timeMillis uint64
	log        proof.Range
	watch      watch
	notes      noteTrees
	registry   registry
	readers    readers
	epoch      uint32
	ovk        zk.Point
	nullifiers uint64 // once-only keys used up
	sequence   uint64
	holds      uint32 // open, of everybody
	supply     []entry.Supply

	own         []OwnNote
	byNullifier map[zk.Nullifier]int
	held        []Hold
	byHold      map[entry.HoldID]int
	settled     map[entry.ID]Settled
	tags        map[Tag]entry.ID
	history     []Movement

	broken error
}

// NewState begins a state that has read nothing.
func NewState(genesis *entry.Genesis, view keys.FullView) *State {
	return &State{
		genesis:     genesis,
		hash:        genesis.Hash(),
		view:        view,
		notes:       newNoteTrees(),
		registry:    newRegistry(),
		readers:     newReaders(),
		epoch:       entry.GenesisOversightEpoch,
		ovk:         genesis.OversightKey,
		sequence:    1,
		byNullifier: map[zk.Nullifier]int{},
		byHold:      map[entry.HoldID]int{},
		settled:     map[entry.ID]Settled{},
		tags:        map[Tag]entry.ID{},
	}
}

// Genesis is the ledger's genesis entry.
func (s *State) Genesis() *entry.Genesis { return s.genesis }

// GenesisHash names the ledger.
func (s *State) GenesisHash() entry.GenesisHash { return s.hash }

// View is the key that the state was computed with.
func (s *State) View() keys.FullView { return s.view }

// NextHeight is the height of the block that Apply takes next; it is the number of blocks read.
func (s *State) NextHeight() uint64 { return s.blocks }

// TimeMillis is the ledger time of the last block read.
func (s *State) TimeMillis() uint64 { return s.timeMillis }

// LogSize is the number of entries read.
func (s *State) LogSize() uint64 { return s.log.Size }

// FinalSize is the number of entries under the newest cosigned checkpoint that was checked against what was read.
func (s *State) FinalSize() uint64 { return s.watch.finalSize }

// OversightEpoch is the epoch of the oversight key that legs are encrypted to now.
func (s *State) OversightEpoch() uint32 { return s.epoch }

// NextSequence is the policy sequence number of the next privileged entry.
func (s *State) NextSequence() uint64 { return s.sequence }

// Supply is what was ever issued and redeemed, per asset.
func (s *State) Supply() []entry.Supply { return append([]entry.Supply(nil), s.supply...) }

// Notes are the wallet's notes, in the order in which they came; spent ones stay.
func (s *State) Notes() []OwnNote { return append([]OwnNote(nil), s.own...) }

// History is what happened to the wallet, oldest first.
func (s *State) History() []Movement { return append([]Movement(nil), s.history...) }

// SettledAt tells where the log holds a transaction that moved money of this wallet.
func (s *State) SettledAt(id entry.ID) (Settled, bool) {
	at, ok := s.settled[id]
	return at, ok
}

// TagSettled tells which settled transaction of this wallet carries a payment's tag.
func (s *State) TagSettled(t Tag) (entry.ID, bool) {
	id, ok := s.tags[t]
	return id, ok
}

// Spender tells whether one of the wallet's notes is spent, and by which transaction.
func (s *State) Spender(nf zk.Nullifier) (id entry.ID, spent bool) {
	i, ok := s.byNullifier[nf]
	if !ok || !s.own[i].Spent {
		return id, false
	}
	return s.own[i].SpentBy, true
}

// Programmes lists the programmes of the ledger in the order in which they were opened.
func (s *State) Programmes() []Programme { return append([]Programme(nil), s.readers.rows...) }

// Rights is what the registry lets this wallet do.
func (s *State) Rights() Rights {
	r := Rights{Opened: map[zk.ProgrammeID]bool{}}
	for _, p := range s.readers.rows {
		r.Opened[p.ID] = p.Open
	}
	row, ok := s.registry.find(s.view.Owner())
	if !ok {
		return r
	}
	r.Registered = true
	r.Frozen = row.Status != zk.Active
	r.Limit = row.Limit
	r.List = append([]zk.Right(nil), s.registry.ownRights...)
	return r
}

// Balance is the value of unspent notes of one asset and programme.
type Balance struct {
	Asset     zk.AssetID     `json:"asset"`
	Programme zk.ProgrammeID `json:"programme"`
	Amount    zk.Amount      `json:"amount"`
	Notes     int            `json:"notes"`
}

// Apply takes the next block and checks it: it follows the last one, its entries decode, its state entry holds the roots and counters
// that follow from its entries, and a checkpoint matches the entries read. A contradiction is the refusal LedgerLied or LedgerForked.
func (s *State) Apply(scanned *Scanned) error {
	if s.broken != nil {
		return s.broken
	}
	if err := s.apply(scanned); err != nil {
		s.broken = err
		return err
	}
	return nil
}

func (s *State) apply(scanned *Scanned) error {
	b := scanned.block
	if b.Height != s.blocks || b.FirstIndex != s.log.Size {
		return Refuse(LedgerLied, "block %d begins at entry %d, the wallet expects block %d at entry %d", b.Height, b.FirstIndex, s.blocks, s.log.Size)
	}
	if scanned.err != nil {
		return scanned.err
	}
	if len(scanned.entries) == 0 {
		return Refuse(LedgerLied, "block %d is empty", b.Height)
	}
	last, ok := scanned.entries[len(scanned.entries)-1].(*entry.State)
	if !ok {
		return Refuse(LedgerLied, "block %d does not end with a state entry", b.Height)
	}
	body := scanned.entries[:len(scanned.entries)-1]
	if b.Height == 0 {
		if err := s.begin(body); err != nil {
			return err
		}
		body = nil
	}
	if last.TimeMillis < s.timeMillis {
		return Refuse(LedgerLied, "ledger time went back from %d to %d in block %d", s.timeMillis, last.TimeMillis, b.Height)
	}
	ids, err := s.administer(body, b)
	if err != nil {
		return err
	}
	f, err := s.follow(scanned, body, ids, last.TimeMillis)
	if err != nil {
		return err
	}
	at, err := s.notes.place(b, body, f.got)
	if err != nil {
		return err
	}
	s.receive(b, body, ids, f, at, last.TimeMillis)
	if err := s.compare(last); err != nil {
		return err
	}
	s.timeMillis = last.TimeMillis
	if err := s.extend(b); err != nil {
		return err
	}
	s.blocks++
	return nil
}

// begin checks block 0 against the genesis that the wallet was made for.
func (s *State) begin(body []entry.Entry) error {
	if len(body) != 1 {
		return Refuse(LedgerLied, "block 0 holds %d entries before its state entry", len(body))
	}
	g, ok := body[0].(*entry.Genesis)
	if !ok {
		return Refuse(LedgerLied, "block 0 does not begin with a genesis entry")
	}
	if hash := g.Hash(); hash != s.hash {
		return Refuse(OtherLedger, "the ledger is %s, the wallet was made for %s", hash, s.hash)
	}
	for _, a := range g.Assets {
		s.supply = append(s.supply, entry.Supply{Asset: a.ID})
	}
	s.timeMillis = g.CreatedMillis
	return nil
}

// administer applies everything but outputs, and returns the ids of the entries.
func (s *State) administer(body []entry.Entry, b *Block) ([]entry.ID, error) {
	ids := make([]entry.ID, len(body))
	for i, e := range body {
		head := e.Head()
		if head == nil {
			return nil, Refuse(LedgerLied, "block %d holds a %s entry at place %d", b.Height, e.Kind(), i)
		}
		if head.Ledger != s.hash {
			return nil, Refuse(LedgerLied, "entry %d of block %d belongs to another ledger", i, b.Height)
		}
		if e.Kind().Privileged() {
			if head.Sequence != s.sequence {
				return nil, Refuse(LedgerLied, "entry %d of block %d has policy sequence %d, the next is %d", i, b.Height, head.Sequence, s.sequence)
			}
			ids[i] = entry.IDOf(e)
			if err := s.genesis.Policy.Verify(ids[i], head.Signatures); err != nil {
				return nil, Refuse(LedgerLied, "entry %d of block %d: %v", i, b.Height, err)
			}
			s.sequence++
		}
		s.nullifiers += uint64(len(entry.Keys(e)))
		switch e := e.(type) {
		case *entry.Transaction:
			if err := s.move(e); err != nil {
				return nil, err
			}
		case *entry.Register:
			if err := s.registry.register(e, s.view.Owner()); err != nil {
				return nil, Refuse(LedgerLied, "entry %d of block %d: %v", i, b.Height, err)
			}
		case *entry.Freeze:
			if err := s.registry.freeze(e); err != nil {
				return nil, Refuse(LedgerLied, "entry %d of block %d: %v", i, b.Height, err)
			}
		case *entry.Programme:
			if err := s.readers.set(e); err != nil {
				return nil, Refuse(LedgerLied, "entry %d of block %d: %v", i, b.Height, err)
			}
		case *entry.Oversight:
			if e.Epoch != s.epoch+1 {
				return nil, Refuse(LedgerLied, "oversight epoch %d follows %d in block %d", e.Epoch, s.epoch, b.Height)
			}
			s.epoch, s.ovk = e.Epoch, e.Key
		}
	}
	return ids, nil
}

// move counts supply.
func (s *State) move(tx *entry.Transaction) error {
	for i := range tx.Legs {
		leg := &tx.Legs[i]
		if leg.Issued == 0 && leg.Redeemed == 0 {
			continue
		}
		for j := range s.supply {
			if row := &s.supply[j]; row.Asset == leg.Asset {
				issued, fits := row.Issued.Plus(leg.Issued)
				redeemed := row.Redeemed + leg.Redeemed
				if !fits || redeemed < row.Redeemed || redeemed > issued {
					return Refuse(LedgerLied, "the supply of asset %d leaves its bounds", leg.Asset)
				}
				row.Issued, row.Redeemed = issued, redeemed
			}
		}
	}
	return nil
}

// receive marks what the block spent, keeps what it brought, and writes the history. at are the positions of f.got.
func (s *State) receive(b *Block, body []entry.Entry, ids []entry.ID, f *followed, at []zk.Position, timeMillis uint64) {
	nextGot, nextTurn := 0, 0
	for i, e := range body {
		tx, moves := e.(*entry.Transaction)
		var spent []int
		if moves {
			spent = s.spentBy(tx)
		}
		got, turns := nextGot, nextTurn // [got, nextGot) and [turns, nextTurn) are of this entry
		for nextGot < len(f.got) && f.got[nextGot].entry == i {
			nextGot++
		}
		for nextTurn < len(f.turns) && f.turns[nextTurn].entry == i {
			nextTurn++
		}
		if len(spent) == 0 && got == nextGot && turns == nextTurn {
			continue
		}
		id := ids[i]
		if id == (entry.ID{}) {
			id = entry.IDOf(e)
		}
		where := Settled{Entry: b.FirstIndex + uint64(i), Height: b.Height, TimeMillis: timeMillis}
		for _, n := range spent {
			s.own[n].Spent, s.own[n].SpentBy = true, id
			s.notes.forget(s.own[n].Position)
		}
		var news []int
		for g := got; g < nextGot; g++ {
			r := &f.got[g]
			if tag, ok := tagOf(r.memo); ok && len(spent) > 0 { // a stranger's memo tags nothing
				s.tags[tag] = id
				r.memo = nil
			}
			if r.note.Value == 0 {
				continue
			}
			news = append(news, s.keep(r, at[g], where))
		}
		var holds []int
		for t := turns; t < nextTurn; t++ {
			holds = append(holds, f.turns[t].hold)
		}
		if len(spent) == 0 && len(news) == 0 && len(holds) == 0 {
			continue
		}
		s.settled[id] = where
		if moves {
			s.remember(tx, id, where, spent, news, holds)
			continue
		}
		for _, n := range holds {
			s.history = append(s.history, s.held[n].movement(false, id, where))
		}
	}
}

// spentBy finds the wallet's notes that a transaction spends.
func (s *State) spentBy(tx *entry.Transaction) (spent []int) {
	for i := range tx.Legs {
		for _, nf := range tx.Legs[i].Nullifiers {
			if n, ok := s.byNullifier[nf]; ok {
				spent = append(spent, n)
			}
		}
	}
	return spent
}

// keep adds a note and returns its index.
func (s *State) keep(r *received, at zk.Position, where Settled) int {
	cm := r.note.Commitment()
	n := OwnNote{Note: r.note, Commitment: cm, Position: at, Nullifier: s.view.Nullify(cm, at), Entry: where.Entry, Leg: r.leg, Output: r.output,
		Hold: r.hold, Height: where.Height, TimeMillis: where.TimeMillis, Memo: r.memo}
	s.byNullifier[n.Nullifier] = len(s.own)
	s.own = append(s.own, n)
	return len(s.own) - 1
}

// remember writes the history of one transaction: a payment received, or a hold placed, is a line of its own; of a transaction that spends
// the wallet's notes the line is what else left, per asset.
func (s *State) remember(tx *entry.Transaction, id entry.ID, where Settled, spent, news, holds []int) {
	for _, n := range holds {
		s.history = append(s.history, s.held[n].movement(true, id, where))
	}
	if len(spent) == 0 {
		direction := In
		if tx.Type == entry.KindIssue {
			direction = Issued
		}
		for _, n := range news {
			note := &s.own[n]
			s.history = append(s.history, Movement{Direction: direction, Settled: where, TxID: id, Asset: note.Note.Asset, Programme: note.Note.Programme,
				Amount: note.Note.Value, Reference: string(note.Memo), Leg: note.Leg, Output: note.Output})
		}
		return
	}
	type sums struct {
		in, out zk.Amount // in: what came back, and what waits in holds of this wallet
		held    bool
	}
	byAsset := map[zk.AssetID]*sums{}
	var order []zk.AssetID
	programme := map[zk.AssetID]zk.ProgrammeID{}
	for _, n := range spent {
		note := s.own[n].Note
		if byAsset[note.Asset] == nil {
			byAsset[note.Asset] = &sums{}
			programme[note.Asset] = note.Programme
			order = append(order, note.Asset)
		}
		byAsset[note.Asset].out += note.Value
	}
	for _, n := range news {
		if a := byAsset[s.own[n].Note.Asset]; a != nil {
			a.in += s.own[n].Note.Value
		}
	}
	for _, n := range holds {
		if h := &s.held[n]; h.Mine && byAsset[h.Asset()] != nil {
			a := byAsset[h.Asset()]
			a.in += h.Amount()
			a.held = true
		}
	}
	for _, asset := range order {
		m := Movement{Direction: Out, Settled: where, TxID: id, Asset: asset, Programme: programme[asset]}
		switch a := byAsset[asset]; {
		case a.out > a.in:
			m.Amount = a.out - a.in
			if tx.Type == entry.KindRedeem {
				m.Direction = Redeemed
			}
		case a.out == a.in && a.held:
			continue // all that left waits in the hold
		case a.out == a.in:
			m.Direction, m.Amount = Internal, a.out
		default: // an issue that merges notes
			m.Direction, m.Amount = Issued, a.in-a.out
		}
		s.history = append(s.history, m)
	}
}

// compare holds the computed state against the block's state entry. A difference means that the ledger lied: about its entries, or about
// its roots.
func (s *State) compare(last *entry.State) error {
	want := entry.State{
		Height:         s.blocks,
		TimeMillis:     last.TimeMillis,
		Tree:           s.notes.number,
		TreeSize:       s.notes.size(),
		NoteRoot:       s.notes.root(),
		RegistryRoot:   s.registry.tree.Root(),
		ReadersRoot:    s.readers.tree.Root(),
		RegistryLeaves: uint32(len(s.registry.rows)),
		OversightEpoch: s.epoch,
		PolicyHash:     s.genesis.Policy.Hash(),
		CircuitsHash:   s.genesis.CircuitsHash(),
		Nullifiers:     s.nullifiers,
		NextSequence:   s.sequence,
		Holds:          s.holds,
		Supply:         s.supply,
	}
	for _, part := range []struct {
		name string
		same bool
	}{
		{"height", last.Height == want.Height},
		{"note tree", last.Tree == want.Tree && last.TreeSize == want.TreeSize && last.NoteRoot == want.NoteRoot},
		{"registry root", last.RegistryRoot == want.RegistryRoot && last.RegistryLeaves == want.RegistryLeaves},
		{"readers' root", last.ReadersRoot == want.ReadersRoot},
		{"oversight epoch", last.OversightEpoch == want.OversightEpoch},
		{"policy", last.PolicyHash == want.PolicyHash && last.CircuitsHash == want.CircuitsHash},
		{"counters", last.Nullifiers == want.Nullifiers && last.NextSequence == want.NextSequence},
		{"number of open holds", last.Holds == want.Holds},
		{"supply", fmt.Sprint(last.Supply) == fmt.Sprint(want.Supply)},
	} {
		if !part.same {
			return Refuse(LedgerLied, "the state entry of block %d has another %s than its entries give", s.blocks, part.name)
		}
	}
	return nil
}
