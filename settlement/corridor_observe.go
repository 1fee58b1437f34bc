package settlement

import (
	"crypto/ed25519"
	"slices"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/planted"
	"github.com/comity-ledger/comity/settlement/proof"
)

// observation is what admission verified of an observe entry under one version
// of its corridor: every signature, growth and the state leaf. Only the block
// knows whether that version still stands and which cosignatures lie in the
// future.
type observation struct {
	version      uint64
	keys         []entry.SignerKey // the chain with the entry's rotations
	cosignatures []cosignature
	peerTime     uint64
}

// cosignature is one of a distinct witness of the corridor.
type cosignature struct {
	own         bool
	unixSeconds uint64
}

// admitObserve verifies what needs signatures and hashes, in the order of
// L9.4. Judged again in the block: see observe.
func (c *corridors) admitObserve(e *entry.Observe) (*observation, error) {
	row, err := c.row(e.Peer)
	if err != nil {
		return nil, err
	}
	head := proof.Head{Size: e.Size, Root: e.Root}
	// An older size is told apart from a fork before anybody pays for
	// signatures: most of them come from the slower of two relayers.
	past := row.judgePast(head)
	if entry.CodeOf(past) == entry.PeerCheckpointOld {
		return nil, past
	}
	o := &observation{version: row.version}
	if o.keys, err = row.rotate(e.Rotations); err != nil {
		return nil, err
	}
	if o.cosignatures, err = row.openCheckpoint(e, o.keys[len(o.keys)-1]); err != nil {
		return nil, err
	}
	if err := quorum(row.terms, o.cosignatures, ^uint64(0), c.bugs); err != nil {
		return nil, err
	}
	if past != nil { // signed by the log and its witnesses: a fork indeed
		return nil, past
	}
	if !c.bugs.Has(planted.CorridorGrowthUnchecked) {
		if err := row.judgeGrowth(head, hashes(e.Consistency)); err != nil {
			return nil, err
		}
	}
	if err := proof.VerifyInclusion(head, e.Size-1, proof.LeafHash(e.State), hashes(e.StatePath)); err != nil {
		return nil, entry.Refuse(entry.PeerCheckpointInvalid, "state entry: %v", err)
	}
	state, err := entry.DecodeState(e.State)
	if err != nil {
		return nil, entry.Refuse(entry.PeerCheckpointInvalid, "the last leaf is no state entry: %v", err)
	}
	if state.TimeMillis < row.peerTime {
		return nil, entry.Refuse(entry.PeerCheckpointInvalid, "the peer's ledger time went back from %d to %d", row.peerTime, state.TimeMillis)
	}
	o.peerTime = state.TimeMillis
	return o, nil
}

// judgePast refuses a head that does not lie past the last one: one of two
// roots for a size, or an old one.
func (row *corridor) judgePast(head proof.Head) error {
	last := row.last()
	if head.Size > last.Size {
		return nil
	}
	if was, seen := row.seenAt(head.Size); seen && was.Root != head.Root {
		return entry.Refuse(entry.PeerForked, "two roots for %d leaves: %v observed, %v offered", head.Size, was.Root, head.Root)
	}
	return entry.Refuse(entry.PeerCheckpointOld, "%d leaves, %d were observed", head.Size, last.Size)
}

// judgeGrowth checks that head begins with all leaves of the last one (L9.4).
// A path that leads to head from another root for the last size shows a fork;
// one from a head observed a little earlier was overtaken by another relayer;
// any other path shows nothing.
func (row *corridor) judgeGrowth(head proof.Head, path []proof.Hash) error {
	last := row.last()
	err := proof.VerifyConsistency(last, head, path)
	if err == nil {
		return nil
	}
	if older, newer, ok := consistencyRoots(last.Size, head.Size, path); ok && newer == head.Root {
		return entry.Refuse(entry.PeerForked, "%d leaves of the tree of %d have the root %v, observed was %v", last.Size, head.Size, older, last.Root)
	}
	earlier := row.seen[max(0, len(row.seen)-maxOvertaken):]
	if slices.ContainsFunc(earlier, func(was proof.Head) bool { return proof.VerifyConsistency(was, head, path) == nil }) {
		return overtaken(row)
	}
	return entry.Refuse(entry.PeerCheckpointInvalid, "growth from %d leaves: %v", last.Size, err)
}

// maxOvertaken is how many observations a relayer may have been overtaken by
// and still be told so.
const maxOvertaken = 16

// overtaken tells a relayer that what it proves from has changed since.
func overtaken(row *corridor) error {
	return entry.Refuse(entry.TryLater, "the corridor to %s moved on to %d leaves: prove growth from there", row.terms.Name, row.last().Size)
}

// consistencyRoots computes both roots that a consistency proof leads to, RFC
// 9162 section 2.1.4.2. It fails where the proof leaves the older root out,
// which it does for a power of two.
func consistencyRoots(older, newer uint64, path []proof.Hash) (olderRoot, newerRoot proof.Hash, ok bool) {
	if older == 0 || older >= newer || older&(older-1) == 0 || len(path) == 0 {
		return olderRoot, newerRoot, false
	}
	fn, sn := older-1, newer-1
	for fn&1 == 1 {
		fn, sn = fn>>1, sn>>1
	}
	olderRoot, newerRoot = path[0], path[0]
	for _, h := range path[1:] {
		switch {
		case sn == 0:
			return olderRoot, newerRoot, false
		case fn&1 == 1 || fn == sn:
			olderRoot, newerRoot = proof.NodeHash(h, olderRoot), proof.NodeHash(h, newerRoot)
			for fn&1 == 0 && fn != 0 {
				fn, sn = fn>>1, sn>>1
			}
		default:
			newerRoot = proof.NodeHash(newerRoot, h)
		}
		fn, sn = fn>>1, sn>>1
	}
	return olderRoot, newerRoot, sn == 0
}

// rotate follows rotations from the corridor's log key (L9.3) and gives the
// chain with them.
func (row *corridor) rotate(rotations []entry.Rotation) ([]entry.SignerKey, error) {
	keys := row.keys
	for i := range rotations {
		n := &rotations[i]
		refuse := func(format string, args ...any) ([]entry.SignerKey, error) {
			return nil, entry.Refuse(entry.RotationInvalid, format, args...)
		}
		if len(keys) >= maxChain {
			return refuse("rotation %d: after %d the treasury sets the log key anew", n.Number, maxChain-1)
		}
		if want := uint32(len(keys)); n.Number != want {
			return refuse("rotation %d, the next is %d", n.Number, want)
		}
		if slices.Contains(keys, n.Key) {
			return refuse("rotation %d returns to the former key %s", n.Number, n.Key)
		}
		terms := *row.terms
		terms.LogKey = n.Key
		if err := terms.Validate(); err != nil { // small order, or a witness's key
			return refuse("rotation %d: %v", n.Number, err)
		}
		message := entry.RotationMessage(row.terms.Origin, n.Number, n.Key)
		if !ed25519.Verify(keys[len(keys)-1].Public(), message, n.By[:]) {
			return refuse("rotation %d is not signed by the key before", n.Number)
		}
		if !ed25519.Verify(n.Key.Public(), message, n.Accept[:]) {
			return refuse("rotation %d is not accepted by the new key", n.Number)
		}
		keys = append(keys[:len(keys):len(keys)], n.Key)
	}
	return keys, nil
}

// openCheckpoint verifies the log's signature and all cosignatures of the
// corridor's witnesses, and that the entry says what the checkpoint says.
func (row *corridor) openCheckpoint(e *entry.Observe, logKey entry.SignerKey) ([]cosignature, error) {
	config := proof.Config{Origin: row.terms.Origin, LogKey: logKey, Quorum: int(row.terms.Quorum), Faulty: int(row.terms.Faulty)}
	own := make(map[string]bool, len(row.terms.Witnesses))
	for _, w := range row.terms.Witnesses {
		config.Witnesses = append(config.Witnesses, proof.Witness{Name: w.Name, Key: w.Key, Validating: true})
		own[w.Name] = w.Own
	}
	policy, err := proof.NewPolicy(config)
	if err != nil {
		return nil, entry.Refuse(entry.PeerCheckpointInvalid, "%v", err)
	}
	final, err := policy.Inspect(e.Checkpoint)
	if err != nil {
		return nil, entry.Refuse(entry.PeerCheckpointInvalid, "%v", err)
	}
	if final.Size != e.Size || final.Root != proof.Hash(e.Root) {
		return nil, entry.Refuse(entry.PeerCheckpointInvalid, "the checkpoint has %d leaves and root %v, the entry says %d and %v", final.Size, final.Root, e.Size, proof.Hash(e.Root))
	}
	out := make([]cosignature, 0, len(final.Cosignatures))
	for _, s := range final.Cosignatures {
		out = append(out, cosignature{own[s.Witness], s.UnixSeconds})
	}
	return out, nil
}

// quorum counts the cosignatures that are not more than MaxSkewSeconds ahead
// of an own ledger time in milliseconds: k of them, one at least by a witness
// of this nation (L9.4).
func quorum(terms *entry.CorridorTerms, cosignatures []cosignature, now uint64, bugs planted.Set) error {
	counted, ahead, own := 0, 0, bugs.Has(planted.CorridorOwnWitnessUnasked)
	for _, s := range cosignatures {
		if s.unixSeconds > now/1000+proof.MaxSkewSeconds {
			ahead++
			continue
		}
		counted++
		own = own || s.own
	}
	switch {
	case counted < int(terms.Quorum) && ahead > 0:
		return entry.Refuse(entry.PeerCheckpointInvalid, "%v: %v: %d of %d witnesses, %d more from the future", proof.ErrQuorum, proof.ErrFuture, counted, terms.Quorum, ahead)
	case counted < int(terms.Quorum):
		return entry.Refuse(entry.PeerCheckpointInvalid, "%v: %d of %d witnesses", proof.ErrQuorum, counted, terms.Quorum)
	case !own:
		return entry.Refuse(entry.PeerCheckpointInvalid, "none of the %d cosigners that count is a witness of this ledger's nation", counted)
	}
	return nil
}

// observe judges again what may have changed since admission and, if all
// holds, records the head (L9.4). now is the block's ledger time. Call it on a
// clone.
func (c *corridors) observe(e *entry.Observe, o *observation, now uint64) error {
	row, err := c.row(e.Peer)
	if err != nil {
		return err
	}
	head := proof.Head{Size: e.Size, Root: e.Root}
	if row.version != o.version {
		if err := row.judgePast(head); err != nil {
			return err
		}
		return overtaken(row)
	}
	if err := quorum(row.terms, o.cosignatures, now, c.bugs); err != nil {
		return err
	}
	row = c.change(e.Peer)
	row.version++
	row.keys = o.keys
	row.seen = append(slices.Clone(row.seen[max(0, len(row.seen)+1-maxSeen):]), head)
	row.peerTime, row.observedAt = o.peerTime, now
	return nil
}

// prove gives the entry of a peer that a proof shows under one of the sizes
// observed last (L9.5).
func (c *corridors) prove(peer entry.GenesisHash, p *entry.PeerProof) (entry.Entry, error) {
	row, err := c.row(peer)
	if err != nil {
		return nil, err
	}
	head, seen := row.seenAt(p.Size)
	if !seen {
		return nil, entry.Refuse(entry.PeerSizeUnknown, "%d leaves of %s are none of the %d sizes observed last", p.Size, row.terms.Name, len(row.seen))
	}
	if err := proof.VerifyInclusion(head, p.Index, proof.LeafHash(p.Leaf), hashes(p.Path)); err != nil {
		return nil, entry.Refuse(entry.PeerProofInvalid, "%v", err)
	}
	e, err := entry.Decode(p.Leaf)
	if err != nil {
		return nil, entry.Refuse(entry.PeerProofInvalid, "leaf %d of %s is no entry: %v", p.Index, row.terms.Name, err)
	}
	if !c.bugs.Has(planted.PeerLedgerUnchecked) && (e.Head() == nil || e.Head().Ledger != peer) {
		return nil, entry.Refuse(entry.PeerMismatch, "leaf %d of %s is a %s entry that names another ledger or none", p.Index, row.terms.Name, e.Kind())
	}
	return e, nil
}

// hashes types a path.
func hashes(path [][32]byte) []proof.Hash {
	out := make([]proof.Hash, len(path))
	for i := range path {
		out[i] = path[i]
	}
	return out
}
