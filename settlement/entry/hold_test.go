package entry

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/json"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/comity-ledger/comity/zk"
)

func TestHoldIDHasOneText(t *testing.T) {
	text := holdID.String()
	if want := holdID.Tx.String() + "/2"; text != want {
		t.Errorf("%s, want %s", text, want)
	}
	back, err := ParseHoldID(text)
	if err != nil || back != holdID {
		t.Errorf("reads back as %v, %v", back, err)
	}
	j, err := json.Marshal(map[string]HoldID{"hold": holdID})
	var from map[string]HoldID
	if err != nil || json.Unmarshal(j, &from) != nil || from["hold"] != holdID {
		t.Errorf("%s, %v", j, err)
	}
	for _, bad := range []string{"", "/", holdID.Tx.String(), holdID.Tx.String() + "/", holdID.Tx.String() + "/4", holdID.Tx.String() + "/02", holdID.Tx.String() + "/-1",
		holdID.Tx.String() + "/1/", strings.ToUpper(holdID.Tx.String()) + "/1", holdID.Tx.String()[1:] + "/1", holdID.Tx.String() + " /1", text + "\n"} {
		_, err := ParseHoldID(bad)
		if CodeOf(err) != Malformed {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestConditionsReadBack(t *testing.T) {
	none := attestedFixture()
	none.Document, none.WindowMillis, none.Contested = [32]byte{}, 0, 0
	none.Payer, none.Payee = SignerKey{}, SignerKey{}
	most := &Attested{Statement: StatementEndUse, Threshold: MaxAttestors}
	for i := range MaxAttestors {
		most.Attestors = append(most.Attestors, edPublic(strings.Repeat("x", i)))
	}
	for name, c := range map[string]interface{ Condition() Condition }{
		"attested": attestedFixture(), "guarantee": guaranteeFixture(), "nobody may challenge, release or amend": none, "most attestors": most,
		"decided here": decidedHereFixture(), "one follower": &DecidedHere{1, decidedHereFixture().Followers[:1]}, "decided there": decidedThereFixture(),
	} {
		coded := c.Condition()
		if len(coded.Bytes) > MaxCondition {
			t.Errorf("%s: %d bytes, the limit is %d", name, len(coded.Bytes), MaxCondition)
		}
		back, err := coded.Decode()
		if err != nil || !reflect.DeepEqual(back, c) {
			t.Errorf("%s: reads back as %+v, %v", name, back, err)
		}
		for n := range coded.Bytes {
			_, err := Condition{coded.Type, coded.Bytes[:n]}.Decode()
			if CodeOf(err) != ConditionInvalid {
				t.Errorf("%s cut to %d of %d bytes: %v", name, n, len(coded.Bytes), err)
				break
			}
		}
		_, err = Condition{coded.Type, append(slices.Clone(coded.Bytes), 0)}.Decode()
		wantCode(t, err, ConditionInvalid)
		for _, other := range []uint8{0, 4, 255} {
			_, err = Condition{other, coded.Bytes}.Decode()
			wantCode(t, err, ConditionUnknown)
		}
	}
}

func TestConditionRulesAreRefusedByName(t *testing.T) {
	smallOrder := SignerKey{0: 1}
	for name, change := range map[string]func(*Attested){
		"no attestor":                         func(a *Attested) { a.Attestors = nil },
		"17 attestors":                        func(a *Attested) { a.Attestors = append(manyKeys(14), a.Attestors...) },
		"a threshold of 0":                    func(a *Attested) { a.Threshold, a.Contested, a.WindowMillis = 0, 0, 0 },
		"a threshold above the attestors":     func(a *Attested) { a.Threshold, a.Contested = 4, 4 },
		"an attestor twice":                   func(a *Attested) { a.Attestors[2] = a.Attestors[0] },
		"an attestor who is the payer":        func(a *Attested) { a.Attestors[0] = a.Payer },
		"the payee twice among the attestors": func(a *Attested) { a.Attestors[0], a.Attestors[1] = a.Payee, a.Payee },
		"payer and payee with one key":        func(a *Attested) { a.Payee = a.Payer },
		"a key of small order":                func(a *Attested) { a.Attestors[1] = smallOrder },
		"a payer of small order":              func(a *Attested) { a.Payer = smallOrder },
		"a payee of small order":              func(a *Attested) { a.Payee = smallOrder },
		"statement 0":                         func(a *Attested) { a.Statement = 0 },
		"a contract as a statement":           func(a *Attested) { a.Statement = DocumentContract },
		"a window that is too long":           func(a *Attested) { a.WindowMillis = MaxWindowMillis + 1 },
		"a window and no number after it":     func(a *Attested) { a.Contested = 0 },
		"a number after no window":            func(a *Attested) { a.WindowMillis = 0 },
		"fewer after a challenge than before": func(a *Attested) { a.Contested = 1 },
		"more after a challenge than named":   func(a *Attested) { a.Contested = 4 },
		"a window that nobody may use":        func(a *Attested) { a.Payer = SignerKey{} },
	} {
		a := attestedFixture()
		a.Attestors = slices.Clone(a.Attestors)
		change(a)
		if _, err := a.Condition().Decode(); CodeOf(err) != ConditionInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, change := range map[string]func(*DecidedHere){
		"no follower":              func(d *DecidedHere) { d.Followers = nil },
		"five followers":           func(d *DecidedHere) { d.Followers = make([]Follower, 5) },
		"followers out of order":   func(d *DecidedHere) { slices.Reverse(d.Followers) },
		"one ledger twice":         func(d *DecidedHere) { d.Followers[1].Ledger = d.Followers[0].Ledger },
		"a commitment of r":        func(d *DecidedHere) { fieldModulus.FillBytes(d.Followers[0].Commitment[:]) },
		"a commitment of all ones": func(d *DecidedHere) { d.Followers[1].Commitment = zk.Commitment(bytes.Repeat([]byte{255}, 32)) },
	} {
		d := decidedHereFixture()
		change(d)
		if _, err := d.Condition().Decode(); CodeOf(err) != ConditionInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	d := decidedThereFixture()
	d.Hold.Leg = MaxLegs
	_, err := d.Condition().Decode()
	wantCode(t, err, ConditionInvalid)
	// What a condition says is checked wherever a leg is read, not only by whoever decides it.
	for name, change := range map[string]func(*Leg){
		"an attested hold with a size class": func(l *Leg) { l.Condition = attestedFixture().Condition() },
		"a hold for others without one":      func(l *Leg) { l.SizeClass = LocalSizeClass },
		"a condition of another length":      func(l *Leg) { l.Condition.Bytes = l.Condition.Bytes[1:] },
	} {
		tx := transferFixture(genesisFixture(t), zk.Hold)
		change(&tx.Legs[0])
		if err := tx.Validate(); CodeOf(err) != ConditionInvalid {
			t.Errorf("%s: validating gave %v", name, err)
		}
		if _, err := Decode(tx.Encode()); CodeOf(err) != ConditionInvalid {
			t.Errorf("%s: decoding gave %v", name, err)
		}
	}
	tx := transferFixture(genesisFixture(t), zk.Hold)
	tx.Legs[0].Condition.Type = 4
	wantCode(t, tx.Validate(), ConditionUnknown)
	_, err = Decode(tx.Encode())
	wantCode(t, err, ConditionUnknown)
}

func manyKeys(n int) (out []SignerKey) {
	for i := range n {
		out = append(out, edPublic(strings.Repeat("k", i+1)))
	}
	return out
}

func TestPeerProofReadsBackAndFitsItsLeg(t *testing.T) {
	for _, hashes := range []int{0, 1, 63} {
		p := peerProofFixture("p", hashes)
		b := p.Marshal()
		back, err := ParsePeerProof(b)
		if err != nil || !reflect.DeepEqual(back, &p) {
			t.Errorf("%d hashes: reads back as %+v, %v", hashes, back, err)
		}
		for n := range b {
			if _, err := ParsePeerProof(b[:n]); CodeOf(err) != Malformed {
				t.Fatalf("cut to %d of %d bytes: %v", n, len(b), err)
			}
		}
		_, err = ParsePeerProof(append(slices.Clone(b), 0))
		wantCode(t, err, Malformed)
	}
	long, empty := peerProofFixture("p", 64), peerProofFixture("p", 1)
	empty.Leaf = nil
	for name, p := range map[string]PeerProof{"64 hashes": long, "no leaf": empty} {
		if _, err := ParsePeerProof(p.Marshal()); CodeOf(err) != Malformed {
			t.Errorf("%s: %v", name, err)
		}
		tx := transferFixture(genesisFixture(t), zk.Hold)
		tx.Legs[0].Condition, tx.Legs[0].Peer = decidedThereFixture().Condition(), &p
		if err := tx.Validate(); CodeOf(err) != Malformed {
			t.Errorf("%s in a leg: %v", name, err)
		}
	}
	p := peerProofFixture("p", 3)
	local := transferFixture(genesisFixture(t), zk.Hold)
	local.Legs[0].Peer = &p
	wantCode(t, local.Validate(), Malformed)
	plain := transferFixture(genesisFixture(t), zk.Transfer)
	plain.Legs[0].Peer = &p
	wantCode(t, plain.Validate(), Malformed)
	// Without its proof the bytes of a following hold end too early.
	tx := transferFixture(genesisFixture(t), zk.Hold)
	tx.Legs[0].Condition = decidedThereFixture().Condition()
	_, err := Decode(tx.Encode())
	wantCode(t, err, Malformed)
	// Four holds with long peer leaves pass the longest entry.
	big := peerProofFixture("p", 1)
	big.Leaf = make([]byte, MaxEntry)
	tx.Legs[0].Peer = &big
	wantCode(t, tx.Validate(), Oversize)
}

func TestHoldEntryRulesAreRefusedByName(t *testing.T) {
	all := entriesFixture(t)
	resolve := func(change func(*Resolve)) func(Entry) { return func(e Entry) { change(e.(*Resolve)) } }
	attest := func(change func(*Attest)) func(Entry) { return func(e Entry) { change(e.(*Attest)) } }
	for _, c := range []struct {
		name, of string
		change   func(Entry)
		want     Code
		unread   bool // what the value says has no bytes, so only validating refuses it
	}{
		{"outcome 0", "resolve expired", resolve(func(e *Resolve) { e.Outcome = 0 }), OutcomeInvalid, false},
		{"outcome 3", "resolve follower", resolve(func(e *Resolve) { e.Outcome = 3 }), OutcomeInvalid, false},
		{"reason 0", "resolve expired", resolve(func(e *Resolve) { e.Reason = 0 }), OutcomeInvalid, false},
		{"reason 5", "resolve expired", resolve(func(e *Resolve) { e.Reason = 5 }), OutcomeInvalid, false},
		{"expired and posted", "resolve expired", resolve(func(e *Resolve) { e.Outcome = Posted }), OutcomeInvalid, false},
		{"attested and voided", "resolve attested", resolve(func(e *Resolve) { e.Outcome = Voided }), OutcomeInvalid, false},
		{"released and posted", "resolve released", resolve(func(e *Resolve) { e.Outcome = Posted }), OutcomeInvalid, false},
		{"a decider that voids and names holds", "resolve decider", resolve(func(e *Resolve) { e.Outcome = Voided }), Malformed, false},
		{"a proof too few", "resolve decider", resolve(func(e *Resolve) { e.Peers = e.Peers[:1] }), Malformed, false},
		{"a name too few", "resolve decider", resolve(func(e *Resolve) { e.Named = e.Named[:1] }), Malformed, false},
		{"two proofs and no name", "resolve decider", resolve(func(e *Resolve) { e.Named = nil }), Malformed, false},
		{"peers without a proof", "resolve follower", resolve(func(e *Resolve) { e.Peers = nil }), Malformed, false},
		{"five proofs", "resolve follower", resolve(func(e *Resolve) { e.Peers = slices.Repeat(e.Peers, 5) }), Malformed, false},
		{"five names", "resolve decider", resolve(func(e *Resolve) { e.Named = make([]Named, 5) }), Malformed, false},
		{"names out of order", "resolve decider", resolve(func(e *Resolve) { slices.Reverse(e.Named) }), NonCanonical, false},
		{"one ledger named twice", "resolve decider", resolve(func(e *Resolve) { e.Named[1].Ledger = e.Named[0].Ledger }), NonCanonical, false},
		{"names in an expired hold", "resolve expired", resolve(func(e *Resolve) { e.Named = []Named{{peerLedger, holdID}} }), Malformed, false},
		{"proofs in an expired hold", "resolve expired", resolve(func(e *Resolve) { e.Peers = []PeerProof{peerProofFixture("p", 1)} }), Malformed, true},
		{"a release in an expired hold", "resolve expired", resolve(func(e *Resolve) { e.Release[3] = 1 }), Malformed, true},
		{"leg 4", "resolve expired", resolve(func(e *Resolve) { e.Hold.Leg = 4 }), Malformed, false},
		{"a commitment of r", "resolve expired", resolve(func(e *Resolve) { fieldModulus.FillBytes(e.Commitment[:]) }), NonCanonical, false},
		{"64 hashes", "resolve follower", resolve(func(e *Resolve) { e.Peers[0].Path = make([][32]byte, 64) }), Malformed, false},
		{"a leaf of nothing", "resolve follower", resolve(func(e *Resolve) { e.Peers[0].Leaf = nil }), Malformed, false},
		{"more than an entry holds", "resolve decider", resolve(func(e *Resolve) { e.Peers[0].Leaf = make([]byte, 40000); e.Peers[1].Leaf = make([]byte, 40000) }), Oversize, false},
		{"a sequence number", "resolve expired", func(e Entry) { e.Head().Sequence = 1 }, KindMismatch, false},
		{"a policy signature", "resolve expired", func(e Entry) { e.Head().Signatures = make([]PolicySignature, 1) }, KindMismatch, false},
		{"a sequence number", "attest", func(e Entry) { e.Head().Sequence = 1 }, KindMismatch, false},
		{"a policy signature", "amend", func(e Entry) { e.Head().Signatures = make([]PolicySignature, 1) }, KindMismatch, false},
		{"action 0", "attest", attest(func(e *Attest) { e.Action = 0 }), Malformed, false},
		{"action 4", "attest", attest(func(e *Attest) { e.Action = 4 }), Malformed, false},
		{"attestor 16", "attest", attest(func(e *Attest) { e.Attestor = MaxAttestors }), Malformed, false},
		{"the payer attests", "attest", attest(func(e *Attest) { e.Attestor = PayerAttestor }), Malformed, false},
		{"statement 0", "attest", attest(func(e *Attest) { e.Statement = 0 }), Malformed, false},
		{"a contract as a statement", "attest", attest(func(e *Attest) { e.Statement = DocumentContract }), Malformed, false},
		{"no document", "attest", attest(func(e *Attest) { e.Document = [32]byte{} }), Malformed, false},
		{"no document", "withdraw", attest(func(e *Attest) { e.Document = [32]byte{} }), Malformed, false},
		{"an attestor challenges", "challenge", attest(func(e *Attest) { e.Attestor = 0 }), Malformed, false},
		{"a challenge with a statement", "challenge", attest(func(e *Attest) { e.Statement = StatementDelivery }), Malformed, false},
		{"a challenge with a document", "challenge", attest(func(e *Attest) { e.Document = paper }), Malformed, false},
		{"leg 4", "attest", attest(func(e *Attest) { e.Hold.Leg = 4 }), Malformed, false},
		{"leg 255", "amend", func(e Entry) { e.(*Amend).Hold.Leg = 255 }, Malformed, false},
	} {
		e, err := Decode(Encode(all[c.of]))
		if err != nil {
			t.Fatal(err)
		}
		c.change(e)
		if _, err := Decode(Encode(e)); !c.unread && CodeOf(err) != c.want {
			t.Errorf("%s, %s: decoding gave %v, want %s", c.of, c.name, err, c.want)
		}
		readerRefuses := strings.HasPrefix(c.name, "leg") || strings.HasPrefix(c.name, "a commitment") || c.name == "five names"
		if err := e.Validate(); !readerRefuses && CodeOf(err) != c.want {
			t.Errorf("%s, %s: validating gave %v, want %s", c.of, c.name, err, c.want)
		}
	}
}

// Which keys an entry uses up is what keeps anything from happening twice. No two of them may be one by accident.
func TestOnceOnlyKeys(t *testing.T) {
	all := entriesFixture(t)
	id := IDOf(all["attest"])
	digest := [32]byte(holdID.Tx) // the same 32 bytes under every tag
	keys := []zk.Nullifier{holdID.Key(), HoldID{holdID.Tx, 1}.Key(), OnceKey(holdID.Tx), DocumentKey(digest), DocumentEndKey(digest)}
	for i, a := range keys {
		for _, b := range keys[:i] {
			if a == b {
				t.Errorf("key %d is another's too", i)
			}
		}
	}
	wide := sha512.Sum512(append(append([]byte("comity/hold/v1"), holdID.Tx[:]...), 2))
	want := new(big.Int).Mod(new(big.Int).SetBytes(wide[:]), fieldModulus)
	got := holdID.Key()
	if new(big.Int).SetBytes(got[:]).Cmp(want) != 0 {
		t.Error("the key of a hold is not SHA-512 mod r")
	}
	former := Digest([]byte("new"))
	for name, want := range map[string][2][]zk.Nullifier{
		"resolve expired": {{holdID.Key()}, nil},
		"resolve decider": {{holdID.Key()}, nil},
		"override":        {{holdID.Key()}, nil},
		"attest":          {{OnceKey(id)}, nil},
		"amend":           {{OnceKey(IDOf(all["amend"]))}, nil},
		"observe":         {{OnceKey(IDOf(all["observe"]))}, nil},
		"evidence":        {{OnceKey(IDOf(all["evidence"]))}, nil},
		"anchor":          {{DocumentKey(paper)}, nil},
		"supersede":       {{DocumentKey(former), DocumentEndKey(paper)}, {DocumentKey(paper)}},
		"revoke":          {{DocumentEndKey(paper)}, {DocumentKey(paper)}},
		"corridor":        {nil, nil},
		"freeze":          {nil, nil},
		"genesis":         {nil, nil},
		"state":           {nil, nil},
	} {
		if got := Keys(all[name]); !slices.Equal(got, want[0]) {
			t.Errorf("%s uses up %v, want %v", name, got, want[0])
		}
		if got := Needs(all[name]); !slices.Equal(got, want[1]) {
			t.Errorf("%s needs %v, want %v", name, got, want[1])
		}
	}
	for name, e := range all {
		tx, ok := e.(*Transaction)
		if !ok {
			continue
		}
		var want []zk.Nullifier
		for i := range tx.Legs {
			want = append(want, tx.Legs[i].Nullifiers...)
		}
		if got := Keys(e); !slices.Equal(got, want) || len(Needs(e)) != 0 {
			t.Errorf("%s uses up %v, want its nullifiers", name, got)
		}
	}
}

// Witness data may be replaced by anybody who relays an entry: it must not give the entry another name.
func TestIDIsTheSameUnderOtherWitnessData(t *testing.T) {
	all := entriesFixture(t)
	tx := func(i int, change func(*Leg)) func(Entry) { return func(e Entry) { change(&e.(*Transaction).Legs[i]) } }
	other := peerProofFixture("another", 5)
	for name, changes := range map[string][]func(Entry){
		"hold decided there": {tx(0, func(l *Leg) { l.Peer = &other }), tx(0, func(l *Leg) { l.Anchor++ }), tx(0, func(l *Leg) { l.Proof[0]++ })},
		"resolve decider":    {func(e Entry) { e.(*Resolve).Peers[0] = other }},
		"resolve follower":   {func(e Entry) { e.(*Resolve).Peers[0].Size++ }},
		"resolve released":   {func(e Entry) { e.(*Resolve).Release[0]++ }},
		"attest":             {func(e Entry) { e.(*Attest).Signature[0]++ }},
		"amend":              {func(e Entry) { e.(*Amend).Payer[0]++ }, func(e Entry) { e.(*Amend).Payee[0]++ }},
		"observe rotated": {func(e Entry) { e.(*Observe).Checkpoint = []byte("cosigned by more") }, func(e Entry) { e.(*Observe).Consistency = nil },
			func(e Entry) { e.(*Observe).State = []byte("x") }, func(e Entry) { e.(*Observe).StatePath = nil }},
		"override": {func(e Entry) { e.(*Override).Treasury = nil }, func(e Entry) { e.(*Override).Oversight = zk.Signature{} }, func(e Entry) { e.Head().Signatures = nil }},
		"corridor": {func(e Entry) { e.Head().Signatures = nil }},
		"anchor":   {func(e Entry) { e.Head().Signatures = nil }},
	} {
		for i, change := range changes {
			e, err := Decode(Encode(all[name]))
			if err != nil {
				t.Fatal(err)
			}
			id, before := IDOf(e), Encode(e)
			change(e)
			if IDOf(e) != id {
				t.Errorf("%s, change %d: another id", name, i)
			}
			if bytes.Equal(Encode(e), before) {
				t.Errorf("%s, change %d: nothing was changed", name, i)
			}
		}
	}
	// And every byte of what an entry does is part of its id.
	for name, e := range all {
		b := e.AppendEffecting(nil)
		if !bytes.HasPrefix(Encode(e), b) {
			t.Errorf("%s: effecting data is not the beginning of the entry", name)
		}
	}
}

// A signature is worth something for one act on one ledger: no message that anybody signs is ever another's.
func TestSignedMessagesAreNeverAnothers(t *testing.T) {
	id := IDOf(entriesFixture(t)["attest"])
	messages := map[string][]byte{
		"authorise": AuthorisationMessage(id), "release": ReleaseMessage(id), "attest": AttestMessage(id), "amend": AmendMessage(id), "override": OverrideMessage(id),
		"rotation": RotationMessage("o", 1, SignerKey{}),
		// What log and witness keys sign besides: notes (C2SP) begin with the origin, cosignatures with their own line.
		"cosignature": []byte("cosignature/v1\ntime 1\n"),
	}
	tags := map[string]string{"authorise": "comity/authorise/v1", "release": "comity/release/v1", "attest": "comity/attest/v1", "amend": "comity/amend/v1",
		"override": "comity/override/v1", "rotation": "comity/log-key/v1", "cosignature": "cosignature/v1\n"}
	for a, m := range messages {
		if !bytes.HasPrefix(m, []byte(tags[a])) {
			t.Errorf("%s does not begin with %q", a, tags[a])
		}
		for b := range messages {
			// Of two messages of which neither tag begins the other, no bytes behind the tags make them equal.
			if a != b && strings.HasPrefix(tags[a], tags[b]) {
				t.Errorf("the message of %s could be one of %s", a, b)
			}
		}
		sig := ed25519.Sign(edKey("k"), m)
		for b, other := range messages {
			if k := edPublic("k"); a != b && ed25519.Verify(k.Public(), other, sig) {
				t.Errorf("a signature to %s serves to %s", a, b)
			}
		}
	}
	if OverrideField(id) == ReaderPossession(GenesisHash(id), 0) || OverrideField(id) == OversightPossession(GenesisHash(id), 2) {
		t.Error("oversight's signature of an override is a proof of possession")
	}
	// Another origin, number or key is another rotation, also when the bytes move from one field to the next.
	seen := map[string]bool{}
	for _, m := range [][]byte{RotationMessage("ab", 1, SignerKey{1}), RotationMessage("a", 1, SignerKey{1}), RotationMessage("ab", 2, SignerKey{1}), RotationMessage("ab", 1, SignerKey{2}),
		RotationMessage("a", 0x62000000, SignerKey{1}), RotationMessage("", 1, SignerKey{1})} {
		if seen[string(m)] {
			t.Errorf("two rotations have the message %q", m)
		}
		seen[string(m)] = true
	}
}

// Whatever is signed covers genesis hash, kind, hold and all that happens: the same fields on a sister ledger, for another hold or under
// another kind have another id, so the signature does not verify there.
func TestNoSignatureServesElsewhere(t *testing.T) {
	all := entriesFixture(t)
	signed := map[string]struct {
		key  string
		sig  func(Entry) []byte
		text func(ID) []byte
	}{
		"attest":           {"port", func(e Entry) []byte { return e.(*Attest).Signature[:] }, AttestMessage},
		"challenge":        {"payer", func(e Entry) []byte { return e.(*Attest).Signature[:] }, AttestMessage},
		"resolve released": {"payee", func(e Entry) []byte { return e.(*Resolve).Release[:] }, ReleaseMessage},
		"amend":            {"payee", func(e Entry) []byte { return e.(*Amend).Payee[:] }, AmendMessage},
		"override":         {"peer signer 2", func(e Entry) []byte { return e.(*Override).Treasury[1].Signature[:] }, OverrideMessage},
		"corridor":         {"signer 1", func(e Entry) []byte { return e.Head().Signatures[1].Signature[:] }, AuthorisationMessage},
	}
	for name, s := range signed {
		e := all[name]
		key := edPublic(s.key)
		if !ed25519.Verify(key.Public(), s.text(IDOf(e)), s.sig(e)) {
			t.Fatalf("%s: its own signature does not verify", name)
		}
		b := e.AppendEffecting(nil)
		for i := range b { // ledger, expiry, sequence, hold, body: any byte, also the kind
			bad := slices.Clone(b)
			bad[i] ^= 1
			if id := IDOf(raw(bad)); ed25519.Verify(key.Public(), s.text(id), s.sig(e)) {
				t.Fatalf("%s: byte %d of %d is not covered", name, i, len(b))
			}
		}
		for other, e2 := range all {
			if other != name && ed25519.Verify(key.Public(), s.text(IDOf(e2)), s.sig(e)) {
				t.Errorf("the signature of %s serves for %s", name, other)
			}
		}
	}
}

// raw is an entry of given effecting data.
type raw []byte

func (r raw) Kind() Kind                        { return Kind(r[1]) }
func (r raw) AppendEffecting(dst []byte) []byte { return append(dst, r...) }
func (r raw) AppendWitness(dst []byte) []byte   { return dst }
func (r raw) Head() *Header                     { return nil }
func (r raw) Validate() error                   { return nil }

func TestDigestsHaveOneText(t *testing.T) {
	d, err := ParseDigest("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824") // SHA-256 of "hello"
	if err != nil || d != Digest([]byte("hello")) {
		t.Errorf("%x, %v", d, err)
	}
	for _, bad := range []string{"", "2cf2", "2CF24DBA5FB0A30E26E83B2AC5B9E29E1B161E5C1FA7425E73043362938B9824", strings.Repeat("g", 64), strings.Repeat("0", 66)} {
		_, err := ParseDigest(bad)
		wantCode(t, err, Malformed)
	}
}
