package proof

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"testing"
	"testing/fstest"
	"time"

	"filippo.io/torchwood"
	fnote "github.com/transparency-dev/formats/note"
	fproof "github.com/transparency-dev/formats/proof"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
)

// Other people's implementations read what this package writes, and this package reads what they write.

func TestOtherClientsAcceptOurReceipt(t *testing.T) {
	m := logOf(t, 700, "", 700)
	r := receipt(t, m, 300, 700)
	their, err := torchwood.ParsePolicy([]byte(policy(t).Text()))
	if err != nil {
		t.Fatalf("%v in\n%s", err, policy(t).Text())
	}
	if err := torchwood.VerifyProof(their, LeafHash(m.leaves[300]), r.Marshal()); err != nil {
		t.Errorf("torchwood: %v", err)
	}
	if err := torchwood.VerifyProof(their, LeafHash(m.leaves[301]), r.Marshal()); err == nil {
		t.Error("torchwood accepts another entry")
	}
	if extra, err := torchwood.ProofExtraData(r.Marshal()); err != nil || !bytes.Equal(extra, m.leaves[300]) {
		t.Errorf("torchwood reads the entry as %q, %v", extra, err)
	}
	bare := *r
	bare.Checkpoint = cosign(t, signer(t).Sign(m.head(t, 700)), 1800000000, "w1.example")
	if err := torchwood.VerifyProof(their, LeafHash(m.leaves[300]), bare.Marshal()); err == nil {
		t.Error("torchwood accepts a receipt without a quorum")
	}
	var tp fproof.TLogProof
	if err := tp.Unmarshal(r.Marshal()); err != nil || tp.Index != 300 || !bytes.Equal(tp.ExtraData, r.Entry) || !bytes.Equal(tp.Marshal(), r.Marshal()) {
		t.Errorf("transparency-dev/formats: %+v, %v", tp, err)
	}
	path := make([][]byte, len(r.Path))
	for i := range r.Path {
		path[i] = r.Path[i][:]
	}
	leaf, root := LeafHash(m.leaves[300]), m.head(t, 700).Root
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, 300, 700, leaf[:], path, root[:]); err != nil {
		t.Errorf("transparency-dev/merkle: %v", err)
	}
}

func TestOtherClientsAcceptOurConsistencyProofs(t *testing.T) {
	m := logOf(t, 70, "", 70)
	for a := uint64(1); a < 70; a += 3 {
		for b := a + 1; b <= 70; b += 5 {
			hs, err := ProveConsistency(a, b, m)
			if err != nil {
				t.Fatal(err)
			}
			var path [][]byte
			for i := range hs {
				path = append(path, hs[i][:])
			}
			older, newer := m.head(t, a), m.head(t, b)
			if err := proof.VerifyConsistency(rfc6962.DefaultHasher, a, b, path, older.Root[:], newer.Root[:]); err != nil {
				t.Errorf("%d to %d: %v", a, b, err)
			}
		}
	}
}

func TestCosignaturesOfOthersCount(t *testing.T) {
	m := logOf(t, 9, "", 9)
	signed := signer(t).Sign(m.head(t, 9))
	p := policy(t)
	// torchwood signs as w1, transparency-dev/formats as w2; both read the clock themselves.
	tw, err := torchwood.NewCosignatureSigner("w1.example", edKey("w1.example"))
	if err != nil {
		t.Fatal(err)
	}
	skey := fmt.Sprintf("PRIVATE+KEY+w2.example+%08x+%s", 0, base64.StdEncoding.EncodeToString(append([]byte{algCosignature}, edKey("w2.example").Seed()...)))
	td, err := fnote.NewSignerForCosignatureV1(skey)
	if err != nil {
		t.Fatal(err)
	}
	log, err := note.NewVerifier(LogVKey(origin, signer(t).Public()))
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open(signed, note.VerifierList(log))
	if err != nil {
		t.Fatalf("sumdb/note does not open our checkpoint: %v", err)
	}
	theirs, err := note.Sign(n, tw, td)
	if err != nil {
		t.Fatal(err)
	}
	f, err := p.Check(theirs, uint64(time.Now().Unix()))
	if err != nil || len(f.Cosignatures) != 2 {
		t.Fatalf("%+v, %v", f, err)
	}
}

func TestOthersAcceptOurCosignatures(t *testing.T) {
	m := logOf(t, 9, "", 9)
	signed := cosign(t, signer(t).Sign(m.head(t, 9)), 1800000000, "w1.example")
	key := cosigner(t, "w1.example").Public()
	tw, err := torchwood.NewCosignatureVerifier(WitnessVKey("w1.example", key))
	if err != nil {
		t.Fatal(err)
	}
	td, err := fnote.NewVerifierForCosignatureV1(WitnessVKey("w1.example", key))
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]note.Verifier{"torchwood": tw, "transparency-dev/formats": td} {
		n, err := note.Open(signed, note.VerifierList(v))
		if err != nil || len(n.Sigs) != 1 {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if at, err := torchwood.CosignatureTimestamp(n.Sigs[0]); err != nil || at != 1800000000 {
			t.Errorf("%s: signed at %d, %v", name, at, err)
		}
	}
	if c, err := torchwood.ParseCheckpoint(Checkpoint{origin, m.head(t, 9)}.String()); err != nil || c.N != 9 || c.Hash != m.head(t, 9).Root {
		t.Errorf("torchwood reads the checkpoint as %+v, %v", c, err)
	}
}

// The example of the C2SP tlog-cosignature page, whose key is not published: its text and key id must come out as printed there.
func TestCosignedMessageIsTheOneOfTheSpecification(t *testing.T) {
	text := "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
	want := "cosignature/v1\ntime 1679315147\n" + text
	if got := string(cosignedMessage([]byte(text), 1679315147)); got != want {
		t.Errorf("got %q", got)
	}
	c, err := ParseCheckpoint(text)
	if err != nil || c.String() != text || c.Size != 20852163 {
		t.Errorf("%+v, %v", c, err)
	}
}

// A client that fetches tiles and bundles and authenticates every one of them reads the whole log.
func TestOtherClientReadsOurTiles(t *testing.T) {
	const n = 600
	m := logOf(t, n, "", n)
	files := fstest.MapFS{}
	for level, have := uint8(0), uint64(n); have > 0; level, have = level+1, have>>8 {
		for i := uint64(0); i*TileWidth < have; i++ {
			tile := Tile{Level: level, Index: i, Width: int(min(TileWidth, have-i*TileWidth))}
			b, err := ReadTile(tile, n, m)
			if err != nil {
				t.Fatal(err)
			}
			files[tile.Path()] = &fstest.MapFile{Data: b}
			if level == 0 {
				tile.Entries = true
				first, k, err := BundleRange(tile, n)
				if err != nil {
					t.Fatal(err)
				}
				var bundle []byte
				for _, leaf := range m.leaves[first : first+uint64(k)] {
					if bundle, err = AppendBundle(bundle, leaf); err != nil {
						t.Fatal(err)
					}
				}
				files[tile.Path()] = &fstest.MapFile{Data: bundle}
			}
		}
	}
	fs, err := torchwood.NewTileFS(files)
	if err != nil {
		t.Fatal(err)
	}
	client, err := torchwood.NewClient(fs)
	if err != nil {
		t.Fatal(err)
	}
	c, err := torchwood.ParseCheckpoint(Checkpoint{origin, m.head(t, n)}.String())
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for i, e := range client.AllEntries(context.Background(), c.Tree, 0) {
		if !bytes.Equal(e, m.leaves[i]) {
			t.Fatalf("entry %d is %q", i, e)
		}
		seen++
	}
	if err := client.Err(); err != nil || seen != n {
		t.Errorf("read %d entries: %v", seen, err)
	}
}
