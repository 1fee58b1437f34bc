package bridge

import (
	"bytes"
	"crypto/ed25519"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
)

// A Mirror is a relayer's copy of one log: of its hashes, not of its leaves. With it a relayer proves entries and growth by itself, and sees when
// the log says two things (B6.7). It reads the leaves in order, and checkpoints that the log signed. A checkpoint counts once the mirror has all
// its leaves and they give its root. A Mirror is not safe for concurrent use.
//
// Hashes of subtrees of 2^windowBits leaves and above are kept for ever, those below for the newest two such subtrees: 64 MiB at most, and 64 bytes
// more per 2^windowBits leaves. Proofs that need others are refused as before_window: the ledger's own node makes them.
type Mirror struct {
	ledger entry.GenesisHash
	origin string
	key    ed25519.PublicKey

	size   uint64
	above  [][]proof.Hash                       // by level from windowBits
	window map[uint64]*[windowBits][]proof.Hash // by number of the subtree
	states map[uint64][]byte                    // the newest state entries, by the size of the log that they end
	ends   []uint64                             // keys of states, ascending
	final  proof.Head                           // newest checkpoint that counts
	signed []byte
	early  []early // checkpoints of leaves that have not come yet, ascending by size
}

// early is a checkpoint that waits for its leaves.
type early struct {
	size   uint64
	signed []byte
}

const (
	windowBits = 19
	// maxEarly is how many checkpoints wait for their leaves; a later one takes the place of the last.
	maxEarly = 64
	// maxStates is how many state entries a mirror keeps: an observation shows that of its checkpoint.
	maxStates = 4096
)

// NewMirror makes an empty mirror of the log with an origin and a key.
func NewMirror(ledger entry.GenesisHash, origin string, key ed25519.PublicKey) *Mirror {
	return &Mirror{ledger: ledger, origin: origin, key: key, window: map[uint64]*[windowBits][]proof.Hash{}, states: map[uint64][]byte{}}
}

// Size is how many leaves were read.
func (m *Mirror) Size() uint64 { return m.size }

// Final is the newest checkpoint that counts, and its bytes; size 0 before the first.
func (m *Mirror) Final() (proof.Head, []byte) { return m.final, m.signed }

// Add reads the next leaf.
func (m *Mirror) Add(leaf []byte) {
	h := proof.LeafHash(leaf)
	m.put(0, m.size, h)
	for level, n := 0, m.size; n&1 == 1; level, n = level+1, n>>1 {
		left, ok := m.get(level, n-1)
		if !ok {
			panic("bridge: a mirror dropped a hash of its newest subtree")
		}
		h = proof.NodeHash(left, h)
		m.put(level+1, n>>1, h)
	}
	m.size++
	if kind, err := entry.KindOf(leaf); err == nil && kind == entry.KindState {
		if len(m.ends) == maxStates {
			delete(m.states, m.ends[0])
			m.ends = m.ends[1:]
		}
		m.states[m.size], m.ends = leaf, append(m.ends, m.size)
	}
}

func (m *Mirror) put(level int, n uint64, h proof.Hash) {
	if level >= windowBits {
		for len(m.above) <= level-windowBits {
			m.above = append(m.above, nil)
		}
		m.above[level-windowBits] = append(m.above[level-windowBits], h)
		return
	}
	at := n >> (windowBits - level)
	levels := m.window[at]
	if levels == nil {
		levels = new([windowBits][]proof.Hash)
		m.window[at] = levels
		if at >= 2 {
			delete(m.window, at-2)
		}
	}
	levels[level] = append(levels[level], h)
}

func (m *Mirror) get(level int, n uint64) (proof.Hash, bool) {
	if level >= windowBits {
		if level-windowBits >= len(m.above) || n >= uint64(len(m.above[level-windowBits])) {
			return proof.Hash{}, false
		}
		return m.above[level-windowBits][n], true
	}
	levels := m.window[n>>(windowBits-level)]
	at := n & (1<<(windowBits-level) - 1)
	if levels == nil || at >= uint64(len(levels[level])) {
		return proof.Hash{}, false
	}
	return levels[level][at], true
}

// ReadHashes implements proof.HashReader.
func (m *Mirror) ReadHashes(at []int64) ([]proof.Hash, error) {
	out := make([]proof.Hash, len(at))
	for i, index := range at {
		level, n := tlog.SplitStoredHashIndex(index)
		h, ok := m.get(level, uint64(n))
		if !ok {
			return nil, Refuse(BeforeWindow, "hash %d of level %d", n, level)
		}
		out[i] = h
	}
	return out, nil
}

// Take reads a checkpoint of the log. moved tells that it counts at once and is newer than the last one that did. One of leaves that have not come
// yet waits for them (Settle). It refuses signature_invalid for what the log did not sign, and log_mismatch for a root that the leaves do not give:
// a fork, which Fork may be able to show.
func (m *Mirror) Take(signed []byte) (moved bool, err error) {
	c, err := proof.OpenLog(m.origin, m.key, signed)
	if err != nil {
		return false, Refuse(SignatureInvalid, "checkpoint of %s: %v", m.ledger, err)
	}
	if c.Size > m.size {
		at := len(m.early)
		for at > 0 && m.early[at-1].size > c.Size {
			at--
		}
		if len(m.early) == maxEarly {
			at = min(at, maxEarly-1)
			m.early = slices.Delete(m.early, maxEarly-1, maxEarly)
		}
		m.early = slices.Insert(m.early, at, early{c.Size, slices.Clone(signed)})
		return false, nil
	}
	root, err := proof.RootAt(c.Size, m)
	if CodeOf(err) == BeforeWindow {
		return false, nil // an old one, of no use
	}
	if err != nil {
		return false, err
	}
	if root != c.Root {
		return false, Refuse(LogMismatch, "%s signed the root %v over %d entries, which give %v", m.ledger, c.Root, c.Size, root)
	}
	if c.Size <= m.final.Size {
		return false, nil
	}
	m.final, m.signed = c.Head, slices.Clone(signed)
	return true, nil
}

// Settle takes the checkpoints that waited and whose leaves have come.
func (m *Mirror) Settle() (moved bool, err error) {
	due := 0
	for due < len(m.early) && m.early[due].size <= m.size {
		due++
	}
	list := m.early[:due:due]
	m.early = m.early[due:]
	for i := len(list) - 1; i >= 0; i-- { // older ones are looked at as well: one of them may be a fork
		now, err := m.Take(list[i].signed)
		if moved = moved || now; err != nil {
			return moved, err
		}
	}
	return moved, nil
}

// Prove shows a leaf under a size.
func (m *Mirror) Prove(leaf PeerLeaf) (entry.PeerProof, error) {
	if leaf.Size > m.size {
		return entry.PeerProof{}, Refuse(EntryGap, "entry %d under %d entries of %s, %d have come", leaf.Index, leaf.Size, m.ledger, m.size)
	}
	path, err := proof.ProveInclusion(leaf.Size, leaf.Index, m)
	if err != nil {
		return entry.PeerProof{}, err
	}
	return entry.PeerProof{Size: leaf.Size, Index: leaf.Index, Path: plain(path), Leaf: leaf.Leaf}, nil
}

// Observation is the entry that shows a checkpoint to another ledger, which saw the first `last` leaves before.
func (m *Mirror) Observation(h entry.Header, signed []byte, last uint64) (*entry.Observe, error) {
	c := m.final
	if !bytes.Equal(signed, m.signed) { // else it was verified when it came
		opened, err := proof.OpenLog(m.origin, m.key, signed)
		if err != nil {
			return nil, Refuse(SignatureInvalid, "checkpoint of %s: %v", m.ledger, err)
		}
		c = opened.Head
	}
	state := m.states[c.Size]
	switch {
	case c.Size > m.size:
		return nil, Refuse(EntryGap, "a checkpoint over %d entries of %s, %d have come", c.Size, m.ledger, m.size)
	case state == nil:
		return nil, Refuse(BeforeWindow, "the state entry at %d entries of %s", c.Size, m.ledger)
	}
	e := &entry.Observe{Header: h, Peer: m.ledger, Size: c.Size, Root: c.Root, Checkpoint: signed, State: state}
	path, err := proof.ProveInclusion(c.Size, c.Size-1, m)
	if err != nil {
		return nil, err
	}
	e.StatePath = plain(path)
	if last > 0 {
		if path, err = proof.ProveConsistency(last, c.Size, m); err != nil {
			return nil, err
		}
		e.Consistency = plain(path)
	}
	return e, nil
}

// Fork gives the evidence that the log forked, if a checkpoint that it signed contradicts the newest one that counts here; nil if it does not,
// or if that cannot be told yet because the checkpoint is ahead, or not any more because it lies before the window. A log that lags is no fork.
func (m *Mirror) Fork(signed []byte) (*proof.Evidence, error) {
	if text, _, ok := bytes.Cut(signed, []byte("\n\n")); ok { // what agrees needs no signature checked
		c, err := proof.ParseCheckpoint(string(text) + "\n")
		if err == nil && c.Size <= m.final.Size {
			if root, err := proof.RootAt(c.Size, m); err == nil && root == c.Root {
				return nil, nil
			}
		}
	}
	c, err := proof.OpenLog(m.origin, m.key, signed)
	if err != nil {
		return nil, Refuse(SignatureInvalid, "checkpoint of %s: %v", m.ledger, err)
	}
	if c.Size > m.final.Size {
		return nil, nil
	}
	e := &proof.Evidence{Older: slices.Clone(signed), Newer: m.signed, Root: m.final.Root}
	if c.Size > 0 && c.Size < m.final.Size {
		if e.Root, err = proof.RootAt(c.Size, m); err == nil && e.Root != c.Root {
			e.Path, err = proof.ProveConsistency(c.Size, m.final.Size, m)
		}
		if CodeOf(err) == BeforeWindow {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
	}
	if e.Verify(m.origin, m.key) != nil {
		return nil, nil // one history
	}
	return e, nil
}

// plain takes the name off hashes.
func plain(path []proof.Hash) [][32]byte {
	out := make([][32]byte, len(path))
	for i := range path {
		out[i] = path[i]
	}
	return out
}
