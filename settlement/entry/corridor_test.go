package entry

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/comity-ledger/comity/zk"
)

func TestCorridorTermsReadBack(t *testing.T) {
	want := termsFixture()
	b := want.Append(nil)
	got, rest, err := ParseCorridorTerms(append(slices.Clone(b), 7, 8))
	if err != nil || !reflect.DeepEqual(got, want) || !bytes.Equal(rest, []byte{7, 8}) {
		t.Errorf("reads back as %+v, rest %x, %v", got, rest, err)
	}
	for n := range b {
		if _, _, err := ParseCorridorTerms(b[:n]); err == nil {
			t.Fatalf("cut to %d of %d bytes: accepted", n, len(b))
		}
	}
}

func TestCorridorTermsAreRefusedByName(t *testing.T) {
	g := genesisFixture(t)
	for _, c := range []struct {
		name   string
		change func(*CorridorTerms)
		code   Code // of decoding; validating always says corridor_invalid
	}{
		{"no name", func(c *CorridorTerms) { c.Name = "" }, Malformed},
		{"a name with a line end", func(c *CorridorTerms) { c.Name = "a\nb" }, Malformed},
		{"a name that is too long", func(c *CorridorTerms) { c.Name = strings.Repeat("n", MaxName+1) }, Malformed},
		{"an origin with a space", func(c *CorridorTerms) { c.Origin = "a b" }, CorridorInvalid},
		{"an origin with a plus", func(c *CorridorTerms) { c.Origin = "a+b" }, CorridorInvalid},
		{"a log key of small order", func(c *CorridorTerms) { c.LogKey = SignerKey{0: 1} }, CorridorInvalid},
		{"no witness", func(c *CorridorTerms) { c.Witnesses, c.Quorum, c.Faulty = nil, 0, 0 }, CorridorInvalid},
		{"33 witnesses", func(c *CorridorTerms) {
			c.Witnesses = nil
			for i, k := range manyKeys(33) {
				c.Witnesses = append(c.Witnesses, CorridorWitness{strings.Repeat("w", i+1), k, true})
			}
			c.Quorum, c.Faulty = 33, 0
		}, Malformed},
		{"a quorum of 0", func(c *CorridorTerms) { c.Quorum, c.Faulty = 0, 0 }, CorridorInvalid},
		{"a quorum above the witnesses", func(c *CorridorTerms) { c.Quorum = 3 }, CorridorInvalid},
		{"a quorum of 1 of 2", func(c *CorridorTerms) { c.Quorum, c.Faulty = 1, 0 }, CorridorInvalid},
		{"as many faulty as two quorums share", func(c *CorridorTerms) { c.Faulty = 2 }, CorridorInvalid},
		{"no witness of ours", func(c *CorridorTerms) { c.Witnesses[0].Own = false }, CorridorInvalid},
		{"a witness's name twice", func(c *CorridorTerms) { c.Witnesses[1].Name = c.Witnesses[0].Name }, CorridorInvalid},
		{"a witness's key twice", func(c *CorridorTerms) { c.Witnesses[1].Key = c.Witnesses[0].Key }, CorridorInvalid},
		{"a witness with the log's key", func(c *CorridorTerms) { c.Witnesses[1].Key = c.LogKey }, CorridorInvalid},
		{"a witness with the log's name", func(c *CorridorTerms) { c.Witnesses[1].Name = c.Origin }, CorridorInvalid},
		{"a witness's key of small order", func(c *CorridorTerms) { c.Witnesses[1].Key = SignerKey{} }, CorridorInvalid},
		{"a witness's name with a space", func(c *CorridorTerms) { c.Witnesses[1].Name = "two words" }, CorridorInvalid},
		{"a treasury of nobody", func(c *CorridorTerms) { c.Treasury = Policy{} }, CorridorInvalid},
		{"a treasury of 4 of 3", func(c *CorridorTerms) { c.Treasury.Threshold = 4 }, CorridorInvalid},
		{"a treasury signer twice", func(c *CorridorTerms) { c.Treasury.Signers[1] = c.Treasury.Signers[0] }, CorridorInvalid},
		{"a treasury signer who is a witness", func(c *CorridorTerms) { c.Treasury.Signers[1] = c.Witnesses[0].Key }, CorridorInvalid},
		{"a treasury signer with the log's key", func(c *CorridorTerms) { c.Treasury.Signers[1] = c.LogKey }, CorridorInvalid},
		{"no size class", func(c *CorridorTerms) { c.SizeClasses = nil }, CorridorInvalid},
		{"17 size classes", func(c *CorridorTerms) {
			c.SizeClasses = nil
			for i := range uint64(17) {
				c.SizeClasses = append(c.SizeClasses, i+1)
			}
		}, Malformed},
		{"size class 0", func(c *CorridorTerms) { c.SizeClasses[0] = 0 }, CorridorInvalid},
		{"the local size class", func(c *CorridorTerms) { c.SizeClasses[2] = LocalSizeClass }, CorridorInvalid},
		{"a size class twice", func(c *CorridorTerms) { c.SizeClasses[1] = c.SizeClasses[0] }, CorridorInvalid},
		{"size classes that descend", func(c *CorridorTerms) { slices.Reverse(c.SizeClasses) }, CorridorInvalid},
		{"a cap below the smallest class", func(c *CorridorTerms) { c.Cap = 999 }, CorridorInvalid},
		{"stale at once", func(c *CorridorTerms) { c.StaleMillis = 999 }, CorridorInvalid},
		{"stale never", func(c *CorridorTerms) { c.StaleMillis = MaxStaleMillis + 1 }, CorridorInvalid},
	} {
		terms := termsFixture()
		c.change(terms)
		wantNamed := func(what string, err error, want Code) {
			if CodeOf(err) != want {
				t.Errorf("%s: %s gave %v, want %s", c.name, what, err, want)
			}
		}
		wantNamed("validating", terms.Validate(), CorridorInvalid)
		e := &Corridor{Header{Ledger: g.Hash(), Sequence: 1}, peerLedger, CorridorSets, terms}
		wantNamed("validating the entry", e.Validate(), CorridorInvalid)
		_, err := Decode(Encode(e))
		wantNamed("decoding", err, c.code)
	}
	least := termsFixture()
	least.Cap, least.StaleMillis = least.SizeClasses[0], MinStaleMillis
	if err := least.Validate(); err != nil {
		t.Error(err)
	}
}

func TestCorridorEntryRulesAreRefusedByName(t *testing.T) {
	all := entriesFixture(t)
	for _, c := range []struct {
		name, of string
		change   func(Entry)
		want     Code
	}{
		{"action 0", "corridor freeze", func(e Entry) { e.(*Corridor).Action = 0 }, Malformed},
		{"action 4", "corridor freeze", func(e Entry) { e.(*Corridor).Action = 4 }, Malformed},
		{"sets without terms", "corridor freeze", func(e Entry) { e.(*Corridor).Action = CorridorSets }, Malformed},
		{"freezes with terms", "corridor", func(e Entry) { e.(*Corridor).Action = CorridorFreezes }, Malformed},
		{"a corridor to itself", "corridor thaw", func(e Entry) { e.(*Corridor).Peer = e.Head().Ledger }, CorridorInvalid},
		{"sequence 0", "corridor", func(e Entry) { e.Head().Sequence = 0 }, SequenceStale},
		{"an observation of nothing", "observe", func(e Entry) { e.(*Observe).Size = 0 }, Malformed},
		{"an observation of 2^63", "observe", func(e Entry) { e.(*Observe).Size = 1 << 63 }, Malformed},
		{"no checkpoint", "observe", func(e Entry) { e.(*Observe).Checkpoint = nil }, Malformed},
		{"no state entry", "observe", func(e Entry) { e.(*Observe).State = nil }, Malformed},
		{"nine rotations", "observe", func(e Entry) { e.(*Observe).Rotations = make([]Rotation, MaxRotations+1) }, Malformed},
		{"64 hashes", "observe", func(e Entry) { e.(*Observe).Consistency = make([][32]byte, 64) }, Malformed},
		{"64 hashes to the state", "observe", func(e Entry) { e.(*Observe).StatePath = make([][32]byte, 64) }, Malformed},
		{"a checkpoint that is too long", "observe", func(e Entry) { e.(*Observe).Checkpoint = make([]byte, 1<<14+1) }, Oversize},
		{"a state entry that is too long", "observe", func(e Entry) { e.(*Observe).State = make([]byte, 1<<14+1) }, Oversize},
		{"a policy signature", "observe", func(e Entry) { e.Head().Signatures = make([]PolicySignature, 1) }, KindMismatch},
		{"a sequence number", "evidence", func(e Entry) { e.Head().Sequence = 1 }, KindMismatch},
		{"evidence of type 0", "evidence", func(e Entry) { e.(*Evidence).Type = 0 }, Malformed},
		{"evidence of type 4", "evidence", func(e Entry) { e.(*Evidence).Type = 4 }, Malformed},
		{"no evidence", "evidence", func(e Entry) { e.(*Evidence).Data = nil }, Malformed},
		{"evidence that is too long", "evidence", func(e Entry) { e.(*Evidence).Data = make([]byte, MaxEvidence+1) }, Oversize},
		{"an open outcome", "override", func(e Entry) { e.(*Override).Outcome = 0 }, OutcomeInvalid},
		{"outcome 3", "override", func(e Entry) { e.(*Override).Outcome = 3 }, OutcomeInvalid},
		{"sequence 0", "override", func(e Entry) { e.Head().Sequence = 0 }, SequenceStale},
		{"a treasury signer twice", "override", func(e Entry) { o := e.(*Override); o.Treasury[1] = o.Treasury[0] }, SignerRepeated},
		{"treasury signers out of order", "override", func(e Entry) { slices.Reverse(e.(*Override).Treasury) }, NonCanonical},
		{"17 of the treasury", "override", func(e Entry) { e.(*Override).Treasury = make([]PolicySignature, 17) }, Malformed},
		{"document action 0", "anchor", func(e Entry) { e.(*Document).Action = 0 }, Malformed},
		{"document action 4", "anchor", func(e Entry) { e.(*Document).Action = 4 }, Malformed},
		{"document type 0", "anchor", func(e Entry) { e.(*Document).Type = 0 }, Malformed},
		{"document type 8", "anchor", func(e Entry) { e.(*Document).Type = 8 }, Malformed},
		{"digest 0", "anchor", func(e Entry) { e.(*Document).Digest = [32]byte{} }, Malformed},
		{"an anchored document with a former one", "anchor", func(e Entry) { e.(*Document).Former = [32]byte{1} }, Malformed},
		{"a revoked document with a former one", "revoke", func(e Entry) { e.(*Document).Former = [32]byte{1} }, Malformed},
		{"a superseding document without a former one", "supersede", func(e Entry) { e.(*Document).Former = [32]byte{} }, Malformed},
		{"a document that supersedes itself", "supersede", func(e Entry) { d := e.(*Document); d.Former = d.Digest }, Malformed},
		{"no label", "anchor", func(e Entry) { e.(*Document).Label = "" }, Malformed},
		{"a label that runs right to left", "anchor", func(e Entry) { e.(*Document).Label = "a\u202eb" }, Malformed},
		{"a label that is too long", "anchor", func(e Entry) { e.(*Document).Label = strings.Repeat("l", MaxName+1) }, Malformed},
		{"sequence 0", "anchor", func(e Entry) { e.Head().Sequence = 0 }, SequenceStale},
	} {
		e, err := Decode(Encode(all[c.of]))
		if err != nil {
			t.Fatal(err)
		}
		c.change(e)
		if err := e.Validate(); CodeOf(err) != c.want {
			t.Errorf("%s, %s: validating gave %v, want %s", c.of, c.name, err, c.want)
		}
		if _, err := Decode(Encode(e)); CodeOf(err) != c.want {
			t.Errorf("%s, %s: decoding gave %v, want %s", c.of, c.name, err, c.want)
		}
	}
	// Flags have two values.
	b := Encode(all["override bare"])
	at := len(b) - 1 - policySignatureSize*2 - 1
	b[at] = 2
	_, err := Decode(b)
	wantCode(t, err, Malformed)
	b = Encode(all["corridor"])
	own := bytes.Index(b, []byte("aurelia.borealis.example")) + len("aurelia.borealis.example") + 32
	b[own] = 2
	_, err = Decode(b)
	wantCode(t, err, Malformed)
}

func TestOverrideIsSignedByTheOtherTwo(t *testing.T) {
	all := entriesFixture(t)
	peer := termsFixture().Treasury
	key := scalar(t, "oversight").Base()
	o := *all["override"].(*Override)
	if err := o.VerifyTreasury(&peer); err != nil {
		t.Error(err)
	}
	if err := o.VerifyOversight(key); err != nil {
		t.Error(err)
	}
	wantCode(t, o.VerifyOversight(scalar(t, "oversight 2").Base()), OverrideInvalid)
	bare := all["override bare"].(*Override)
	wantCode(t, bare.VerifyTreasury(&peer), SignaturesMissing)
	wantCode(t, bare.VerifyOversight(key), OverrideInvalid)
	// The same signatures for another outcome, hold, peer or ledger are worth nothing.
	for name, change := range map[string]func(*Override){
		"another outcome":    func(o *Override) { o.Outcome = Posted },
		"another hold":       func(o *Override) { o.Hold.Leg = 1 },
		"another peer":       func(o *Override) { o.Peer[0]++ },
		"another commitment": func(o *Override) { o.Commitment = zk.Commitment(field("thief's")) },
		"another ledger":     func(o *Override) { o.Ledger[0]++ },
		"another sequence":   func(o *Override) { o.Sequence++ },
	} {
		moved := o
		change(&moved)
		if err := moved.VerifyTreasury(&peer); CodeOf(err) != SignatureInvalid {
			t.Errorf("%s: the treasury's signatures: %v", name, err)
		}
		if err := moved.VerifyOversight(key); CodeOf(err) != OverrideInvalid {
			t.Errorf("%s: oversight's signature: %v", name, err)
		}
	}
	few := o
	few.Treasury = o.Treasury[:1]
	wantCode(t, few.VerifyTreasury(&peer), SignaturesMissing)
	// A signature by which the peer's treasury acts on its own ledger does not join an override, nor the other way round.
	own := o
	for i := range own.Treasury {
		s, err := peer.SignAuthorisation(edKey([]string{"peer signer 0", "peer signer 2"}[i]), IDOf(&o))
		if err != nil {
			t.Fatal(err)
		}
		own.Treasury = slices.Clone(own.Treasury)
		own.Treasury[i] = s
	}
	wantCode(t, own.VerifyTreasury(&peer), SignatureInvalid)
	wantCode(t, peer.Verify(IDOf(&o), o.Treasury), SignatureInvalid)
}

func TestCorridorFileIsReadStrictly(t *testing.T) {
	want := termsFixture()
	file, err := want.JSON(peerLedger)
	if err != nil {
		t.Fatal(err)
	}
	peer, got, err := ParseCorridorJSON(file)
	if err != nil || peer != peerLedger || !reflect.DeepEqual(got, want) {
		t.Errorf("reads back as %s, %+v, %v", peer, got, err)
	}
	for name, edit := range map[string][2]string{
		"an unknown key":            {`"name":`, `"comment": "", "name":`},
		"a key twice":               {`"cap":`, `"cap": "1", "cap":`},
		"a key in capitals":         {`"cap":`, `"CAP":`},
		"a missing key":             {`"stale_millis": 600000`, `"stale_milli": 600000`},
		"something after it":        {"\n}\n", "\n}\n{}"},
		"a cap that is a number":    {`"cap": "5000000"`, `"cap": 5000000`},
		"a cap with a comma":        {`"5000000"`, `"5,000,000"`},
		"a cap with a zero ahead":   {`"5000000"`, `"05000000"`},
		"a cap that is too big":     {`"5000000"`, `"18446744073709551616"`},
		"a size class below 0":      {`"1000"`, `"-1000"`},
		"size classes out of order": {`"1000"`, `"200000"`},
		"a peer in capitals":        {peerLedger.String(), strings.ToUpper(peerLedger.String())},
		"a log key that is short":   {edPublic("peer log").String(), edPublic("peer log").String()[2:]},
		"a witness key of nobody":   {edPublic("our witness").String(), strings.Repeat("00", 32)},
		"a treasury key of letters": {edPublic("peer signer 1").String(), strings.Repeat("zz", 32)},
		"no witness of ours":        {`"own": true`, `"own": false`},
		"a quorum that is too weak": {`"quorum": 2`, `"quorum": 1`},
	} {
		bad := strings.Replace(string(file), edit[0], edit[1], 1)
		if bad == string(file) {
			t.Fatalf("%s: nothing was replaced", name)
		}
		if _, _, err := ParseCorridorJSON([]byte(bad)); CodeOf(err) != CorridorInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	broken := termsFixture()
	broken.Cap = 0
	_, err = broken.JSON(peerLedger)
	wantCode(t, err, CorridorInvalid)
}

func TestCorridorTermsComeFromThePeersGenesis(t *testing.T) {
	g := genesisFixture(t) // two of three witnesses, w1 of them a consistency witness
	terms, err := g.CorridorTerms("w3.example")
	if err != nil {
		t.Fatal(err)
	}
	want := &CorridorTerms{Name: g.Name, Origin: g.Origin, LogKey: g.LogKey, Quorum: 2, Treasury: g.Policy,
		Witnesses: []CorridorWitness{{"w2.example", edPublic("w2"), false}, {"w3.example", edPublic("w3"), true}}}
	if !reflect.DeepEqual(terms, want) {
		t.Errorf("got %+v, want %+v", terms, want)
	}
	terms.Cap, terms.SizeClasses, terms.StaleMillis = 1000, []uint64{1000}, 60000
	if err := terms.Validate(); err != nil {
		t.Error(err)
	}
	for name, own := range map[string][]string{"a stranger": {"w9.example"}, "a consistency witness": {"w1.example"}, "one twice": {"w3.example", "w3.example"},
		"one of two": {"w3.example", "w9.example"}} {
		_, err := g.CorridorTerms(own...)
		if CodeOf(err) != CorridorInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	// With all witnesses validating, the quorum of genesis stands; with too few of them, nothing does.
	g.Witnesses.Members[0].Kind = ValidatingWitness
	if terms, err = g.CorridorTerms("w1.example"); err != nil || terms.Quorum != 2 || len(terms.Witnesses) != 3 {
		t.Errorf("%+v, %v", terms, err)
	}
	g.Witnesses = WitnessPolicy{3, 1, g.Witnesses.Members}
	g.Witnesses.Members[0].Kind, g.Witnesses.Members[1].Kind = ConsistencyWitness, ConsistencyWitness
	_, err = g.CorridorTerms("w3.example")
	wantCode(t, err, CorridorInvalid)
	// Without a witness of ours the terms are told, and refused when they are used.
	if terms, err = genesisFixture(t).CorridorTerms(); err != nil {
		t.Fatal(err)
	}
	terms.Cap, terms.SizeClasses, terms.StaleMillis = 1000, []uint64{1000}, 60000
	wantCode(t, terms.Validate(), CorridorInvalid)
}
