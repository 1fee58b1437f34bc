package settlement

import (
	"fmt"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/planted"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/zk"
)

// State is everything that is needed to judge the next block, but for the set
// of spent nullifiers, which the store keeps. It never changes once made:
// Sequence makes the next one. Any number of goroutines may read it.
type State struct {
	rules *rulebook

	height       uint64
	time         uint64 // milliseconds; ledger time of the last block
	lastActivity uint64 // ledger time of the last block that held a client's entry
	log          proof.Range

	notes  noteTree
	nulls  uint64 // nullifiers spent and other once-only keys used up so far
	supply []entry.Supply

	registry        *registry // shared between states until one changes it
	registryRoot    zk.Root
	registryWindows []window

	programmes    *programmes // shared likewise
	readersRoot   zk.Root
	readerWindows []window

	oversightEpoch uint32
	oversightKey   zk.Point

	nextSequence uint64

	holds         holdSet    // open holds; versions share what they have in common
	corridors     *corridors // shared like the registry
	corridorsHash [32]byte

	day     Day
	entries [kinds]uint64 // in the log, by kind
}

// rulebook is what genesis fixes for ever, with hashes computed once.
type rulebook struct {
	genesis      *entry.Genesis
	leaf         []byte // the genesis entry's bytes
	hash         entry.GenesisHash
	policyHash   [32]byte
	circuitsHash [32]byte
	circuits     map[zk.CircuitID]uint8 // accepted version
	bugs         planted.Set            // empty outside the tests that test the tests
}

// Begin makes the state of a new ledger and its block 0: the genesis entry and
// the first state entry (L4.1). It refuses a genesis that breaks a rule.
func Begin(genesis *entry.Genesis) (*State, *Block, error) {
	if err := genesis.Validate(); err != nil {
		return nil, nil, err
	}
	rules := newRulebook(genesis)
	s := &State{
		rules:          rules,
		time:           genesis.CreatedMillis,
		lastActivity:   genesis.CreatedMillis,
		notes:          newNoteTree(),
		registry:       newRegistry(),
		programmes:     newProgrammes(),
		oversightEpoch: entry.GenesisOversightEpoch,
		oversightKey:   genesis.OversightKey,
		nextSequence:   1,
		corridors:      newCorridors(),
	}
	s.entries[entry.KindGenesis], s.entries[entry.KindState] = 1, 1
	s.corridorsHash = s.corridors.hash()
	s.registryRoot, s.readersRoot = s.registry.root(), s.programmes.root()
	for _, a := range genesis.Assets {
		s.supply = append(s.supply, entry.Supply{Asset: a.ID})
	}
	block := &Block{
		Time:    s.time,
		Entries: [][]byte{rules.leaf, entry.Encode(s.Entry())},
		Anchor:  s.Anchor(),
	}
	for _, leaf := range block.Entries {
		s.log = s.log.With(leaf)
	}
	block.Root = s.log.Root()
	return s, block, nil
}

// Load makes the state of block 0 from its bytes, as replay finds them: bare
// from the log or whole from a store.
func Load(block *Block) (*State, error) {
	if block.Height != 0 || block.FirstIndex != 0 || len(block.Entries) != 2 {
		return nil, fmt.Errorf("settlement: block %d at index %d with %d entries is no genesis block", block.Height, block.FirstIndex, len(block.Entries))
	}
	genesis, err := entry.DecodeGenesis(block.Entries[0])
	if err != nil {
		return nil, fmt.Errorf("settlement: entry 0: %w", err)
	}
	s, want, err := Begin(genesis)
	if err != nil {
		return nil, fmt.Errorf("settlement: entry 0: %w", err)
	}
	if err := want.Matches(block); err != nil {
		return nil, err
	}
	return s, nil
}

func newRulebook(genesis *entry.Genesis) *rulebook {
	r := &rulebook{
		genesis:      genesis,
		leaf:         entry.Encode(genesis),
		hash:         genesis.Hash(),
		policyHash:   genesis.Policy.Hash(),
		circuitsHash: genesis.CircuitsHash(),
		circuits:     make(map[zk.CircuitID]uint8),
	}
	for _, c := range genesis.Circuits {
		r.circuits[c.ID] = c.Version
	}
	return r
}

// Genesis returns the ledger's genesis entry, which callers must not change.
func (s *State) Genesis() *entry.Genesis { return s.rules.genesis }

// GenesisHash names the ledger.
func (s *State) GenesisHash() entry.GenesisHash { return s.rules.hash }

// Height is that of the last block.
func (s *State) Height() uint64 { return s.height }

// Time is the ledger time of the last block in milliseconds.
func (s *State) Time() uint64 { return s.time }

// LedgerTime gives the ledger time for a wall clock, both in milliseconds: it
// never goes back (L4.2).
func (s *State) LedgerTime(wall uint64) uint64 { return max(s.time, wall) }

// LogSize is the number of entries in the log.
func (s *State) LogSize() uint64 { return s.log.Size }

// LogRoot is the RFC 6962 root of the log.
func (s *State) LogRoot() [32]byte { return s.log.Root() }

// Head is where a store that holds this state's last block stands.
func (s *State) Head(epoch uint64) Head {
	return Head{Epoch: epoch, Height: s.height, Size: s.log.Size, Root: s.log.Root()}
}

// NextSequence is the policy sequence number that the next privileged entry
// must carry.
func (s *State) NextSequence() uint64 { return s.nextSequence }

// Oversight returns the current oversight epoch and key.
func (s *State) Oversight() (uint32, zk.Point) { return s.oversightEpoch, s.oversightKey }

// Supply returns issued and redeemed of every asset, ascending by id.
func (s *State) Supply() []entry.Supply { return append([]entry.Supply(nil), s.supply...) }

// Anchor returns the roots that legs may name the last block for.
func (s *State) Anchor() Anchor {
	return Anchor{
		Height:       s.height,
		Time:         s.time,
		Tree:         s.notes.number,
		TreeSize:     s.notes.size(),
		NoteRoot:     s.notes.root,
		RegistryRoot: s.registryRoot,
		ReadersRoot:  s.readersRoot,
	}
}

// Entry is the state entry of the last block (L4.3).
func (s *State) Entry() *entry.State {
	return &entry.State{
		Height:         s.height,
		TimeMillis:     s.time,
		Tree:           s.notes.number,
		TreeSize:       s.notes.size(),
		NoteRoot:       s.notes.root,
		RegistryRoot:   s.registryRoot,
		ReadersRoot:    s.readersRoot,
		RegistryLeaves: s.registry.size(),
		OversightEpoch: s.oversightEpoch,
		PolicyHash:     s.rules.policyHash,
		CircuitsHash:   s.rules.circuitsHash,
		Nullifiers:     s.nulls,
		NextSequence:   s.nextSequence,
		Holds:          uint32(s.holds.len()),
		CorridorsHash:  s.corridorsHash,
		Supply:         s.Supply(),
	}
}

// MayExpire tells whether an idle ledger should log a state entry at the ledger
// time `now`, both in milliseconds, because something may still expire: an
// entry that was built while the ledger was active, an open hold, what a peer
// saw last of a ledger with corridors, or an entry with the expiry seenExpiry, the greatest that the driver has seen in a submission that was
// not refused as expiry_too_far (L4.12; or anybody could keep an idle ledger
// awake for ever). Only a logged time makes "expired" final.
func (s *State) MayExpire(now, seenExpiry uint64) bool {
	horizon := add(s.lastActivity, max(s.rules.genesis.MaxExpiryMillis, s.rules.genesis.RegistryWindowMillis))
	if len(s.corridors.rows) > 0 {
		horizon = ^uint64(0)
	}
	return now > s.time && s.time < max(horizon, seenExpiry, s.holds.latest())
}

// Planted returns the state with bugs built in, for the tests that test the
// simulation. Only packages below settlement can name a bug.
func (s *State) Planted(bugs planted.Set) *State {
	next, rules := *s, *s.rules
	rules.bugs = bugs
	next.rules = &rules
	next.corridors = s.corridors.planted(bugs)
	return &next
}

// add is addition that stops at the greatest value, for times.
func add(a, b uint64) uint64 {
	if a+b < a {
		return ^uint64(0)
	}
	return a + b
}
