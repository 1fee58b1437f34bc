package proof

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// memory is a log held in memory: every stored hash in order.
type memory struct {
	hashes []Hash
	leaves [][]byte
}

func (m *memory) ReadHashes(indexes []int64) ([]Hash, error) {
	out := make([]Hash, len(indexes))
	for i, n := range indexes {
		if n >= int64(len(m.hashes)) {
			return nil, fmt.Errorf("no hash %d", n)
		}
		out[i] = m.hashes[n]
	}
	return out, nil
}

func (m *memory) add(t testing.TB, leaf []byte) {
	hs, err := tlog.StoredHashes(int64(len(m.leaves)), leaf, m)
	if err != nil {
		t.Fatal(err)
	}
	m.hashes = append(m.hashes, hs...)
	m.leaves = append(m.leaves, leaf)
}

func (m *memory) head(t testing.TB, size uint64) Head {
	root, err := RootAt(size, m)
	if err != nil {
		t.Fatal(err)
	}
	return Head{size, root}
}

// logOf makes a log of n leaves; a log with another name has other leaves from index fork on.
func logOf(t testing.TB, n int, name string, fork int) *memory {
	m := &memory{}
	for i := range n {
		leaf := fmt.Sprint("leaf ", i)
		if i >= fork {
			leaf += name
		}
		m.add(t, []byte(leaf))
	}
	return m
}

func edKey(name string) ed25519.PrivateKey {
	h := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(h[:])
}

func pub(name string) (k [32]byte) {
	copy(k[:], edKey(name).Public().(ed25519.PublicKey))
	return k
}

const origin = "ledger.aurelia.example/log"

func signer(t testing.TB) *LogSigner {
	s, err := NewLogSigner(origin, edKey("log"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func cosigner(t testing.TB, name string) *Cosigner {
	c, err := NewCosigner(name, edKey(name))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func config() Config {
	return Config{Origin: origin, LogKey: pub("log"), Quorum: 2, Faulty: 0, Witnesses: []Witness{
		{"w1.example", pub("w1.example"), false}, {"w2.example", pub("w2.example"), true}, {"w3.example", pub("w3.example"), true}}}
}

func policy(t testing.TB) *Policy {
	p, err := NewPolicy(config())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func cosign(t testing.TB, signed []byte, at uint64, names ...string) []byte {
	text, _, err := noteText(signed)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseCheckpoint(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		line, err := cosigner(t, name).Sign(c, at)
		if err != nil {
			t.Fatal(err)
		}
		signed = append(signed[:len(signed):len(signed)], line...)
	}
	return signed
}

func want(t *testing.T, name string, err, target error) {
	t.Helper()
	if !errors.Is(err, target) || target == nil && err != nil {
		t.Errorf("%s: %v, want %v", name, err, target)
	}
}

func TestEveryLeafIsIncludedWhereItIsAndNowhereElse(t *testing.T) {
	for _, n := range []int{1, 2, 3, 7, 8, 9, 31, 33} {
		m := logOf(t, n, "", n)
		tree := m.head(t, uint64(n))
		for i := range uint64(n) {
			path, err := ProveInclusion(uint64(n), i, m)
			if err != nil {
				t.Fatal(err)
			}
			leaf := LeafHash(m.leaves[i])
			want(t, fmt.Sprint(i, " of ", n), VerifyInclusion(tree, i, leaf, path), nil)
			for j := range uint64(n) + 2 { // a valid leaf at a wrong index
				if j != i {
					want(t, fmt.Sprint(i, " taken for ", j, " of ", n), VerifyInclusion(tree, j, leaf, path), ErrInclusion)
				}
			}
			want(t, "another leaf", VerifyInclusion(tree, i, LeafHash([]byte("x")), path), ErrInclusion)
			want(t, "a longer path", VerifyInclusion(tree, i, leaf, append(slices.Clone(path), Hash{})), ErrInclusion)
			if len(path) > 0 {
				want(t, "a shorter path", VerifyInclusion(tree, i, leaf, path[1:]), ErrInclusion)
				bad := slices.Clone(path)
				bad[0][3] ^= 1
				want(t, "a changed path", VerifyInclusion(tree, i, leaf, bad), ErrInclusion)
			}
		}
	}
	if _, err := ProveInclusion(3, 3, &memory{}); err == nil {
		t.Error("proved a leaf past the end")
	}
}

// An entry whose bytes are the two children of a node must not stand for the node, nor a node for a leaf.
func TestNodeIsNoLeaf(t *testing.T) {
	m := logOf(t, 4, "", 4)
	left, right := LeafHash(m.leaves[0]), LeafHash(m.leaves[1])
	node := NodeHash(left, right)
	sibling := NodeHash(LeafHash(m.leaves[2]), LeafHash(m.leaves[3]))
	tree := m.head(t, 4)
	if NodeHash(node, sibling) != tree.Root {
		t.Fatal("not an RFC 6962 tree")
	}
	children := slices.Concat(left[:], right[:])
	want(t, "the children of a node as an entry", VerifyInclusion(Head{2, tree.Root}, 0, LeafHash(children), []Hash{sibling}), ErrInclusion)
	want(t, "a node under the tree's size", VerifyInclusion(tree, 0, node, []Hash{sibling}), ErrInclusion)
	if LeafHash(children) == node || LeafHash(append([]byte{1}, children...)) == node {
		t.Error("a leaf hashes like a node")
	}
}

func TestConsistencyHoldsForEveryPrefixAndNoFork(t *testing.T) {
	const n = 20
	m := logOf(t, n, "", n)
	for a := uint64(0); a <= n; a++ {
		for b := a; b <= n; b++ {
			path, err := ProveConsistency(a, b, m)
			if err != nil {
				t.Fatal(err)
			}
			older, newer := m.head(t, a), m.head(t, b)
			want(t, fmt.Sprint(a, " to ", b), VerifyConsistency(older, newer, path), nil)
			want(t, "one hash more", VerifyConsistency(older, newer, append(slices.Clone(path), Hash{})), ErrConsistency)
			if a > 0 {
				fork := logOf(t, n, " forked", int(a)-1)
				want(t, "a forked older tree", VerifyConsistency(fork.head(t, a), newer, path), ErrConsistency)
			}
			if a > 0 && b > a {
				want(t, "a smaller newer tree", VerifyConsistency(newer, older, path), ErrConsistency)
				if len(path) > 0 {
					bad := slices.Clone(path)
					bad[len(bad)-1][0] ^= 1
					want(t, "a changed path", VerifyConsistency(older, newer, bad), ErrConsistency)
				}
			}
		}
	}
	want(t, "a root for no leaves", VerifyConsistency(Head{}, Head{0, Hash{1}}, nil), ErrConsistency)
	if _, err := ProveConsistency(3, 2, m); err == nil {
		t.Error("proved consistency backwards")
	}
}

// RFC 6962 trees over the leaves of the reference tests of Certificate Transparency (8 leaves).
func TestTreeMatchesPublishedVectors(t *testing.T) {
	m := &memory{}
	for _, s := range []string{"", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"} {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		m.add(t, b)
	}
	for n, root := range map[uint64]string{
		0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
		8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
	} {
		if got := m.head(t, n).Root; hex.EncodeToString(got[:]) != root {
			t.Errorf("root of %d leaves is %x", n, got)
		}
	}
	if EmptyRoot() != m.head(t, 0).Root {
		t.Error("empty root")
	}
}

func TestCheckpointReadsBackAndNothingElseDoes(t *testing.T) {
	c := Checkpoint{origin, logOf(t, 5, "", 5).head(t, 5)}
	text := c.String()
	if back, err := ParseCheckpoint(text); err != nil || back != c {
		t.Errorf("read back as %v, %v", back, err)
	}
	for name, bad := range map[string]string{
		"no line end":          strings.TrimSuffix(text, "\n"),
		"an extension line":    text + "extension\n",
		"an empty line":        text + "\n",
		"a leading zero":       strings.Replace(text, "\n5\n", "\n05\n", 1),
		"a plus sign":          strings.Replace(text, "\n5\n", "\n+5\n", 1),
		"a negative size":      strings.Replace(text, "\n5\n", "\n-5\n", 1),
		"a size of 2^63":       strings.Replace(text, "\n5\n", "\n9223372036854775808\n", 1),
		"no origin":            strings.Replace(text, origin, "", 1),
		"a short root":         strings.Replace(text, "=\n", "\n", 1),
		"other padding bits":   text[:len(text)-3] + string(text[len(text)-3]+1) + "=\n",
		"a carriage return":    strings.Replace(text, "\n", "\r\n", 1),
		"nothing":              "",
		"a root in URL base64": "o\n1\n" + strings.Repeat("_", 43) + "=\n",
	} {
		if _, err := ParseCheckpoint(bad); !errors.Is(err, ErrCheckpoint) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPolicyCountsDistinctWitnessesOfThisLog(t *testing.T) {
	m := logOf(t, 9, "", 9)
	p := policy(t)
	bare := signer(t).Sign(m.head(t, 9))
	const at = 1800000000
	stranger, err := NewLogSigner(origin, edKey("thief"))
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := NewLogSigner("ledger.borealis.example/log", edKey("log"))
	if err != nil {
		t.Fatal(err)
	}
	two := cosign(t, bare, at, "w1.example", "w3.example")
	swapped := bytes.Replace(two, []byte("— w3.example"), []byte("— w2.example"), 1)
	i := bytes.LastIndexByte(two, ' ') + 40
	broken := slices.Clone(two)
	broken[i] ^= 'A' ^ 'B'
	if broken[i] == '=' || broken[i] < '0' {
		broken[i] = 'A'
	}
	for _, c := range []struct {
		name   string
		signed []byte
		now    uint64
		err    error
	}{
		{"two of three", two, at, nil},
		{"three of three", cosign(t, two, at, "w2.example"), at, nil},
		{"two of three and an unknown key", cosign(t, two, at, "w9.example"), at, nil},
		{"years later without a clock", two, 0, nil},
		{"none", bare, at, ErrQuorum},
		{"k-1 of n", cosign(t, bare, at, "w2.example"), at, ErrQuorum},
		{"one key twice", cosign(t, bare, at, "w2.example", "w2.example"), at, ErrQuorum},
		{"one key twice at two times", cosign(t, cosign(t, bare, at, "w2.example"), at+1, "w2.example"), at + 1, ErrQuorum},
		{"unknown keys only", cosign(t, bare, at, "w8.example", "w9.example"), at, ErrQuorum},
		{"a cosignature under another's name", swapped, at, ErrQuorum},
		{"a cosignature that does not verify", broken, at, ErrCosignature},
		{"a cosignature at the edge of the skew", two, at - MaxSkewSeconds, nil},
		{"cosignatures from the future", two, at - MaxSkewSeconds - 1, ErrFuture},
		{"cosignatures from the future miss the quorum", two, at - MaxSkewSeconds - 1, ErrQuorum},
		{"another log key", cosign(t, stranger.Sign(m.head(t, 9)), at, "w1.example", "w2.example"), at, ErrLogSignature},
		{"cosignatures without the log", cosign(t, append([]byte(Checkpoint{origin, m.head(t, 9)}.String()), '\n'), at, "w1.example", "w2.example"), at, ErrLogSignature},
		{"another origin", cosign(t, elsewhere.Sign(m.head(t, 9)), at, "w1.example", "w2.example"), at, ErrOrigin},
		{"another tree under the signatures", bytes.Replace(two, []byte("\n9\n"), []byte("\n8\n"), 1), at, ErrLogSignature},
		{"no checkpoint", []byte("hello"), at, ErrCheckpoint},
		{"too many bytes", append(slices.Clone(two), make([]byte, MaxCheckpoint)...), at, ErrCheckpoint},
		{"bytes after the signatures", append(slices.Clone(two), "x"...), at, ErrCheckpoint},
	} {
		f, err := p.Check(c.signed, c.now)
		want(t, c.name, err, c.err)
		if c.err == nil && err == nil && (f.Size != 9 || f.Root != m.head(t, 9).Root || len(f.Cosignatures) < 2 || f.Cosignatures[0].UnixSeconds != at) {
			t.Errorf("%s: accepted as %+v", c.name, f)
		}
	}
	f, err := p.Check(two, at)
	if err != nil || f.Validating() != 1 {
		t.Errorf("%d validating witnesses, %v", f.Validating(), err)
	}
	if f, err := p.Inspect(bare); err != nil || len(f.Cosignatures) != 0 {
		t.Errorf("inspected: %v", err)
	}
}

func TestPolicyThatDoesNotResistItsFaultsIsRefused(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no witness":            func(c *Config) { c.Witnesses = nil },
		"a quorum of none":      func(c *Config) { c.Quorum = 0 },
		"a quorum of four":      func(c *Config) { c.Quorum = 4 },
		"disjoint quorums":      func(c *Config) { c.Quorum = 1 },
		"one faulty":            func(c *Config) { c.Faulty = 1 },
		"a negative fault":      func(c *Config) { c.Faulty = -1 },
		"a key twice":           func(c *Config) { c.Witnesses[1].Key = c.Witnesses[0].Key },
		"a name twice":          func(c *Config) { c.Witnesses[1].Name = c.Witnesses[0].Name },
		"the log as a witness":  func(c *Config) { c.Witnesses[1].Key = c.LogKey },
		"the log's name":        func(c *Config) { c.Witnesses[1].Name = c.Origin },
		"a name with a space":   func(c *Config) { c.Witnesses[1].Name = "a b" },
		"an origin with a plus": func(c *Config) { c.Origin = "a+b" },
	} {
		c := config()
		change(&c)
		if _, err := NewPolicy(c); !errors.Is(err, ErrPolicy) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Every policy that is accepted keeps its promise: when at most f witnesses sign two histories and the others one, no two
// checkpoints of one size are final. Every way to split up to five witnesses is tried.
func TestFaultyWitnessesUpToTheirNumberCannotMakeTwoHistoriesFinal(t *testing.T) {
	a, b := signer(t).Sign(Head{9, Hash{1}}), signer(t).Sign(Head{9, Hash{2}})
	policies := 0
	for n := 1; n <= 5; n++ {
		var members []Witness
		for i := range n {
			name := fmt.Sprintf("w%d.example", i)
			members = append(members, Witness{name, pub(name), true})
		}
		for k := 1; k <= n; k++ {
			for f := 0; f <= n; f++ {
				p, err := NewPolicy(Config{Origin: origin, LogKey: pub("log"), Quorum: k, Faulty: f, Witnesses: members})
				if err != nil {
					continue
				}
				policies++
				seen := false // that more faults than f do break it, or this test sees nothing
				ways := 1
				for range n {
					ways *= 3
				}
				for way := range ways {
					var left, right []string
					faulty := 0
					for i, w := 0, way; i < n; i, w = i+1, w/3 {
						if w%3 != 0 {
							left = append(left, members[i].Name)
						}
						if w%3 != 1 {
							right = append(right, members[i].Name)
						}
						if w%3 == 2 {
							faulty++
						}
					}
					if len(left) < k || len(right) < k {
						continue
					}
					_, errA := p.Check(cosign(t, a, 1800000000, left...), 0)
					_, errB := p.Check(cosign(t, b, 1800000000, right...), 0)
					if errA == nil && errB == nil {
						seen = true
						if faulty <= f {
							t.Errorf("%d of %d with %d faulty: %v and %v are both quorums", k, n, f, left, right)
						}
					}
				}
				if !seen {
					t.Errorf("%d of %d: no split at all", k, n)
				}
			}
		}
	}
	if policies < 15 {
		t.Errorf("only %d policies were tried", policies)
	}
}

func TestAddCosignaturesTakesOnlyWhatCounts(t *testing.T) {
	m := logOf(t, 4, "", 4)
	p := policy(t)
	bare := signer(t).Sign(m.head(t, 4))
	other := signer(t).Sign(m.head(t, 3))
	lines := func(signed []byte, names ...string) []byte {
		return bytes.TrimPrefix(cosign(t, signed, 1800000000, names...), signed)
	}
	mixed := slices.Concat([]byte("garbage\n— \n— w1.example !!\n"), lines(bare, "w9.example", "w2.example", "w2.example"), lines(other, "w3.example"), lines(bare, "w1.example"))
	got, added, err := p.AddCosignatures(bare, mixed)
	if err != nil || !slices.Equal(added, []string{"w2.example", "w1.example"}) {
		t.Fatalf("added %v, %v", added, err)
	}
	if !bytes.Equal(got, cosign(t, bare, 1800000000, "w2.example", "w1.example")) {
		t.Errorf("got %s", got)
	}
	if again, added, err := p.AddCosignatures(got, mixed); err != nil || len(added) != 0 || !bytes.Equal(again, got) {
		t.Errorf("added %v again, %v", added, err)
	}
	if _, err := p.Check(got, 1800000000); err != nil {
		t.Error(err)
	}
}

func receipt(t testing.TB, m *memory, index, size uint64) *Receipt {
	path, err := ProveInclusion(size, index, m)
	if err != nil {
		t.Fatal(err)
	}
	return &Receipt{index, m.leaves[index], path, cosign(t, signer(t).Sign(m.head(t, size)), 1800000000, "w1.example", "w2.example")}
}

func TestReceiptIsCheckedOfflineAndLiesAreRefused(t *testing.T) {
	m := logOf(t, 50, "", 50)
	p := policy(t)
	r := receipt(t, m, 17, 50)
	text := r.Marshal()
	back, err := ParseReceipt(text)
	if err != nil || !bytes.Equal(back.Marshal(), text) || back.Index != 17 || !bytes.Equal(back.Entry, m.leaves[17]) {
		t.Fatalf("read back as %+v, %v", back, err)
	}
	if f, err := VerifyReceipt(p, back, 0); err != nil || f.Size != 50 {
		t.Fatal(err)
	}
	older := receipt(t, m, 17, 20)
	if _, err := VerifyReceipt(p, older, 0); err != nil {
		t.Errorf("an older checkpoint still proves what it held: %v", err)
	}
	fork := logOf(t, 50, "forked", 17)
	for _, c := range []struct {
		name   string
		change func(*Receipt)
		err    error
	}{
		{"another entry", func(r *Receipt) { r.Entry = m.leaves[18] }, ErrInclusion},
		{"a valid entry at another index", func(r *Receipt) { r.Index = 16 }, ErrInclusion},
		{"an index past the end", func(r *Receipt) { r.Index = 50 }, ErrInclusion},
		{"the path of an older tree", func(r *Receipt) { r.Path = older.Path }, ErrInclusion},
		{"an older checkpoint", func(r *Receipt) { r.Checkpoint = older.Checkpoint }, ErrInclusion},
		{"the checkpoint of a fork", func(r *Receipt) {
			r.Checkpoint = cosign(t, signer(t).Sign(fork.head(t, 50)), 1800000000, "w1.example", "w2.example")
		}, ErrInclusion},
		{"a checkpoint without a quorum", func(r *Receipt) { r.Checkpoint = signer(t).Sign(m.head(t, 50)) }, ErrQuorum},
		{"a shorter path", func(r *Receipt) { r.Path = r.Path[1:] }, ErrInclusion},
		{"a subtree's two children as an entry", func(r *Receipt) {
			a, b := LeafHash(m.leaves[16]), LeafHash(m.leaves[17])
			r.Entry, r.Path, r.Index = slices.Concat(a[:], b[:]), r.Path[1:], 8
		}, ErrInclusion},
	} {
		bad := *r
		bad.Path = slices.Clone(r.Path)
		c.change(&bad)
		_, err := VerifyReceipt(p, &bad, 0)
		want(t, c.name, err, c.err)
	}
	for name, c := range map[string][2]string{
		"another header":       {"@v1", "@v2"},
		"no entry":             {"extra ", "extra"},
		"an empty entry":       {string(text[len(receiptHeader):bytes.Index(text, []byte("\nindex"))]), "extra "},
		"a leading zero":       {"index 17", "index 017"},
		"a negative index":     {"index 17", "index -17"},
		"no empty line":        {"\n\n" + origin, "\n" + origin},
		"a carriage return":    {"index 17\n", "index 17\r\n"},
		"base64 on two lines":  {"extra bGVh", "extra bG\rVh"},
		"a hash without an =":  {"=\n", "\n"},
		"another line between": {"index 17", "note x\nindex 17"},
	} {
		bad := strings.Replace(string(text), c[0], c[1], 1)
		if bad == string(text) {
			t.Fatalf("%s: nothing was replaced", name)
		}
		if _, err := ParseReceipt([]byte(bad)); !errors.Is(err, ErrReceipt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestForkLeavesPortableEvidence(t *testing.T) {
	key := signer(t).Public()
	honest, forked := logOf(t, 40, "", 40), logOf(t, 40, " forked", 5)
	sign := func(m *memory, n uint64) []byte { return signer(t).Sign(m.head(t, n)) }
	for _, c := range []struct {
		name   string
		a, b   []byte
		reader HashReader
		err    error
	}{
		{"two roots for one size", sign(honest, 30), sign(forked, 30), nil, nil},
		{"a fork at different sizes", sign(honest, 30), sign(forked, 37), forked, nil},
		{"a fork at different sizes, the other way round", sign(forked, 37), sign(honest, 30), forked, nil},
		{"a fork whose older size is a power of two", sign(honest, 32), sign(forked, 40), forked, nil},
		{"a root for no leaves", signer(t).Sign(Head{0, Hash{1}}), sign(honest, 30), nil, nil},
		{"one history", sign(honest, 20), sign(honest, 30), honest, ErrNoFork},
		{"the same checkpoint", sign(honest, 30), sign(honest, 30), nil, ErrNoFork},
		{"before the fork", sign(honest, 5), sign(forked, 30), forked, ErrNoFork},
		{"no leaves", sign(honest, 0), sign(forked, 30), nil, ErrNoFork},
		{"hashes of another tree", sign(honest, 30), sign(forked, 37), honest, ErrNoFork},
		{"no hashes", sign(honest, 30), sign(forked, 37), nil, ErrNoFork},
		{"not signed by the log", sign(honest, 30), bytes.Replace(sign(honest, 30), []byte("\n30\n"), []byte("\n31\n"), 1), nil, ErrLogSignature},
	} {
		e, err := NewEvidence(origin, key, c.a, c.b, c.reader)
		want(t, c.name, err, c.err)
		if err != nil {
			continue
		}
		back, err := ParseEvidence(e.Marshal())
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		want(t, c.name, back.Verify(origin, key), nil)
		want(t, c.name+", for another key", back.Verify(origin, edKey("other").Public().(ed25519.PublicKey)), ErrLogSignature)
		want(t, c.name+", for another origin", back.Verify("elsewhere", key), ErrOrigin)
		if back.Root != (Hash{}) && len(back.Path) > 0 {
			back.Root[0] ^= 1
			want(t, c.name+", with an invented root", back.Verify(origin, key), ErrNoFork)
		}
	}
	for _, bad := range []string{"", evidenceHeader, evidenceHeader + "older 1\n", evidenceHeader + "older 9\nroot " + Hash{}.String() + "\n\nshort"} {
		if _, err := ParseEvidence([]byte(bad)); !errors.Is(err, ErrEvidence) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestEveryErrorHasItsNameInTheSpec(t *testing.T) {
	spec, err := os.ReadFile(filepath.Join("..", "SPEC.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []error{ErrCheckpoint, ErrOrigin, ErrLogSignature, ErrCosignature, ErrQuorum, ErrFuture, ErrPolicy, ErrInclusion, ErrConsistency, ErrReceipt, ErrEvidence, ErrNoFork, ErrDecisions, ErrNoDecisions, ErrTile} {
		if !bytes.Contains(spec, []byte(e.Error())) {
			t.Errorf("SPEC.md does not name %v", e)
		}
	}
}

func TestTilesAreThoseOfTheTree(t *testing.T) {
	const n = 600
	m := logOf(t, n, "", n)
	for path, width := range map[string]int{"tile/0/000": 256, "tile/0/001": 256, "tile/0/002.p/88": 88, "tile/0/002.p/1": 1, "tile/1/000.p/2": 2} {
		tile, err := ParseTilePath(path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := ReadTile(tile, n, m)
		if err != nil || len(b) != 32*width {
			t.Errorf("%s: %d bytes, %v", path, len(b), err)
		}
		if tile.Level == 0 {
			for i := range width {
				if h := LeafHash(m.leaves[int(tile.Index)*256+i]); !bytes.Equal(b[32*i:32*i+32], h[:]) {
					t.Fatalf("%s: hash %d", path, i)
				}
			}
		}
	}
	for _, path := range []string{"tile/0/002", "tile/0/003", "tile/0/002.p/89", "tile/1/000", "tile/1/000.p/3", "tile/2/000.p/1", "tile/63/000"} {
		tile, err := ParseTilePath(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ReadTile(tile, n, m); !errors.Is(err, ErrTile) {
			t.Errorf("%s is past the checkpoint: %v", path, err)
		}
	}
	if first, k, err := BundleRange(Tile{Entries: true, Index: 2, Width: 88}, n); err != nil || first != 512 || k != 88 {
		t.Errorf("bundle %d %d %v", first, k, err)
	}
	if _, _, err := BundleRange(Tile{Entries: true, Index: 2, Width: 89}, n); !errors.Is(err, ErrTile) {
		t.Error("a bundle past the checkpoint")
	}
	if _, err := ReadTile(Tile{Entries: true, Width: 256}, n, m); !errors.Is(err, ErrTile) {
		t.Error("a bundle as a tile")
	}
}

func TestTilePathsHaveOneForm(t *testing.T) {
	for path, tile := range map[string]Tile{
		"tile/0/x001/x234/067":          {Level: 0, Index: 1234067, Width: 256},
		"tile/63/000.p/255":             {Level: 63, Width: 255},
		"tile/entries/x001/000.p/1":     {Entries: true, Index: 1000, Width: 1},
		"tile/0/x123/x456/x789/012.p/8": {Index: 123456789012, Width: 8},
	} {
		got, err := ParseTilePath(path)
		if err != nil || got != tile || tile.Path() != path {
			t.Errorf("%s: %+v, %v", path, got, err)
		}
	}
	for _, bad := range []string{"", "tile", "tile/", "tile/0/0", "tile/0/00", "tile/0/0000", "tile/00/000", "tile/64/000", "tile/-1/000", "tile/0/x001", "tile/0/001/x002",
		"tile/0/x000/001", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/", "tile/data/000", "/tile/0/000", "tile/0/000/", "tile/0/../000",
		"tile/0/" + strings.Repeat("x999/", 8) + "999"} {
		if got, err := ParseTilePath(bad); !errors.Is(err, ErrTile) {
			t.Errorf("%q: %+v, %v", bad, got, err)
		}
	}
}

func TestBundlesReadBack(t *testing.T) {
	var b []byte
	in := [][]byte{[]byte("one"), {}, bytes.Repeat([]byte{7}, 65535)}
	for _, e := range in {
		var err error
		if b, err = AppendBundle(b, e); err != nil {
			t.Fatal(err)
		}
	}
	out, err := ParseBundle(b, 3)
	if err != nil || len(out) != 3 || !bytes.Equal(out[2], in[2]) || len(out[1]) != 0 {
		t.Errorf("%v", err)
	}
	for name, bad := range map[string]func() ([][]byte, error){
		"cut":          func() ([][]byte, error) { return ParseBundle(b[:len(b)-1], 3) },
		"more entries": func() ([][]byte, error) { return ParseBundle(b, 4) },
		"fewer":        func() ([][]byte, error) { return ParseBundle(b, 2) },
		"none":         func() ([][]byte, error) { return ParseBundle(nil, 0) },
	} {
		if _, err := bad(); !errors.Is(err, ErrTile) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := AppendBundle(nil, make([]byte, 65536)); !errors.Is(err, ErrTile) {
		t.Error("an entry that is too long")
	}
}
