package bridge

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"reflect"
	"testing"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
)

// export is what an operator writes to a file: entries of one ledger for another, since what the other observed.
func export(r *relayer, of, forLedger *toyLedger) *Bundle {
	r.read()
	size, since := of.size(), forLedger.last[of.Hash]
	b := &Bundle{Of: of.Hash, For: forLedger.Hash, Since: since, Checkpoint: of.checkpoint(size), State: of.leaves[size-1],
		Consistency: paths(must(proof.ProveConsistency(since, size, of))), StatePath: paths(must(proof.ProveInclusion(size, size-1, of)))}
	for _, i := range r.relay.Export(of.Hash, forLedger.Hash, since) {
		p := of.prove(i, size)
		b.Entries = append(b.Entries, BundleEntry{i, p.Leaf, p.Path})
	}
	return b
}

// alone is a relay that reads one ledger's log and knows the others by name.
func alone(w *world, own *toyLedger) *Relay {
	r := newRelayer(w).relay
	for n, leaf := range own.leaves {
		if err := r.Add(own.Hash, uint64(n), leaf); err != nil {
			panic(err)
		}
	}
	return r
}

// carry takes a bundle's bytes to a ledger and submits what comes out.
func carry(t testing.TB, w *world, to *toyLedger, files ...[]byte) (*Importer, int) {
	t.Helper()
	m := NewImporter(to.Hash, alone(w, to))
	for _, f := range files {
		b, err := ParseBundle(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Add(b, 1<<50); err != nil {
			t.Fatal(err)
		}
	}
	observes, resolves := m.Entries(1<<50, w.now)
	for _, e := range observes {
		if err := to.submit(e); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range resolves {
		if err := to.submit(e); err != nil {
			t.Fatal(err)
		}
	}
	return m, len(resolves)
}

// TestAPaymentSettlesByFile carries a vehicle payment between three ledgers that no line joins: every step goes through a file.
func TestAPaymentSettlesByFile(t *testing.T) {
	for _, expire := range []bool{false, true} {
		p := newPair("aurelia", "cordelia", "borealis")
		a, v, b := p.w.ledgers[0], p.w.ledgers[1], p.decider
		local := func(l *toyLedger) *relayer { // an exporter sees its own ledger alone
			r := newRelayer(p.w)
			r.relay = alone(p.w, l)
			r.world = &world{}
			return r
		}
		ship := func(of *toyLedger, to ...*toyLedger) (files [][]byte) {
			for _, l := range to {
				files = append(files, export(local(of), of, l).Marshal())
			}
			return files
		}
		for i, f := range ship(b, a, v) {
			l := p.w.ledgers[i]
			m, _ := carry(t, p.w, l, f)
			if _, err := m.Proof(Leaf{b.Hash, b.holds[p.id].index}); err != nil {
				t.Fatal(err)
			}
			if _, err := m.Proof(Leaf{b.Hash, 0}); CodeOf(err) != BundleInvalid {
				t.Fatal(err)
			}
		}
		p.w.now += 10_000
		p.place(t, 0)
		p.place(t, 1)
		if expire {
			p.w.now += 60_000
		}
		_, n := carry(t, p.w, b, ship(a, b)[0], ship(v, b)[0])
		if n != 1 {
			t.Fatalf("%d decisions", n)
		}
		p.w.now += 7 * 24 * 3600 * 1000 // a week on the road
		for i, f := range ship(b, a, v) {
			if _, n := carry(t, p.w, p.w.ledgers[i], f); n != 1 {
				t.Fatalf("%d resolutions", n)
			}
		}
		want := entry.Posted
		if expire {
			want = entry.Voided
		}
		if got := p.outcomes(); !reflect.DeepEqual(got, []entry.Outcome{want, want, want}) {
			t.Fatal(got)
		}
		// The file once more: there is nothing left to do.
		if _, n := carry(t, p.w, a, ship(b, a)[0]); n != 0 {
			t.Fatalf("%d resolutions of what is settled", n)
		}
	}
}

func bundleFixture(t testing.TB) (*pair, *Bundle) {
	t.Helper()
	p := newPair("aurelia", "borealis")
	r := newRelayer(p.w)
	if err := r.run(); err != nil {
		t.Fatal(err)
	}
	p.place(t, 0)
	for range 2 { // observed, then posted; the follower's ledger has not seen it
		r.read()
		if n, err := r.act(1); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	b := export(r, p.decider, p.w.ledgers[0])
	p.decider.state() // so that the consistency path of a later export is not empty
	b.Rotations = []entry.Rotation{{Number: 1, Key: public("next")}}
	return p, b
}

func TestFalseBundlesAreRefused(t *testing.T) {
	p, good := bundleFixture(t)
	bytesOf := good.Marshal()
	if again, err := ParseBundle(bytesOf); err != nil || !bytes.Equal(again.Marshal(), bytesOf) {
		t.Fatal(err)
	}
	for i := range bytesOf {
		b := bytes.Clone(bytesOf)
		b[i] ^= 1
		if _, err := ParseBundle(b); CodeOf(err) != BundleInvalid {
			t.Fatalf("byte %d changed: %v", i, err)
		}
		if _, err := ParseBundle(bytesOf[:i]); CodeOf(err) != BundleInvalid {
			t.Fatalf("cut to %d: %v", i, err)
		}
	}
	if _, err := ParseBundle(make([]byte, MaxBundle+1)); CodeOf(err) != Oversize {
		t.Error(err)
	}
	other := p.w.ledgers[0].leaves[1]
	// resealed with a right checksum: the paths still notice
	for name, change := range map[string]func(*Bundle){
		"changed leaf":  func(b *Bundle) { b.Entries[0].Leaf = other },
		"empty leaf":    func(b *Bundle) { b.Entries[0].Leaf = nil },
		"wrong index":   func(b *Bundle) { b.Entries[0].Index++ },
		"index outside": func(b *Bundle) { b.Entries[len(b.Entries)-1].Index = 1 << 62 },
		"other path":    func(b *Bundle) { b.Entries[0].Path[0][0] ^= 1 },
		"shorter path":  func(b *Bundle) { b.Entries[0].Path = b.Entries[0].Path[1:] },
		"not ascending": func(b *Bundle) { b.Entries = append(b.Entries, b.Entries[0]) },
		"state changed": func(b *Bundle) {
			b.State = entry.Encode(&entry.State{TimeMillis: 1, OversightEpoch: 1, NextSequence: 1})
		},
		"state is another leaf": func(b *Bundle) { b.State = b.Entries[0].Leaf },
		"state path":            func(b *Bundle) { b.StatePath[0][0] ^= 1 },
		"no checkpoint":         func(b *Bundle) { b.Checkpoint = nil },
		"checkpoint of nothing": func(b *Bundle) {
			b.Checkpoint = must(proof.NewLogSigner(p.decider.origin, p.decider.key)).Sign(proof.Head{Root: proof.EmptyRoot()})
		},
		"for itself":       func(b *Bundle) { b.For = b.Of },
		"since the future": func(b *Bundle) { b.Since = 1 << 40 },
		"path of nothing":  func(b *Bundle) { b.Since = 0; b.Consistency = [][32]byte{{}} },
	} {
		b := must(ParseBundle(bytesOf))
		change(b)
		if _, err := ParseBundle(b.Marshal()); CodeOf(err) != BundleInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A number of entries above the limit is refused before any of them is read.
	b := must(ParseBundle(bytesOf))
	b.Entries = nil
	raw := b.Marshal()
	raw = raw[:len(raw)-sha256.Size]
	raw[len(raw)-2], raw[len(raw)-1] = 0xff, 0xff
	sum := sha256.Sum256(raw)
	if _, err := ParseBundle(append(raw, sum[:]...)); CodeOf(err) != BundleInvalid {
		t.Error(err)
	}
}

func TestABundleForAnotherLedgerIsRefused(t *testing.T) {
	p, good := bundleFixture(t)
	a := p.w.ledgers[0]
	for name, tc := range map[string]struct {
		change func(*Bundle)
		want   Code
	}{
		"as it should be":      {func(*Bundle) {}, ""},
		"for another":          {func(b *Bundle) { b.For = cordelia.Hash }, BundleOther},
		"of an unknown one":    {func(b *Bundle) { b.Of = cordelia.Hash }, BundleOther},
		"of itself":            {func(b *Bundle) { b.Of = a.Hash }, BundleInvalid},
		"a gap in consistency": {func(b *Bundle) { b.Since--; b.Consistency = nil }, BundleInvalid},
		"torn":                 {func(b *Bundle) { b.StatePath = nil }, BundleInvalid},
	} {
		b := must(ParseBundle(good.Marshal()))
		tc.change(b)
		if err := NewImporter(a.Hash, alone(p.w, a)).Add(b, 1<<50); CodeOf(err) != tc.want {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}

	// An old file, of a size that the ledger never observed.
	r := newRelayer(p.w)
	old := export(r, p.decider, a)
	p.decider.state()
	if err := a.submit(a.observation(p.decider)); err != nil {
		t.Fatal(err)
	}
	if err := NewImporter(a.Hash, alone(p.w, a)).Add(old, 1<<50); CodeOf(err) != BundleInvalid {
		t.Error(err)
	}
	// An old file, of a size that it did observe, shows entries and nothing new to observe.
	same := export(r, p.decider, a)
	same.Since = a.last[p.decider.Hash]
	m := NewImporter(a.Hash, alone(p.w, a))
	if err := m.Add(same, 1<<50); err != nil {
		t.Fatal(err)
	}
	if observes, _ := m.Entries(1<<50, 0); len(observes) != 0 {
		t.Error("observed what was observed")
	}
}

func TestABundleIsCheckedAgainstAPolicy(t *testing.T) {
	p, b := bundleFixture(t)
	c := proof.Config{Origin: p.decider.origin, LogKey: [32]byte(p.decider.key.Public().(ed25519.PublicKey)), Quorum: 1,
		Witnesses: []proof.Witness{{Name: "w.example", Key: [32]byte(public("witness"))}}}
	policy := must(proof.NewPolicy(c))
	if err := b.Verify(policy); CodeOf(err) != BundleInvalid {
		t.Fatalf("without a witness: %v", err)
	}
	cosigner := must(proof.NewCosigner("w.example", signer("witness")))
	checkpoint := must(proof.OpenLog(p.decider.origin, p.decider.key.Public().(ed25519.PublicKey), b.Checkpoint))
	b.Checkpoint = append(b.Checkpoint, must(cosigner.Sign(checkpoint, 5))...)
	if err := b.Verify(policy); err != nil {
		t.Fatal(err)
	}
	if _, err := ParseBundle(b.Marshal()); err != nil {
		t.Fatal(err)
	}
}

func TestExportListsWhatIsNeeded(t *testing.T) {
	p := newPair("aurelia", "cordelia", "borealis")
	r := newRelayer(p.w)
	if err := r.run(); err != nil {
		t.Fatal(err)
	}
	b, a, v := p.decider, p.w.ledgers[0], p.w.ledgers[1]
	hold := b.holds[p.id].index
	if got := r.relay.Export(b.Hash, a.Hash, 1<<40); !reflect.DeepEqual(got, []uint64{hold}) {
		t.Errorf("an open hold from before: %v", got)
	}
	p.place(t, 0)
	p.place(t, 1)
	if err := r.run(); err != nil {
		t.Fatal(err)
	}
	decision := r.relay.logs[b.Hash].decisions[p.id].index
	if got := r.relay.Export(b.Hash, v.Hash, decision); !reflect.DeepEqual(got, []uint64{hold, decision}) {
		t.Errorf("%v", got)
	}
	if got := r.relay.Export(b.Hash, v.Hash, decision+1); len(got) != 0 {
		t.Errorf("what is used up: %v", got)
	}
	if got := r.relay.Export(cordelia.Hash, ledgerHash("atlantis"), 0); len(got) != 0 {
		t.Errorf("%v", got)
	}
	if r.relay.Export(ledgerHash("atlantis"), a.Hash, 0) != nil {
		t.Error("an unknown ledger")
	}
}

func FuzzBundle(f *testing.F) {
	_, b := bundleFixture(f)
	f.Add(b.Marshal())
	b.Entries, b.Rotations = nil, nil
	f.Add(b.Marshal())
	f.Add([]byte(bundleHeader))
	f.Fuzz(func(t *testing.T, raw []byte) {
		// The checksum would stop every changed input at the door: it is made right, so that the fields are reached.
		for _, in := range [][]byte{raw, seal(raw)} {
			b, err := ParseBundle(in)
			if err != nil {
				if c := CodeOf(err); c != BundleInvalid && c != Oversize {
					t.Fatal(err)
				}
				continue
			}
			if !bytes.Equal(b.Marshal(), in) {
				t.Fatal("another form")
			}
		}
	})
}

func seal(raw []byte) []byte {
	if len(raw) < sha256.Size {
		return raw
	}
	body := bytes.Clone(raw[:len(raw)-sha256.Size])
	sum := sha256.Sum256(body)
	return append(body, sum[:]...)
}
