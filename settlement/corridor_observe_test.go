package settlement

import (
	"crypto/ed25519"
	"fmt"
	"slices"
	"testing"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
)

func TestHonestCheckpointsAreObservedOneAfterTheOther(t *testing.T) {
	c, p := toyCorridor(t), newToyPeer(t)
	last := uint64(0)
	for i := range 20 {
		for range i%5 + 1 {
			p.block(p.decide(toyHold(byte(i)), entry.Voided))
		}
		toyMust(t, toySettle(t, c, p.observe(last), toyNow+uint64(i)))
		last = p.size()
		if c.only().last() != p.head(last) || c.peerTime(toyAway) != p.time-500 || c.only().observedAt != toyNow+uint64(i) {
			t.Fatalf("after %d leaves: %+v", last, c.only().last())
		}
	}
	toyApply(t, c, toyDoes(entry.CorridorFreezes)) // a frozen corridor goes on looking
	p.block()
	toyMust(t, toySettle(t, c, p.observe(last), toyNow+20))
}

// Everything that a relayer, a peer and its witnesses can get wrong in one
// observation, with the name that it is refused by.
func TestFalseObservationIsRefused(t *testing.T) {
	const invalid = entry.PeerCheckpointInvalid
	seconds := uint64(toyNow / 1000)
	for name, c := range map[string]struct {
		spoil func(p *toyPeer, e *entry.Observe, from uint64)
		code  entry.Code
	}{
		"another peer": {func(_ *toyPeer, e *entry.Observe, _ uint64) { e.Peer[0] ^= 1 }, entry.CorridorUnknown},
		"another size": {func(_ *toyPeer, e *entry.Observe, _ uint64) { e.Size++ }, invalid},
		"another root": {func(_ *toyPeer, e *entry.Observe, _ uint64) { e.Root[5] ^= 1 }, invalid},
		"no signature": {func(p *toyPeer, e *entry.Observe, _ uint64) {
			e.Checkpoint = []byte(proof.Checkpoint{Origin: p.origin, Head: p.head(e.Size)}.String())
		}, invalid},
		"another log's origin": {func(p *toyPeer, e *entry.Observe, _ uint64) {
			p.origin = "ledger.cordelia.example/log"
			e.Checkpoint = p.cosigned(e.Size, seconds, p.witness...)
		}, invalid},
		"another log key": {func(p *toyPeer, e *entry.Observe, _ uint64) {
			p.logKey = "thief"
			e.Checkpoint = p.cosigned(e.Size, seconds, p.witness...)
		}, invalid},
		"no witness": {func(p *toyPeer, e *entry.Observe, _ uint64) { e.Checkpoint = p.signed(e.Size) }, invalid},
		"k-1 witnesses": {func(p *toyPeer, e *entry.Observe, _ uint64) {
			e.Checkpoint = p.cosigned(e.Size, seconds, toyWitnesses[:2]...)
		}, invalid},
		"k without an own one": {func(p *toyPeer, e *entry.Observe, _ uint64) {
			e.Checkpoint = p.cosigned(e.Size, seconds, toyWitnesses[1:]...)
		}, invalid},
		"k-1 and a stranger": {func(p *toyPeer, e *entry.Observe, _ uint64) {
			e.Checkpoint = p.cosigned(e.Size, seconds, "own.example", "two.example", "nine.example")
		}, invalid},
		"one key counted twice": {func(p *toyPeer, e *entry.Observe, _ uint64) {
			e.Checkpoint = p.cosigned(e.Size, seconds, "own.example", "two.example", "two.example", "own.example")
		}, invalid},
		"a witness's line that does not verify": {func(p *toyPeer, e *entry.Observe, _ uint64) {
			line := p.cosigned(e.Size-1, seconds, "three.example")[len(p.signed(e.Size-1)):]
			e.Checkpoint = append(e.Checkpoint, line...)
		}, invalid},
		"a cosignature of an older head": {func(p *toyPeer, e *entry.Observe, from uint64) {
			line := p.cosigned(from, seconds, "four.example")[len(p.signed(from)):]
			e.Checkpoint = append(p.cosigned(e.Size, seconds, "own.example", "two.example"), line...)
		}, invalid},
		"no growth path":         {func(_ *toyPeer, e *entry.Observe, _ uint64) { e.Consistency = nil }, invalid},
		"a growth path too long": {func(_ *toyPeer, e *entry.Observe, _ uint64) { e.Consistency = append(e.Consistency, [32]byte{}) }, invalid},
		"a damaged growth path":  {func(_ *toyPeer, e *entry.Observe, _ uint64) { e.Consistency[0][3] ^= 1 }, invalid},
		"another state entry":    {func(p *toyPeer, e *entry.Observe, from uint64) { e.State = p.leaves[from-1] }, invalid},
		"a state entry of another index": {func(p *toyPeer, e *entry.Observe, from uint64) {
			e.State, e.StatePath = p.leaves[from-1], p.path(e.Size, from-1)
		}, invalid},
		"a damaged state path": {func(_ *toyPeer, e *entry.Observe, _ uint64) { e.StatePath[0][0] ^= 1 }, invalid},
		"no state path":        {func(_ *toyPeer, e *entry.Observe, _ uint64) { e.StatePath = nil }, invalid},
		"a last leaf that is no state entry": {func(p *toyPeer, e *entry.Observe, from uint64) {
			p.add(entry.Encode(p.decide(toyHold(1), entry.Voided)))
			*e = *p.observe(from)
		}, invalid},
		"a last leaf that is no entry": {func(p *toyPeer, e *entry.Observe, from uint64) {
			p.add([]byte("leaf"))
			*e = *p.observe(from)
		}, invalid},
		"peer time that goes back": {func(p *toyPeer, e *entry.Observe, from uint64) {
			p.time = toyNow - 100_000
			p.block()
			*e = *p.observe(from)
		}, invalid},
		"an older head": {func(p *toyPeer, e *entry.Observe, from uint64) { *e = *p.observeAt(0, from-1) }, entry.PeerCheckpointOld},
		"the same head": {func(p *toyPeer, e *entry.Observe, from uint64) { *e = *p.observeAt(from, from) }, entry.PeerCheckpointOld},
	} {
		t.Run(name, func(t *testing.T) {
			corridors, p := toyPair(t)
			from := p.size()
			p.block(p.decide(toyHold(9), entry.Voided))
			p.block()
			e := p.observe(from)
			good := *e
			good.Consistency, good.StatePath = slices.Clone(e.Consistency), slices.Clone(e.StatePath)
			before := corridors.append(nil)
			c.spoil(p, e, from)
			toyRefused(t, name, toySettle(t, corridors, e, toyNow), c.code)
			if !slices.Equal(before, corridors.append(nil)) {
				t.Error("a refusal changed the corridor")
			}
			toyMust(t, toySettle(t, corridors, &good, toyNow))
		})
	}
}

func TestFirstObservationNeedsNoGrowth(t *testing.T) {
	p := newToyPeer(t)
	p.block()
	p.block()
	withPath := p.observe(0)
	withPath.Consistency = p.observe(1).Consistency
	toyRefused(t, "a path from nothing", toySettle(t, toyCorridor(t), withPath, toyNow), entry.PeerCheckpointInvalid)
	toyMust(t, toySettle(t, toyCorridor(t), p.observe(0), toyNow))
}

// What the witnesses signed is what is recorded, not what the entry says.
func TestEntryMustSayWhatTheCheckpointSays(t *testing.T) {
	c, p := toyPair(t)
	from := p.size()
	forger := p.fork(from)
	forger.time++
	p.block()
	forger.block()
	e := forger.observe(from) // growth and state entry are right, for a tree of the relayer's own
	e.Checkpoint = p.observe(from).Checkpoint
	toyRefused(t, "another root under a true checkpoint", toySettle(t, c, e, toyNow), entry.PeerCheckpointInvalid)

	small := newToyPeer(t)
	small.block()
	small.block() // three leaves: the path of the last one also fits a tree of two
	e = small.observe(0)
	toyMust(t, toySettle(t, toyCorridor(t), e, toyNow))
	e.Size = 2
	if err := proof.VerifyInclusion(proof.Head{Size: 2, Root: e.Root}, 1, proof.LeafHash(e.State), hashes(e.StatePath)); err != nil {
		t.Fatal(err)
	}
	toyRefused(t, "another size under a true checkpoint", toySettle(t, toyCorridor(t), e, toyNow), entry.PeerCheckpointInvalid)
}

func TestPeerTimeMayStandStill(t *testing.T) {
	c, p := toyPair(t)
	from := p.size()
	p.time -= 500 // as in the block before
	p.block()
	toyMust(t, toySettle(t, c, p.observe(from), toyNow))
}

func TestCosignatureCountsUpToTheSkewAheadOfTheBlock(t *testing.T) {
	for _, at := range []struct {
		ahead uint64
		now   uint64
		good  bool
	}{
		{proof.MaxSkewSeconds, toyNow, true}, {proof.MaxSkewSeconds + 1, toyNow, false}, {proof.MaxSkewSeconds + 1, toyNow + 999, false},
		{proof.MaxSkewSeconds + 1, toyNow + 1000, true}, {1 << 62, toyNow, false},
	} {
		c, p := toyPair(t)
		from := p.size()
		p.block()
		e := p.observe(from)
		line := p.cosigned(e.Size, toyNow/1000+at.ahead, "four.example")[len(p.signed(e.Size)):]
		e.Checkpoint = append(p.cosigned(e.Size, toyNow/1000, "own.example", "two.example"), line...)
		err := toySettle(t, c, e, at.now)
		if at.good != (err == nil) {
			t.Errorf("%d s ahead at %d: %v", at.ahead, at.now, err)
		}
		if !at.good {
			toyRefused(t, "from the future", err, entry.PeerCheckpointInvalid)
		}
	}
	// Neither does an own witness from the future stand for this nation.
	c, p := toyPair(t)
	from := p.size()
	p.block()
	e := p.observe(from)
	line := p.cosigned(e.Size, toyNow/1000+proof.MaxSkewSeconds+1, "own.example")[len(p.signed(e.Size)):]
	e.Checkpoint = append(p.cosigned(e.Size, toyNow/1000, toyWitnesses[1:]...), line...)
	toyRefused(t, "the own witness from the future", toySettle(t, c, e, toyNow), entry.PeerCheckpointInvalid)
	toyMust(t, toySettle(t, c, e, toyNow+1000))
}

// k-1 witnesses that collude with the log show nothing. k of them can show a
// corridor a fork only before it has seen anything; what it has seen stands.
func TestColludingWitnessesCannotReplaceWhatWasSeen(t *testing.T) {
	c, p := toyPair(t) // quorum 3
	from := p.size()
	fork := p.fork(from - 2)
	fork.time++
	for range 4 {
		fork.block()
	}
	for n, code := range map[int]entry.Code{2: entry.PeerCheckpointInvalid, 3: entry.PeerForked, 4: entry.PeerForked} {
		fork.witness = toyWitnesses[:n]
		toyRefused(t, fmt.Sprint(n, " colluding, same size"), toySettle(t, c, fork.observeAt(0, from), toyNow), code)
		toyRefused(t, fmt.Sprint(n, " colluding, larger"), toySettle(t, c, fork.observe(from), toyNow), code)
	}
	fresh := toyCorridor(t)
	fork.witness = toyWitnesses[:3]
	toyMust(t, toySettle(t, fresh, fork.observe(0), toyNow))
	toyRefused(t, "the true history later", toySettle(t, fresh, p.observe(0), toyNow), entry.PeerCheckpointOld)
}

func TestTwoRootsForASizeAreAFork(t *testing.T) {
	c, p := toyPair(t)
	early := p.size()
	for range 3 {
		p.block()
	}
	toyMust(t, toySettle(t, c, p.observe(early), toyNow))
	fork := p.fork(early - 1)
	fork.time++
	for fork.size() < p.size() {
		fork.block()
	}
	toyRefused(t, "another root for the last size", toySettle(t, c, fork.observe(0), toyNow), entry.PeerForked)
	toyRefused(t, "another root for an earlier size", toySettle(t, c, fork.observeAt(0, early), toyNow), entry.PeerForked)
	toyRefused(t, "another root for a size that was not observed", toySettle(t, c, fork.observeAt(0, early+1), toyNow), entry.PeerCheckpointOld)
	fork.witness = toyWitnesses[:2]
	toyRefused(t, "another root without a quorum", toySettle(t, c, fork.observe(0), toyNow), entry.PeerCheckpointInvalid)
}

// Where a growth path holds the older root, it shows the fork; for a power of
// two it does not, and nothing is claimed.
func TestForkAtDifferentSizesIsNamedWhereThePathShowsIt(t *testing.T) {
	for older := uint64(2); older <= 17; older++ {
		c, p := toyCorridor(t), newToyPeer(t)
		for p.size() < older {
			p.block()
		}
		toyMust(t, toySettle(t, c, p.observe(0), toyNow))
		fork := p.fork(older - 2)
		fork.time++
		for range 5 {
			fork.block()
		}
		want := entry.PeerForked
		if older&(older-1) == 0 {
			want = entry.PeerCheckpointInvalid
		}
		toyRefused(t, fmt.Sprint("a fork from ", older), toySettle(t, c, fork.observe(older), toyNow), want)
	}
}

func TestConsistencyRootsAreThoseOfTheLog(t *testing.T) {
	p := newToyPeer(t)
	for p.size() < 40 {
		p.block()
	}
	for newer := uint64(1); newer <= 40; newer++ {
		for older := uint64(0); older <= newer; older++ {
			path, err := proof.ProveConsistency(older, newer, p)
			toyMust(t, err)
			a, b, ok := consistencyRoots(older, newer, path)
			if ok != (older > 0 && older < newer && older&(older-1) != 0) {
				t.Fatalf("%d to %d: %v", older, newer, ok)
			}
			if ok && (a != p.head(older).Root || b != p.head(newer).Root) {
				t.Fatalf("%d to %d: wrong roots", older, newer)
			}
			if _, _, long := consistencyRoots(older, newer, append(slices.Clone(path), proof.Hash{})); long {
				t.Fatalf("%d to %d: a longer path leads somewhere", older, newer)
			}
			if ok {
				if _, _, short := consistencyRoots(older, newer, path[:len(path)-1]); short {
					t.Fatalf("%d to %d: a shorter path leads somewhere", older, newer)
				}
			}
		}
	}
}

func TestOvertakenRelayerProvesAgain(t *testing.T) {
	c, p := toyPair(t)
	from := p.size()
	var admitted []*entry.Observe
	var seen []*observation
	for range 3 {
		p.block()
		e := p.observe(from)
		o, err := c.admitObserve(e)
		toyMust(t, err)
		admitted, seen = append(admitted, e), append(seen, o)
	}
	fork := p.fork(from)
	fork.time++
	fork.block()
	fork.block()
	rival := fork.observe(from)
	forked, err := c.admitObserve(rival)
	toyMust(t, err)

	toyMust(t, c.observe(admitted[1], seen[1], toyNow))
	after := c.append(nil)
	toyRefused(t, "smaller", c.observe(admitted[0], seen[0], toyNow), entry.PeerCheckpointOld)
	toyRefused(t, "the same", c.observe(admitted[1], seen[1], toyNow), entry.PeerCheckpointOld)
	toyRefused(t, "larger", c.observe(admitted[2], seen[2], toyNow), entry.TryLater)
	toyRefused(t, "another root", c.observe(rival, forked, toyNow), entry.PeerForked)
	if !slices.Equal(after, c.append(nil)) {
		t.Error("a refusal changed the corridor")
	}
	// The same is said to who asks after the fact.
	toyRefused(t, "larger, late", toySettle(t, c, admitted[2], toyNow), entry.TryLater)
	toyMust(t, toySettle(t, c, p.observe(admitted[1].Size), toyNow))
}

func TestRelayerFarBehindIsJustWrong(t *testing.T) {
	c, p := toyPair(t)
	from := p.size()
	for behind := range maxOvertaken + 1 {
		p.block()
		e := p.observe(from)
		switch {
		case behind == 0:
			toyMust(t, toySettle(t, c, e, toyNow))
			continue
		case behind < maxOvertaken:
			toyRefused(t, fmt.Sprint(behind, " behind"), toySettle(t, c, e, toyNow), entry.TryLater)
		default:
			toyRefused(t, fmt.Sprint(behind, " behind"), toySettle(t, c, e, toyNow), entry.PeerCheckpointInvalid)
		}
		toyMust(t, toySettle(t, c, p.observe(c.only().last().Size), toyNow))
	}
}

func TestTermsThatChangeInFlightAreJudgedAgain(t *testing.T) {
	c, p := toyPair(t)
	from := p.size()
	p.block()
	e := p.observe(from)
	o, err := c.admitObserve(e)
	toyMust(t, err)
	stricter := toyTerms()
	stricter.Quorum = 4
	toyApply(t, c, toySets(stricter))
	toyRefused(t, "under the old terms", c.observe(e, o, toyNow), entry.TryLater)
	toyRefused(t, "under the new terms", toySettle(t, c, e, toyNow), entry.PeerCheckpointInvalid)
	toyApply(t, c, toySets(toyTerms())) // and back again: still not what was admitted
	toyRefused(t, "under terms that came back", c.observe(e, o, toyNow), entry.TryLater)
	toyMust(t, toySettle(t, c, e, toyNow))
	_, err = newCorridors().admitObserve(e)
	toyRefused(t, "no corridor at admission", err, entry.CorridorUnknown)
	toyRefused(t, "no corridor in the block", newCorridors().observe(e, o, toyNow), entry.CorridorUnknown)
}

// rotation is signed by one key and accepted by another.
func toyRotation(number uint32, by, next string) entry.Rotation {
	r := entry.Rotation{Number: number, Key: toyPublic(next)}
	message := entry.RotationMessage(toyTerms().Origin, number, r.Key)
	copy(r.By[:], ed25519.Sign(toyKey(by), message))
	copy(r.Accept[:], ed25519.Sign(toyKey(next), message))
	return r
}

// toyRotated is the next observation, by a log that moved to another key.
func toyRotated(p *toyPeer, from uint64, key string, rotations ...entry.Rotation) *entry.Observe {
	p.logKey = key
	p.block()
	e := p.observe(from)
	e.Rotations = rotations
	return e
}

func TestLogKeyIsRotatedInOrder(t *testing.T) {
	c, p := toyPair(t)
	size := p.size()
	toyMust(t, toySettle(t, c, toyRotated(p, size, "log 1", toyRotation(1, "log", "log 1")), toyNow))
	size = p.size()
	toyMust(t, toySettle(t, c, toyRotated(p, size, "log 3", toyRotation(2, "log 1", "log 2"), toyRotation(3, "log 2", "log 3")), toyNow))
	if view := c.status(toyNow)[0]; view.LogKey != toyPublic("log 3") || view.Rotations != 3 {
		t.Errorf("%+v", view)
	}
	size = p.size()
	toyRefused(t, "signed by a former key", toySettle(t, c, toyRotated(p, size, "log 2"), toyNow), entry.PeerCheckpointInvalid)
	toyMust(t, toySettle(t, c, toyRotated(p, size, "log 3"), toyNow))

	// The same key in the terms keeps the chain, another one begins a new one.
	terms := toyTerms()
	terms.LogKey = toyPublic("log 3")
	toyApply(t, c, toySets(terms))
	if view := c.status(toyNow)[0]; view.Rotations != 3 {
		t.Errorf("%d rotations after the same key was set", view.Rotations)
	}
	terms = toyTerms()
	terms.LogKey = toyPublic("log 9")
	toyApply(t, c, toySets(terms))
	if view := c.status(toyNow)[0]; view.Rotations != 0 || view.LogKey != toyPublic("log 9") || view.Size != p.size() {
		t.Errorf("after another key was set: %+v", view)
	}
	size = p.size()
	toyRefused(t, "the former chain goes on", toySettle(t, c, toyRotated(p, size, "log 4", toyRotation(4, "log 3", "log 4")), toyNow), entry.RotationInvalid)
	toyMust(t, toySettle(t, c, toyRotated(p, size, "log 10", toyRotation(1, "log 9", "log 10")), toyNow))
}

func TestFalseRotationIsRefused(t *testing.T) {
	elsewhere := func() entry.Rotation {
		r := toyRotation(1, "log", "log 1")
		message := entry.RotationMessage("ledger.cordelia.example/log", 1, r.Key)
		copy(r.By[:], ed25519.Sign(toyKey("log"), message))
		copy(r.Accept[:], ed25519.Sign(toyKey("log 1"), message))
		return r
	}
	stolen := toyRotation(1, "log", "log 1")
	stolen.Key = toyPublic("thief")
	notAccepted := toyRotation(1, "log", "log 1")
	notAccepted.Accept = notAccepted.By
	weak := toyRotation(1, "log", "log 1")
	weak.Key = entry.SignerKey{1}
	for name, rotations := range map[string][]entry.Rotation{
		"forged by a stranger":        {toyRotation(1, "thief", "log 1")},
		"signed for another key":      {stolen},
		"not accepted by the new key": {notAccepted},
		"number 0":                    {toyRotation(0, "log", "log 1")},
		"a number skipped":            {toyRotation(2, "log", "log 1")},
		"a key skipped":               {toyRotation(1, "log", "log 1"), toyRotation(2, "log", "log 2")},
		"a number twice":              {toyRotation(1, "log", "log 1"), toyRotation(1, "log 1", "log 2")},
		"out of order":                {toyRotation(2, "log 1", "log 2"), toyRotation(1, "log", "log 1")},
		"back to the first key":       {toyRotation(1, "log", "log 1"), toyRotation(2, "log 1", "log")},
		"to the key itself":           {toyRotation(1, "log", "log")},
		"to the key of a witness":     {toyRotation(1, "log", "two.example")},
		"to the key of the treasury":  {toyRotation(1, "log", "t1")},
		"to a key of small order":     {weak},
		"signed for another log":      {elsewhere()},
	} {
		c, p := toyPair(t)
		size := p.size()
		key := "log 1"
		if len(rotations) == 2 {
			key = "log 2"
		}
		toyRefused(t, name, toySettle(t, c, toyRotated(p, size, key, rotations...), toyNow), entry.RotationInvalid)
		if c.only().rotation() != 0 {
			t.Errorf("%s: rotated", name)
		}
	}
	// A checkpoint by the key before the last rotation is none.
	c, p := toyPair(t)
	size := p.size()
	toyRefused(t, "the old key signs on", toySettle(t, c, toyRotated(p, size, "log", toyRotation(1, "log", "log 1")), toyNow), entry.PeerCheckpointInvalid)
	// Rotations that the corridor knows already are not repeated.
	toyMust(t, toySettle(t, c, toyRotated(p, size, "log 1", toyRotation(1, "log", "log 1")), toyNow))
	size = p.size()
	toyRefused(t, "a rotation replayed", toySettle(t, c, toyRotated(p, size, "log 1", toyRotation(1, "log", "log 1")), toyNow), entry.RotationInvalid)
}

func TestChainOfRotationsHasAnEnd(t *testing.T) {
	c, p := toyPair(t)
	name := func(i int) string {
		if i == 0 {
			return "log"
		}
		return fmt.Sprint("log ", i)
	}
	for i := 1; i < maxChain; i++ {
		size := p.size()
		toyMust(t, toySettle(t, c, toyRotated(p, size, name(i), toyRotation(uint32(i), name(i-1), name(i))), toyNow))
	}
	size := p.size()
	toyRefused(t, "one too many", toySettle(t, c, toyRotated(p, size, name(maxChain), toyRotation(maxChain, name(maxChain-1), name(maxChain))), toyNow), entry.RotationInvalid)
	terms := toyTerms()
	terms.LogKey = toyPublic(name(maxChain))
	toyApply(t, c, toySets(terms))
	toyMust(t, toySettle(t, c, toyRotated(p, size, name(maxChain)), toyNow))
}

func TestPeerProofShowsALeafOfThatVeryLedger(t *testing.T) {
	c, p := toyPair(t)
	from := p.size()
	mine := p.decide(toyHold(1), entry.Voided)
	reflected, sister := p.decide(toyHold(2), entry.Posted), p.decide(toyHold(3), entry.Voided)
	reflected.Ledger = toyHome // this ledger's own entry, logged over there
	sister.Ledger = entry.GenesisHash{0xcc}
	first := p.block(mine, reflected, sister)
	garbage := p.add([]byte("no entry"))
	p.block()
	toyMust(t, toySettle(t, c, p.observe(from), toyNow))
	size := p.size()

	e, err := c.prove(toyAway, p.proof(size, first))
	toyMust(t, err)
	if r, ok := e.(*entry.Resolve); !ok || r.Hold != mine.Hold || entry.IDOf(e) != entry.IDOf(mine) {
		t.Errorf("proved %+v", e)
	}
	if _, err := c.prove(toyAway, p.proof(from, from-1)); entry.CodeOf(err) != entry.PeerMismatch {
		t.Errorf("a state entry under an older size: %v", err)
	}
	left, right := proof.LeafHash(p.leaves[0]), proof.LeafHash(p.leaves[1])
	for name, x := range map[string]struct {
		spoil func(*entry.PeerProof)
		code  entry.Code
	}{
		"a size that was not observed": {func(x *entry.PeerProof) { *x = *p.proof(size-1, first) }, entry.PeerSizeUnknown},
		"size 0":                       {func(x *entry.PeerProof) { x.Size = 0 }, entry.PeerSizeUnknown},
		"a larger size":                {func(x *entry.PeerProof) { x.Size++ }, entry.PeerSizeUnknown},
		"another observed size":        {func(x *entry.PeerProof) { x.Size = from }, entry.PeerProofInvalid},
		"a wrong index":                {func(x *entry.PeerProof) { x.Index++ }, entry.PeerProofInvalid},
		"an index past the tree":       {func(x *entry.PeerProof) { x.Index = size }, entry.PeerProofInvalid},
		"a changed field":              {func(x *entry.PeerProof) { x.Leaf = slices.Clone(x.Leaf); x.Leaf[80] ^= 1 }, entry.PeerProofInvalid},
		"another leaf":                 {func(x *entry.PeerProof) { x.Leaf = p.leaves[0] }, entry.PeerProofInvalid},
		"a damaged path":               {func(x *entry.PeerProof) { x.Path[1][7] ^= 1 }, entry.PeerProofInvalid},
		"a shorter path":               {func(x *entry.PeerProof) { x.Path = x.Path[1:] }, entry.PeerProofInvalid},
		"a longer path":                {func(x *entry.PeerProof) { x.Path = append(x.Path, [32]byte{}) }, entry.PeerProofInvalid},
		"a leaf taken for a node": {func(x *entry.PeerProof) { // the children of the first node, one level up
			*x = entry.PeerProof{Size: size, Index: 0, Path: p.path(size, 0)[1:], Leaf: slices.Concat(left[:], right[:])}
		}, entry.PeerProofInvalid},
		"a leaf that is no entry":    {func(x *entry.PeerProof) { *x = *p.proof(size, garbage) }, entry.PeerProofInvalid},
		"a state entry":              {func(x *entry.PeerProof) { *x = *p.proof(size, size-1) }, entry.PeerMismatch},
		"this ledger's own entry":    {func(x *entry.PeerProof) { *x = *p.proof(size, first+1) }, entry.PeerMismatch},
		"an entry of a third ledger": {func(x *entry.PeerProof) { *x = *p.proof(size, first+2) }, entry.PeerMismatch},
	} {
		bad := p.proof(size, first)
		x.spoil(bad)
		_, err := c.prove(toyAway, bad)
		toyRefused(t, name, err, x.code)
	}
	_, err = c.prove(toyHome, p.proof(size, first))
	toyRefused(t, "another ledger's proof", err, entry.CorridorUnknown)
	_, err = toyCorridor(t).prove(toyAway, p.proof(size, first))
	toyRefused(t, "nothing observed", err, entry.PeerSizeUnknown)
}

func TestProofServesFor256Observations(t *testing.T) {
	c, p := toyPair(t)
	from := p.size()
	index := p.block(p.decide(toyHold(1), entry.Voided))
	toyMust(t, toySettle(t, c, p.observe(from), toyNow))
	size := p.size()
	good := p.proof(size, index)
	last := size
	for i := 1; ; i++ {
		_, err := c.prove(toyAway, good)
		if i > maxSeen {
			toyRefused(t, "after 256 more", err, entry.PeerSizeUnknown)
			break
		}
		if err != nil {
			t.Fatalf("after %d observations: %v", i, err)
		}
		p.block()
		toyMust(t, toySettle(t, c, p.observe(last), toyNow))
		last = p.size()
	}
	if len(c.only().seen) != maxSeen {
		t.Errorf("%d sizes are kept", len(c.only().seen))
	}
	_, err := c.prove(toyAway, p.proof(last, index)) // proven again under a newer size
	toyMust(t, err)
}
