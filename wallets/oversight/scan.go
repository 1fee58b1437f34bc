package oversight

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

// Config says what to scan with.
type Config struct {
	// Genesis, when not zero, is the ledger that the log must be of.
	Genesis entry.GenesisHash
	// Secrets are those of oversight epochs and of readers, in any order: which is which is found by comparing public keys. Without any, a
	// scan counts what is public.
	Secrets []zk.Scalar
	// Checkpoint, if not nil, was checked against the genesis policy. The log must reach it and have its root.
	Checkpoint *proof.Final
	// From, if not nil, is where to go on: blocks begin at its Next. It is refused by name when it is not of this ledger or of these secrets
	// (StateInvalid), and when the checkpoint shows less (LogRolledBack) or something else (HistoryDiffers) than was read before.
	From *Saved
	// Save, if not nil, is given the state at the checkpoint, for ParseSaved, unless nothing is new since From.
	Save func(state []byte)
	// Workers is the number of goroutines that decode and open; at least one.
	Workers int
	// Progress, if not nil, is told how many entries are done, from the goroutine that called Scan.
	Progress func(entries uint64)
}

// chunkEntries is how many entries are decoded and opened together: enough for the workers, little enough for the memory.
const chunkEntries = 512

// Scan reads a log from its genesis block, or from where an earlier scan stopped, to the end of blocks. An error means that there is no audit: the blocks do not follow one another,
// an entry is not well-formed, the checkpoint contradicts the entries (wallets.LedgerLied), it is another ledger's log (wallets.OtherLedger), a
// secret is not of this ledger (KeyUnknown), or reading failed. Everything else becomes a Mismatch.
func Scan(ctx context.Context, blocks iter.Seq2[*wallets.Block, error], c Config) (*Audit, error) {
	s := newScanner(c)
	if c.From != nil {
		if err := s.restore(c.From); err != nil {
			return nil, err
		}
	}
	var chunk []*prepared
	entries := 0
	for b, err := range blocks {
		if err != nil {
			return nil, fmt.Errorf("read the log: %w", err)
		}
		chunk = append(chunk, &prepared{block: b})
		entries += len(b.Entries)
		final := c.Save != nil && c.Checkpoint != nil && b.FirstIndex+uint64(len(b.Entries)) == c.Checkpoint.Size // what is saved is opened
		if entries < chunkEntries && !final {
			continue
		}
		if err := s.chunk(ctx, chunk); err != nil {
			return nil, err
		}
		if chunk, entries = chunk[:0], 0; final && s.final && !s.saved {
			s.saved = true
			c.Save(s.save())
		}
	}
	if err := s.chunk(ctx, chunk); err != nil {
		return nil, err
	}
	return s.finish()
}

// prepared is a block after the work that needs no order.
type prepared struct {
	block   *wallets.Block
	entries []entry.Entry
	ids     []entry.ID
	hashes  []proof.Hash
	err     error
}

func (p *prepared) decode() {
	b := p.block
	p.entries = make([]entry.Entry, len(b.Entries))
	p.ids = make([]entry.ID, len(b.Entries))
	p.hashes = make([]proof.Hash, len(b.Entries))
	for i, raw := range b.Entries {
		e, err := entry.Decode(raw)
		if err != nil {
			p.err = wallets.Refuse(wallets.LedgerLied, "entry %d: %v", b.FirstIndex+uint64(i), err)
			return
		}
		p.entries[i], p.hashes[i] = e, proof.LeafHash(raw)
		if e.Head() != nil {
			p.ids[i] = entry.IDOf(e)
		}
	}
}

// secret is one of the caller's keys and its public half.
type secret struct {
	scalar zk.Scalar
	public zk.Point
	used   bool // it is some key of this ledger
}

// readerKey opens the legs of one programme.
type readerKey struct {
	programme zk.ProgrammeID
	scalar    zk.Scalar
}

// job is a leg to open. It holds the keys that were registered when the leg was logged.
type job struct {
	leg       int // index into Audit.legs
	public    zk.LegPublic
	oversight *zk.Scalar
	readers   []readerKey
	problem   *Mismatch // set by open
}

type scanner struct {
	c        Config
	a        *Audit
	secrets  []secret
	epochs   map[uint32]*zk.Scalar // began; nil where no secret was given
	epoch    uint32
	readers  []readerKey // append-only: jobs hold earlier lengths of it
	log      proof.Range
	blocks   uint64
	time     uint64
	sequence uint64
	spent    map[zk.Nullifier]uint64 // once-only keys used up, with the entry
	open     uint32                  // holds
	ovk      zk.Point                // of the present epoch
	final    bool                    // the checkpoint was met
	saved    bool

	from       *Saved       // where this scan goes on
	began      []registered // oversight keys, by epoch
	registered []registered // readers' keys, by programme
}

func newScanner(c Config) *scanner {
	c.Workers = max(1, c.Workers)
	s := &scanner{c: c, a: &Audit{notes: newNoteTrees(), opened: map[uint32]bool{}, byHold: map[entry.HoldID]int{}}, epochs: map[uint32]*zk.Scalar{}, sequence: 1,
		spent: map[zk.Nullifier]uint64{}}
	for _, x := range c.Secrets {
		s.secrets = append(s.secrets, secret{scalar: x, public: x.Base()})
	}
	return s
}

// parallel runs task(0) to task(n-1) on the workers and returns when all that were begun are done.
func (s *scanner) parallel(ctx context.Context, n int, task func(i int)) error {
	var next atomic.Int64
	var wait sync.WaitGroup
	for range min(n, s.c.Workers) {
		wait.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				task(i)
			}
		})
	}
	wait.Wait()
	return ctx.Err()
}

// chunk does some blocks: what can be done in any order on all workers, the rest in the order of the log.
func (s *scanner) chunk(ctx context.Context, chunk []*prepared) error {
	if err := s.parallel(ctx, len(chunk), func(i int) { chunk[i].decode() }); err != nil {
		return err
	}
	var jobs []*job
	for _, p := range chunk {
		more, err := s.block(p)
		if err != nil {
			return err
		}
		jobs = append(jobs, more...)
	}
	if err := s.parallel(ctx, len(jobs), func(i int) { jobs[i].open(&s.a.legs[jobs[i].leg]) }); err != nil {
		return err
	}
	for _, j := range jobs {
		if j.problem != nil {
			s.a.Mismatches = append(s.a.Mismatches, *j.problem)
		}
	}
	if s.c.Progress != nil {
		s.c.Progress(s.log.Size)
	}
	return nil
}

// block takes the next block: order, entries, places of outputs, state entry, checkpoint.
func (s *scanner) block(p *prepared) ([]*job, error) {
	b := p.block
	if b.Height != s.blocks || b.FirstIndex != s.log.Size {
		if s.from != nil && s.log.Size == s.from.head.Size {
			return nil, wallets.Refuse(HistoryDiffers, "block %d begins at entry %d; before, block %d began at entry %d", b.Height, b.FirstIndex, s.blocks, s.log.Size)
		}
		return nil, wallets.Refuse(wallets.LedgerLied, "block %d begins at entry %d where block %d at entry %d belongs", b.Height, b.FirstIndex, s.blocks, s.log.Size)
	}
	if p.err != nil {
		return nil, p.err
	}
	last := len(p.entries) - 1
	if last < 0 {
		return nil, wallets.Refuse(wallets.LedgerLied, "block %d is empty", b.Height)
	}
	state, ok := p.entries[last].(*entry.State)
	if !ok || state.Height != b.Height {
		return nil, wallets.Refuse(wallets.LedgerLied, "block %d does not end with its state entry", b.Height)
	}
	body := p.entries[:last]
	if b.Height == 0 {
		if err := s.begin(body); err != nil {
			return nil, err
		}
		body = nil
	}
	if state.TimeMillis < s.time {
		return nil, wallets.Refuse(wallets.LedgerLied, "ledger time went back from %d to %d in block %d", s.time, state.TimeMillis, b.Height)
	}
	s.time = state.TimeMillis
	var places []placing
	var jobs []*job
	for i, e := range body {
		index := b.FirstIndex + uint64(i)
		head := e.Head()
		if head == nil {
			return nil, wallets.Refuse(wallets.LedgerLied, "block %d holds a %s entry at place %d", b.Height, e.Kind(), i)
		}
		if head.Ledger != s.a.Genesis.Hash() {
			return nil, wallets.Refuse(wallets.LedgerLied, "entry %d belongs to another ledger", index)
		}
		if e.Kind().Privileged() {
			s.privileged(e, p.ids[i], b.Height, index)
		}
		switch e := e.(type) {
		case *entry.Transaction:
			s.a.Transactions++
			for l := range e.Legs {
				jobs = append(jobs, s.leg(e, l, p.ids[i], b.Height, index))
				places = append(places, placingOf(&e.Legs[l], len(s.a.legs)-1))
				if e.Legs[l].Circuit.Shape().Held {
					s.hold(&e.Legs[l], entry.HoldID{Tx: p.ids[i], Leg: uint8(l)})
				}
			}
		case *entry.Resolve, *entry.Override:
			s.use(e, b.Height, index)
			places = append(places, s.resolution(e, p.ids[i], b.Height, index))
		case *entry.Amend:
			s.use(e, b.Height, index)
			s.amend(e, b.Height, index)
		case *entry.Programme:
			s.programme(e)
		case *entry.Oversight:
			s.begins(e.Epoch, e.Key)
		default:
			s.use(e, b.Height, index)
		}
	}
	at, err := s.a.notes.place(places, b.Height)
	if err != nil {
		return nil, wallets.Refuse(wallets.LedgerLied, "place the outputs of block %d: %v", b.Height, err)
	}
	for i, p := range places {
		switch {
		case p.hold >= 0:
			s.a.holds[p.hold].at = at[i]
		case p.leg >= 0:
			s.a.legs[p.leg].Base = at[i]
		}
	}
	s.compare(state, b.FirstIndex+uint64(last))
	for _, h := range p.hashes {
		s.log.Append(h)
	}
	s.blocks++
	return jobs, s.checkpoint()
}

func (s *scanner) mismatch(problem Problem, height, index uint64, leg int, format string, args ...any) {
	s.a.Mismatches = append(s.a.Mismatches, Mismatch{problem, height, index, leg, fmt.Sprintf(format, args...)})
}

func (s *scanner) begin(body []entry.Entry) error {
	var g *entry.Genesis
	if len(body) == 1 {
		g, _ = body[0].(*entry.Genesis)
	}
	if g == nil {
		return wallets.Refuse(wallets.LedgerLied, "block 0 is not a genesis entry and a state entry")
	}
	if hash := g.Hash(); s.c.Genesis != (entry.GenesisHash{}) && hash != s.c.Genesis {
		return wallets.Refuse(wallets.OtherLedger, "the log is of ledger %s, want %s", hash, s.c.Genesis)
	}
	s.a.Genesis = g
	s.time = g.CreatedMillis
	for _, asset := range g.Assets {
		s.a.supply = append(s.a.supply, entry.Supply{Asset: asset.ID})
	}
	s.begins(entry.GenesisOversightEpoch, g.OversightKey)
	return nil
}

// privileged checks the policy's signatures: which keys read the ledger and who issued rests on them.
func (s *scanner) privileged(e entry.Entry, id entry.ID, height, index uint64) {
	head := e.Head()
	if err := s.a.Genesis.Policy.Verify(id, head.Signatures); err != nil {
		s.mismatch(SignatureInvalid, height, index, -1, "%v", err)
	}
	if head.Sequence != s.sequence {
		s.mismatch(SignatureInvalid, height, index, -1, "policy sequence %d where %d belongs", head.Sequence, s.sequence)
	}
	s.sequence = head.Sequence + 1
}

// match finds the caller's secret of a registered key.
func (s *scanner) match(key zk.Point) *zk.Scalar {
	for i := range s.secrets {
		if s.secrets[i].public.Equal(key) {
			s.secrets[i].used = true
			return &s.secrets[i].scalar
		}
	}
	return nil
}

func (s *scanner) begins(epoch uint32, key zk.Point) {
	s.epoch, s.ovk = epoch, key
	s.began = append(s.began, registered{uint64(epoch), key})
	s.epochs[epoch] = s.match(key)
	s.a.opened[epoch] = s.epochs[epoch] != nil
}

func (s *scanner) programme(e *entry.Programme) {
	row := Programme{ID: e.Programme, Name: e.Name}
	if i := slices.IndexFunc(s.a.Programmes, func(p Programme) bool { return p.ID == e.Programme }); i >= 0 {
		s.a.Programmes[i] = row
	} else {
		s.a.Programmes = append(s.a.Programmes, row)
	}
	s.reads(e.Programme, e.Reader)
}

// reads books the key of a programme's reader.
func (s *scanner) reads(p zk.ProgrammeID, key zk.Point) {
	s.registered = append(s.registered, registered{uint64(p), key})
	if x := s.match(key); x != nil {
		s.readers = append(s.readers, readerKey{p, *x})
	}
}

// use books the once-only keys of an entry that moves no money.
func (s *scanner) use(e entry.Entry, height, index uint64) {
	s.once(entry.Keys(e), height, index, -1)
}

func (s *scanner) once(keys []zk.Nullifier, height, index uint64, number int) {
	for _, nf := range keys {
		if before, twice := s.spent[nf]; twice {
			s.mismatch(NullifierRepeated, height, index, number, "nullifier %s stands in entry %d already", nf, before)
		}
		s.spent[nf] = index
	}
}

// leg books what a leg shows, and makes the job of opening it.
func (s *scanner) leg(tx *entry.Transaction, number int, id entry.ID, height, index uint64) *job {
	leg := &tx.Legs[number]
	s.once(leg.Nullifiers, height, index, number)
	if leg.Issued != 0 || leg.Redeemed != 0 {
		i := slices.IndexFunc(s.a.supply, func(r entry.Supply) bool { return r.Asset == leg.Asset })
		if i < 0 {
			s.mismatch(AssetDiffers, height, index, number, "asset %d is not an asset of this ledger", leg.Asset)
		} else {
			row := &s.a.supply[i]
			issued, fits := row.Issued.Plus(leg.Issued)
			redeemed, fitsToo := row.Redeemed.Plus(leg.Redeemed)
			if !fits || !fitsToo || redeemed > issued {
				s.mismatch(SupplyDiffers, height, index, number, "the supply of asset %d leaves its bounds", leg.Asset)
			}
			row.Issued, row.Redeemed = issued, redeemed
		}
	}
	commits := leg.Commitments
	if leg.Circuit.Shape().Held {
		commits = append(slices.Clone(commits), leg.ReturnCommitment)
	}
	s.a.legs = append(s.a.legs, Leg{Entry: index, Number: number, Height: height, TimeMillis: s.time, ID: id, Kind: tx.Type, Circuit: leg.Circuit,
		Epoch: leg.OversightEpoch, Asset: leg.Asset, Programme: leg.Programme, Issued: leg.Issued, Redeemed: leg.Redeemed, anchor: leg.Anchor,
		commits: commits})
	x, began := s.epochs[leg.OversightEpoch]
	if !began {
		s.mismatch(EpochUnknown, height, index, number, "oversight epoch %d has not begun", leg.OversightEpoch)
	}
	return &job{leg: len(s.a.legs) - 1, public: leg.Public(zk.Root{}, zk.Root{}, zk.Root{}, zk.Point{}, zk.Field{}), oversight: x,
		readers: s.readers[:len(s.readers):len(s.readers)]}
}

// open tries the keys that are meant for the leg. It touches this job and its leg alone.
func (j *job) open(l *Leg) {
	broken := func(problem Problem, format string, args ...any) {
		l.Access, l.Opened = Broken, nil
		j.problem = &Mismatch{problem, l.Height, l.Entry, l.Number, fmt.Sprintf(format, args...)}
	}
	if j.oversight != nil {
		opened, err := keys.OpenAsOversight(*j.oversight, &j.public)
		if err != nil {
			broken(problemOf(err), "%v", err)
			return
		}
		l.Access, l.Opened = ByOversight, opened
	}
	shown := l.Issued != 0 || l.Redeemed != 0
	for i := len(j.readers) - 1; i >= 0 && l.Opened == nil; i-- {
		opened, err := keys.OpenAsReader(j.readers[i].scalar, &j.public)
		if err == nil {
			l.Access, l.Opened, l.reader = ByReader, opened, j.readers[i].programme
		} else if shown && j.readers[i].programme == l.Programme && i == j.newest(l.Programme) {
			// The only legs that a reader knows to be its own without opening them.
			broken(problemOf(err), "a leg of programme %d does not open with its reader's key: %v", l.Programme, err)
			return
		}
	}
	if l.Opened == nil {
		return
	}
	asset := l.AssetOf()
	for o := range l.Opened.Outputs {
		if n := &l.Opened.Outputs[o]; n.Asset != asset {
			broken(AssetDiffers, "output %d is of asset %d, the leg of asset %d", o, n.Asset, asset)
			return
		}
	}
}

// newest is the index of a programme's latest reader key.
func (j *job) newest(p zk.ProgrammeID) int {
	for i := len(j.readers) - 1; i >= 0; i-- {
		if j.readers[i].programme == p {
			return i
		}
	}
	return -1
}

// compare holds a state entry against what the entries give.
func (s *scanner) compare(state *entry.State, index uint64) {
	root := s.a.notes.frontier.Root()
	for _, part := range []struct {
		name      string
		got, want any
	}{
		{"note tree", state.Tree, s.a.notes.number},
		{"note tree size", state.TreeSize, s.a.notes.frontier.Size()},
		{"note root", state.NoteRoot, root},
		{"oversight epoch", state.OversightEpoch, s.epoch},
		{"number of nullifiers", state.Nullifiers, uint64(len(s.spent))},
		{"next policy sequence", state.NextSequence, s.sequence},
		{"number of open holds", state.Holds, s.open},
		{"policy", state.PolicyHash, s.a.Genesis.Policy.Hash()},
	} {
		if part.got != part.want {
			s.mismatch(StateDiffers, state.Height, index, -1, "%s %v, the entries give %v", part.name, part.got, part.want)
		}
	}
	if !slices.Equal(state.Supply, s.a.supply) {
		s.mismatch(StateDiffers, state.Height, index, -1, "supply %v, the entries give %v", state.Supply, s.a.supply)
	}
	s.a.state = state
}

// checkpoint compares the root when the scan passes the size that was cosigned.
func (s *scanner) checkpoint() error {
	c := s.c.Checkpoint
	if c == nil || s.final || s.log.Size < c.Size {
		return nil
	}
	if s.log.Size > c.Size {
		return wallets.Refuse(wallets.LedgerLied, "the checkpoint of %d entries does not end a block", c.Size)
	}
	if s.log.Root() != c.Root && s.from != nil {
		return wallets.Refuse(HistoryDiffers, "with what was read before, under the root %v of %d entries, the first %d entries do not hash to the root that is cosigned now", s.from.head.Root, s.from.head.Size, c.Size)
	}
	if s.log.Root() != c.Root {
		return wallets.Refuse(wallets.LedgerLied, "the first %d entries do not hash to the root that was cosigned", c.Size)
	}
	s.final, s.a.FinalSize = true, c.Size
	return nil
}

func (s *scanner) finish() (*Audit, error) {
	if s.blocks == 0 {
		return nil, wallets.Refuse(wallets.LedgerLied, "the log is empty")
	}
	if s.c.Checkpoint != nil && !s.final {
		return nil, wallets.Refuse(wallets.LedgerLied, "the log ends after %d entries, %d were cosigned", s.log.Size, s.c.Checkpoint.Size)
	}
	var unknown []error
	for i := range s.secrets {
		if !s.secrets[i].used {
			unknown = append(unknown, wallets.Refuse(KeyUnknown, "key %d (public %s) is that of no oversight epoch and of no programme's reader of this ledger",
				i+1, s.secrets[i].public))
		}
	}
	if len(unknown) > 0 {
		return nil, errors.Join(unknown...)
	}
	slices.SortStableFunc(s.a.Mismatches, func(x, y Mismatch) int { return cmp.Or(cmp.Compare(x.Entry, y.Entry), cmp.Compare(x.Leg, y.Leg)) }) // however it was read
	s.a.Size, s.a.Height, s.a.Root = s.log.Size, s.blocks-1, s.log.Root()
	return s.a, nil
}
