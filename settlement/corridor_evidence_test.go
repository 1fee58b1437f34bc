package settlement

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/zk"
)

func toyEvidence(kind entry.EvidenceType, data []byte) *entry.Evidence {
	return &entry.Evidence{Header: entry.Header{Ledger: toyHome, ExpiryMillis: toyNow + 60_000}, Peer: toyAway, Type: kind, Data: data}
}

// toyFile gives evidence to both judges, which must agree, through its bytes.
func toyFile(t testing.TB, c *corridors, e *entry.Evidence) error {
	t.Helper()
	decoded, err := entry.Decode(entry.Encode(e))
	toyMust(t, err)
	admitted, applied := c.admitEvidence(decoded.(*entry.Evidence)), c.evidence(decoded.(*entry.Evidence))
	if entry.CodeOf(admitted) != entry.CodeOf(applied) {
		t.Errorf("admission says %v, the block %v", admitted, applied)
	}
	return applied
}

// toyFork is a fork of the peer's log at a size, and its evidence for two sizes.
func toyFork(t testing.TB, p *toyPeer, at, older, newer uint64, olderKey, newerKey string) []byte {
	t.Helper()
	fork := p.fork(at)
	fork.time++
	for fork.size() < newer {
		fork.block()
	}
	p.logKey, fork.logKey = olderKey, newerKey
	e := &proof.Evidence{Older: p.signed(older), Newer: fork.signed(newer), Root: fork.head(older).Root}
	if older < newer {
		path, err := proof.ProveConsistency(older, newer, fork)
		toyMust(t, err)
		e.Path = path
	}
	return e.Marshal()
}

func TestEvidenceOfAForkFreezesAtOnce(t *testing.T) {
	for name, data := range map[string]func(*toyPeer) []byte{
		"two roots for one size": func(p *toyPeer) []byte { return toyFork(t, p, 2, 4, 4, "log", "log") },
		"a fork at another size": func(p *toyPeer) []byte { return toyFork(t, p, 2, 4, 9, "log", "log") },
		"the smallest log":       func(p *toyPeer) []byte { return toyFork(t, p, 0, 1, 3, "log", "log") },
	} {
		c, p := toyPair(t)
		from := p.size()
		e := toyEvidence(entry.EvidenceFork, data(p))
		toyMust(t, toyFile(t, c, e))
		view := c.status(toyNow)[0]
		if !c.frozen(toyAway) || view.State != CorridorFrozen || view.Why != "evidence: fork" {
			t.Errorf("%s: %+v", name, view)
		}
		toyRefused(t, "a new hold", c.mayPlace(toyAway, 100, toyNow), entry.CorridorFrozen)
		toyRefused(t, "the same evidence again", toyFile(t, c, e), entry.CorridorFrozen)
		toyRefused(t, "a freeze by the treasury", c.check(toyDoes(entry.CorridorFreezes), toyHome), entry.CorridorInvalid)
		p.logKey = "log"
		p.block()
		toyMust(t, toySettle(t, c, p.observe(from), toyNow)) // what is in flight still needs proofs
		toyApply(t, c, toyDoes(entry.CorridorThaws))
		toyMust(t, c.mayPlace(toyAway, 100, toyNow))
	}
}

func TestWhatShowsNoForkIsRefused(t *testing.T) {
	signed := func(p *toyPeer, older, newer uint64, key string) []byte {
		p.logKey = key
		path, err := proof.ProveConsistency(older, newer, p)
		toyMust(t, err)
		return (&proof.Evidence{Older: p.signed(older), Newer: p.signed(newer), Root: p.head(older).Root, Path: path}).Marshal()
	}
	for name, data := range map[string]func(*toyPeer) []byte{
		"one history":          func(p *toyPeer) []byte { return signed(p, 3, 5, "log") },
		"one head":             func(p *toyPeer) []byte { return signed(p, 5, 5, "log") },
		"signed by a stranger": func(p *toyPeer) []byte { return toyFork(t, p, 2, 4, 9, "thief", "thief") },
		"half by a stranger":   func(p *toyPeer) []byte { return toyFork(t, p, 2, 4, 9, "log", "thief") },
		"signed by a witness":  func(p *toyPeer) []byte { return toyFork(t, p, 2, 4, 9, "own.example", "own.example") },
		"of another log": func(p *toyPeer) []byte {
			p.origin = "ledger.cordelia.example/log"
			return toyFork(t, p, 2, 4, 9, "log", "log")
		},
		"a wrong path": func(p *toyPeer) []byte {
			return bytes.Replace(toyFork(t, p, 2, 4, 9, "log", "log"), []byte("root "), []byte("root A"), 1)
		},
		"nothing of that form": func(*toyPeer) []byte { return []byte("fork") },
		"two decisions, said to be a fork": func(p *toyPeer) []byte {
			at := p.block(p.decide(toyHold(1), entry.Posted), p.decide(toyHold(1), entry.Voided))
			return (&proof.Decisions{First: p.receipt(p.size(), at), Second: p.receipt(p.size(), at+1)}).Marshal()
		},
	} {
		c, p := toyPair(t)
		before := c.append(nil)
		toyRefused(t, name, toyFile(t, c, toyEvidence(entry.EvidenceFork, data(p))), entry.EvidenceInvalid)
		if !bytes.Equal(before, c.append(nil)) {
			t.Errorf("%s: changed the corridor", name)
		}
	}
	c, p := toyPair(t)
	e := toyEvidence(entry.EvidenceFork, toyFork(t, p, 2, 4, 4, "log", "log"))
	e.Peer = entry.GenesisHash{0xcc}
	toyRefused(t, "of a stranger", toyFile(t, c, e), entry.CorridorUnknown)
	toyRefused(t, "of an unknown type", c.evidence(toyEvidence(9, []byte{1})), entry.EvidenceInvalid)
}

// A key binds the peer for as long as its chain stands, also across a
// rotation. A key that the treasury replaced binds nobody any more, or whoever
// stole it could freeze the corridor for ever.
func TestForkBindsEveryKeyOfTheChain(t *testing.T) {
	rotated := func() (*corridors, *toyPeer) {
		c, p := toyPair(t)
		toyMust(t, toySettle(t, c, toyRotated(p, p.size(), "log 1", toyRotation(1, "log", "log 1")), toyNow))
		return c, p
	}
	for _, keys := range [][2]string{{"log", "log"}, {"log 1", "log 1"}, {"log", "log 1"}, {"log 1", "log"}} {
		c, p := rotated()
		toyMust(t, toyFile(t, c, toyEvidence(entry.EvidenceFork, toyFork(t, p, 2, 4, 9, keys[0], keys[1]))))
	}
	c, p := rotated()
	data := toyFork(t, p, 2, 4, 9, "log", "log 1")
	early, _ := toyPair(t)
	toyRefused(t, "before the rotation is known", toyFile(t, early, toyEvidence(entry.EvidenceFork, data)), entry.EvidenceInvalid)
	terms := toyTerms()
	terms.LogKey = toyPublic("log 2")
	toyApply(t, c, toySets(terms))
	toyRefused(t, "of replaced keys", toyFile(t, c, toyEvidence(entry.EvidenceFork, data)), entry.EvidenceInvalid)
}

func toyOverride(p *toyPeer, hold entry.HoldID, outcome entry.Outcome) *entry.Override {
	return &entry.Override{Header: entry.Header{Ledger: p.hash, ExpiryMillis: toyNow + 60_000, Sequence: 1}, Peer: toyHome, Hold: hold, Outcome: outcome,
		Commitment: zk.Commitment{31: 5}}
}

func TestTwoDecisionsForOneHoldFreezeAtOnce(t *testing.T) {
	here, third := entry.Named{Ledger: toyHome, Hold: toyHold(8)}, entry.Named{Ledger: entry.GenesisHash{0xcc}, Hold: toyHold(9)}
	other := entry.Named{Ledger: toyHome, Hold: toyHold(10)}
	p0 := newToyPeer(t)
	foreign := p0.decide(toyHold(1), entry.Voided)
	foreign.Ledger = entry.GenesisHash{0xcc}
	later := p0.decide(toyHold(1), entry.Posted, here)
	later.ExpiryMillis++ // another entry that says the same
	for name, x := range map[string]struct {
		first, second entry.Entry
		code          entry.Code
	}{
		"posted and voided":              {p0.decide(toyHold(1), entry.Posted, here), p0.decide(toyHold(1), entry.Voided), ""},
		"posted for two holds":           {p0.decide(toyHold(1), entry.Posted, here), p0.decide(toyHold(1), entry.Posted, other), ""},
		"posted for more holds":          {p0.decide(toyHold(1), entry.Posted, here), p0.decide(toyHold(1), entry.Posted, here, third), ""},
		"posted and overridden":          {p0.decide(toyHold(1), entry.Posted, here), toyOverride(p0, toyHold(1), entry.Voided), ""},
		"two overrides":                  {toyOverride(p0, toyHold(1), entry.Posted), toyOverride(p0, toyHold(1), entry.Voided), ""},
		"two holds":                      {p0.decide(toyHold(1), entry.Posted, here), p0.decide(toyHold(2), entry.Voided), entry.EvidenceInvalid},
		"two legs of a transaction":      {p0.decide(entry.HoldID{Leg: 0}, entry.Posted), p0.decide(entry.HoldID{Leg: 1}, entry.Voided), entry.EvidenceInvalid},
		"voided twice":                   {p0.decide(toyHold(1), entry.Voided), toyOverride(p0, toyHold(1), entry.Voided), entry.EvidenceInvalid},
		"posted twice for the same hold": {p0.decide(toyHold(1), entry.Posted, here), later, entry.EvidenceInvalid},
		"one of another ledger":          {p0.decide(toyHold(1), entry.Posted, here), foreign, entry.EvidenceInvalid},
		"one that is no decision":        {p0.decide(toyHold(1), entry.Posted, here), &entry.Amend{Header: entry.Header{Ledger: toyAway}, Hold: toyHold(1)}, entry.EvidenceInvalid},
		"one that is a state entry":      {p0.decide(toyHold(1), entry.Posted, here), &entry.State{NextSequence: 1}, entry.EvidenceInvalid},
	} {
		for _, swapped := range []bool{false, true} {
			c, p := toyPair(t)
			at := p.block(x.first, x.second)
			p.block()
			d := &proof.Decisions{First: p.receipt(at+1, at), Second: p.receipt(p.size(), at+1)} // under two checkpoints
			if swapped {
				d.First, d.Second = d.Second, d.First
			}
			err := toyFile(t, c, toyEvidence(entry.EvidenceDecisions, d.Marshal()))
			toyRefused(t, name, err, x.code)
			if frozen := c.frozen(toyAway); frozen != (x.code == "") || frozen && c.status(toyNow)[0].Why != "evidence: two decisions" {
				t.Errorf("%s: frozen %v, %+v", name, frozen, c.status(toyNow)[0])
			}
		}
	}
}

func TestReceiptsThatShowNoDecisionsAreRefused(t *testing.T) {
	here := entry.Named{Ledger: toyHome, Hold: toyHold(8)}
	build := func(spoil func(p *toyPeer, at uint64, d *proof.Decisions)) (*corridors, []byte) {
		c, p := toyPair(t)
		at := p.block(p.decide(toyHold(1), entry.Posted, here), p.decide(toyHold(1), entry.Voided))
		d := &proof.Decisions{First: p.receipt(p.size(), at), Second: p.receipt(p.size(), at+1)}
		spoil(p, at, d)
		return c, d.Marshal()
	}
	for name, spoil := range map[string]func(p *toyPeer, at uint64, d *proof.Decisions){
		"one receipt twice": func(_ *toyPeer, _ uint64, d *proof.Decisions) { d.Second = d.First },
		"signed by a stranger": func(p *toyPeer, at uint64, d *proof.Decisions) {
			p.logKey = "thief"
			d.Second = p.receipt(p.size(), at+1)
		},
		"of another log": func(p *toyPeer, at uint64, d *proof.Decisions) { p.origin = "x"; d.Second = p.receipt(p.size(), at+1) },
		"an entry never logged": func(p *toyPeer, at uint64, d *proof.Decisions) {
			r := proof.Receipt{Index: at + 1, Entry: entry.Encode(p.decide(toyHold(1), entry.Voided)), Path: hashes(p.path(p.size(), at)), Checkpoint: p.signed(p.size())}
			d.Second = r.Marshal()
		},
		"not a receipt": func(_ *toyPeer, _ uint64, d *proof.Decisions) { d.Second = []byte("receipt") },
	} {
		c, data := build(spoil)
		toyRefused(t, name, toyFile(t, c, toyEvidence(entry.EvidenceDecisions, data)), entry.EvidenceInvalid)
	}
	c, data := build(func(*toyPeer, uint64, *proof.Decisions) {})
	toyRefused(t, "said to be a fork", toyFile(t, c, toyEvidence(entry.EvidenceFork, data)), entry.EvidenceInvalid)
	toyMust(t, toyFile(t, c, toyEvidence(entry.EvidenceDecisions, data)))
	toyRefused(t, "again", toyFile(t, c, toyEvidence(entry.EvidenceDecisions, data)), entry.CorridorFrozen)
}

func TestLateDecisionIsBookedOnceAsAClaim(t *testing.T) {
	mine, decider, other := toyHold(3), toyHold(4), toyHold(5)
	here, elsewhere := entry.Named{Ledger: toyHome, Hold: mine}, entry.Named{Ledger: toyHome, Hold: other}
	third := entry.Named{Ledger: entry.GenesisHash{0xcc}, Hold: other}
	namesake := entry.Named{Ledger: entry.GenesisHash{0x11}, Hold: mine} // the same id on another ledger
	p0 := newToyPeer(t)
	for name, x := range map[string]struct {
		overrode entry.Outcome
		late     entry.Entry
		code     entry.Code
	}{
		"voided, posted late":                     {entry.Voided, p0.decide(decider, entry.Posted, here), ""},
		"posted, posted late for a namesake":      {entry.Posted, p0.decide(decider, entry.Posted, namesake, elsewhere), ""},
		"voided, posted late for two ledgers":     {entry.Voided, p0.decide(decider, entry.Posted, here, third), ""},
		"posted, voided late":                     {entry.Posted, p0.decide(decider, entry.Voided), ""},
		"posted, posted late for another hold":    {entry.Posted, p0.decide(decider, entry.Posted, elsewhere), ""},
		"posted, voided late by an override":      {entry.Posted, toyOverride(p0, decider, entry.Voided), ""},
		"voided, voided late":                     {entry.Voided, p0.decide(decider, entry.Voided), entry.EvidenceInvalid},
		"voided, posted late for another hold":    {entry.Voided, p0.decide(decider, entry.Posted, elsewhere), entry.EvidenceInvalid},
		"posted, posted late":                     {entry.Posted, p0.decide(decider, entry.Posted, here), entry.EvidenceInvalid},
		"posted late, naming a third ledger only": {entry.Posted, p0.decide(decider, entry.Posted, third), entry.EvidenceInvalid},
		"posted late, naming nobody":              {entry.Voided, p0.decide(decider, entry.Posted), entry.EvidenceInvalid},
		"a decision of another hold":              {entry.Voided, p0.decide(other, entry.Posted, here), entry.EvidenceInvalid},
		"no decision":                             {entry.Voided, &entry.Amend{Header: entry.Header{Ledger: toyAway}, Hold: decider}, entry.EvidenceInvalid},
		"a decision of a third ledger":            {entry.Voided, &entry.Resolve{Header: entry.Header{Ledger: toyHome}, Hold: decider, Outcome: entry.Posted, Reason: entry.ReasonAttested}, entry.PeerMismatch},
	} {
		c, p := toyPair(t)
		from := p.size()
		toyApply(t, c, toyDoes(entry.CorridorFreezes))
		c.overrode(toyAway, mine, decider, x.overrode, 100)
		at := p.block(x.late)
		late := toyEvidence(entry.EvidenceLate, p.proof(p.size(), at).Marshal())
		toyRefused(t, name+", not observed yet", toyFile(t, c, late), entry.PeerSizeUnknown)
		toyMust(t, toySettle(t, c, p.observe(from), toyNow))
		err := toyFile(t, c, late)
		toyRefused(t, name, err, x.code)
		claims := uint64(0)
		if x.code == "" {
			claims = 100
			toyRefused(t, name+", twice", toyFile(t, c, late), entry.EvidenceInvalid)
		}
		if got := c.status(toyNow)[0].Claims; got != claims {
			t.Errorf("%s: claims of %d", name, got)
		}
		// Nothing that says who owes money may be forgotten by a thaw.
		toyApply(t, c, toyDoes(entry.CorridorThaws))
		if got := c.status(toyNow)[0].Claims; got != claims {
			t.Errorf("%s: claims of %d after a thaw", name, got)
		}
	}
}

func TestClaimsAddUpAndNeverWrap(t *testing.T) {
	c, p := toyPair(t)
	from := p.size()
	decider := toyHold(4)
	for i := range byte(2) { // two holds that followed one decision
		c.overrode(toyAway, toyHold(20+i), decider, entry.Posted, 1<<63)
	}
	c.overrode(toyAway, toyHold(30), toyHold(31), entry.Posted, 7)
	at := p.block(p.decide(decider, entry.Voided))
	toyMust(t, toySettle(t, c, p.observe(from), toyNow))
	late := toyEvidence(entry.EvidenceLate, p.proof(p.size(), at).Marshal())
	for _, want := range []uint64{1 << 63, 1<<64 - 1} {
		toyMust(t, toyFile(t, c, late))
		if got := c.status(toyNow)[0].Claims; got != want {
			t.Errorf("claims of %d, want %d", got, want)
		}
	}
	toyRefused(t, "a third time", toyFile(t, c, late), entry.EvidenceInvalid)
}

func TestOwnDecisionHasNoLateRival(t *testing.T) {
	c, _ := toyPair(t)
	before := c.append(nil)
	c.overrode(toyAway, toyHold(1), toyHold(1), entry.Voided, 100)
	c.overrode(toyAway, toyHold(1), entry.HoldID{}, entry.Voided, 100)
	if !bytes.Equal(before, c.append(nil)) {
		t.Error("an override of a hold that this ledger decides is remembered")
	}
}

func TestDamagedLateDecisionIsRefused(t *testing.T) {
	c, p := toyPair(t)
	from := p.size()
	c.overrode(toyAway, toyHold(3), toyHold(4), entry.Posted, 100)
	at := p.block(p.decide(toyHold(4), entry.Voided))
	toyMust(t, toySettle(t, c, p.observe(from), toyNow))
	good := p.proof(p.size(), at)
	wrong := *good
	wrong.Index++
	for name, x := range map[string]struct {
		data []byte
		code entry.Code
	}{
		"a wrong index":  {wrong.Marshal(), entry.PeerProofInvalid},
		"truncated":      {good.Marshal()[:40], entry.EvidenceInvalid},
		"trailing bytes": {append(good.Marshal(), 0), entry.EvidenceInvalid},
	} {
		toyRefused(t, name, toyFile(t, c, toyEvidence(entry.EvidenceLate, x.data)), x.code)
	}
	toyMust(t, toyFile(t, c, toyEvidence(entry.EvidenceLate, good.Marshal())))
}

// toyRich is corridors with something in every field.
func toyRich(t testing.TB) *corridors {
	c, p := toyPair(t)
	for _, peer := range []entry.GenesisHash{{0x01}, {0xfe}} {
		e := toySets(toyTerms())
		e.Peer = peer
		toyApply(t, c, e)
	}
	toyMust(t, toySettle(t, c, toyRotated(p, p.size(), "log 1", toyRotation(1, "log", "log 1")), toyNow))
	c.place(toyAway, 110)
	c.place(entry.GenesisHash{0xfe}, 1000)
	c.overrode(toyAway, toyHold(3), toyHold(4), entry.Posted, 100)
	c.overrode(toyAway, toyHold(5), toyHold(6), entry.Voided, 10)
	from := p.size()
	at := p.block(p.decide(toyHold(4), entry.Voided))
	toyMust(t, toySettle(t, c, p.observe(from), toyNow+1))
	toyMust(t, toyFile(t, c, toyEvidence(entry.EvidenceLate, p.proof(p.size(), at).Marshal())))
	toyMust(t, toyFile(t, c, toyEvidence(entry.EvidenceFork, toyFork(t, p, 2, 4, 9, "log", "log"))))
	return c
}

func TestCorridorsReadBackFromASnapshot(t *testing.T) {
	for name, c := range map[string]*corridors{"none": newCorridors(), "unseen": toyCorridor(t), "rich": toyRich(t)} {
		raw := c.append(nil)
		r := &snapshotReader{rest: append(slices.Clone(raw), 0xee)}
		back := readCorridors(r)
		if r.err != nil || len(r.rest) != 1 {
			t.Fatalf("%s: %v, %d bytes left", name, r.err, len(r.rest))
		}
		if !bytes.Equal(back.append(nil), raw) || back.hash() != c.hash() {
			t.Errorf("%s: other bytes or another hash", name)
		}
		if fmt.Sprintf("%+v", back.status(toyNow)) == "" || len(back.status(toyNow)) != len(c.status(toyNow)) {
			t.Errorf("%s: %+v", name, back.status(toyNow))
		}
		for i := range raw {
			short := &snapshotReader{rest: raw[:i]}
			if readCorridors(short); short.err == nil {
				t.Fatalf("%s: read from the first %d of %d bytes", name, i, len(raw))
			}
		}
	}
}

// What is read from a snapshot goes on as if it had never been away.
func TestCorridorGoesOnAfterASnapshot(t *testing.T) {
	c, p := toyPair(t)
	from := p.size()
	p.block()
	e := p.observe(from)
	o, err := c.admitObserve(e)
	toyMust(t, err)
	back := readCorridors(&snapshotReader{rest: c.append(nil)})
	toyMust(t, back.observe(e, o, toyNow))
	toyMust(t, c.observe(e, o, toyNow))
	if back.hash() != c.hash() {
		t.Error("the restored corridor went another way")
	}
}

func TestDamagedSnapshotOfCorridorsIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(*corridors){
		"peers out of order":             func(c *corridors) { slices.Reverse(c.rows) },
		"a peer twice":                   func(c *corridors) { c.rows[1] = c.rows[0] },
		"version 0":                      func(c *corridors) { c.rows[1].version = 0 },
		"no log key":                     func(c *corridors) { c.rows[1].keys = nil },
		"a log key twice":                func(c *corridors) { c.rows[1].keys = []entry.SignerKey{toyPublic("log"), toyPublic("log")} },
		"a chain without the terms' key": func(c *corridors) { c.rows[1].keys = c.rows[1].keys[1:] },
		"a chain that is too long": func(c *corridors) {
			for i := range maxChain {
				c.rows[1].keys = append(c.rows[1].keys, toyPublic(fmt.Sprint("more ", i)))
			}
		},
		"sizes out of order": func(c *corridors) { slices.Reverse(c.rows[1].seen) },
		"size 0":             func(c *corridors) { c.rows[1].seen[0].Size = 0 },
		"a size of 2^63":     func(c *corridors) { c.rows[1].seen[1].Size = 1 << 63 },
		"more sizes than are kept": func(c *corridors) {
			c.rows[1].seen = nil
			for i := range maxSeen + 1 {
				c.rows[1].seen = append(c.rows[1].seen, proof.Head{Size: uint64(i) + 1})
			}
		},
		"times without an observation": func(c *corridors) { c.rows[0].peerTime = 5 },
		"an unknown freeze":            func(c *corridors) { c.rows[1].frozen = 4 },
		"an override of no outcome":    func(c *corridors) { c.rows[1].overridden[0].outcome = 3 },
		"an override of its own hold":  func(c *corridors) { c.rows[1].overridden[0].decider = c.rows[1].overridden[0].hold },
		"a hold overridden twice":      func(c *corridors) { c.rows[1].overridden[1].hold = c.rows[1].overridden[0].hold },
		"leg 4 of a transaction":       func(c *corridors) { c.rows[1].overridden[0].hold.Leg = 4 },
		"terms without a witness": func(c *corridors) {
			terms := *c.rows[1].terms
			terms.Witnesses = nil
			c.rows[1].terms = &terms
		},
		"more corridors than fit": func(c *corridors) {
			c.rows = nil
			for i := range maxCorridors + 1 {
				c.rows = append(c.rows, &corridor{peer: entry.GenesisHash{byte(i)}, terms: toyTerms(), version: 1, keys: []entry.SignerKey{toyPublic("log")}})
			}
		},
	} {
		c := toyRich(t)
		spoil(c)
		r := &snapshotReader{rest: c.append(nil)}
		if back := readCorridors(r); r.err == nil || len(back.rows) != 0 {
			t.Errorf("%s: read as %d corridors", name, len(back.rows))
		}
	}
}

// Whatever bytes are read as corridors are their one encoding.
func toyCanonical(t testing.TB, raw []byte) {
	r := &snapshotReader{rest: raw}
	if c := readCorridors(r); r.err == nil && !bytes.Equal(c.append(nil), raw[:len(raw)-len(r.rest)]) {
		t.Errorf("read %x, which has another encoding", raw)
	}
}

func TestEveryChangedByteIsSeenOrCanonical(t *testing.T) {
	raw := toyRich(t).append(nil)
	for i := range raw {
		for _, bit := range []byte{1, 0x80} {
			changed := slices.Clone(raw)
			changed[i] ^= bit
			toyCanonical(t, changed)
		}
	}
}

func FuzzReadCorridors(f *testing.F) {
	f.Add(newCorridors().append(nil))
	f.Add(toyCorridor(f).append(nil))
	f.Add(toyRich(f).append(nil))
	f.Fuzz(func(t *testing.T, raw []byte) { toyCanonical(t, raw) })
}

func TestHashIsComputedOncePerChange(t *testing.T) {
	c := toyRich(t)
	h := c.hash()
	if c.hash() != h || c.cached.Load() == nil || c.clone().cached.Load() == nil {
		t.Error("the hash is not kept")
	}
	seen := map[[32]byte]bool{h: true}
	for name, change := range map[string]func(*corridors){
		"place":   func(c *corridors) { c.place(toyAway, 10) },
		"release": func(c *corridors) { c.release(toyAway, 10) },
		"thaw":    func(c *corridors) { toyApply(t, c, toyDoes(entry.CorridorThaws)) },
		"set": func(c *corridors) {
			e := toySets(toyTerms())
			e.Terms.Cap = 77
			e.Terms.LogKey = toyPublic("log 1")
			toyApply(t, c, e)
		},
		"new":      func(c *corridors) { e := toySets(toyTerms()); e.Peer = entry.GenesisHash{0x77}; toyApply(t, c, e) },
		"overrode": func(c *corridors) { c.overrode(toyAway, toyHold(50), toyHold(51), entry.Posted, 1) },
	} {
		d := c.clone()
		change(d)
		if seen[d.hash()] {
			t.Errorf("%s: the hash is that of something else", name)
		}
		seen[d.hash()] = true
	}
}
