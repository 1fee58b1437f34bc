package tree

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/comity-ledger/comity/zk"
)

// naive hashes a whole tree the plain way, level by level, up to a depth.
func naive(leaves []Leaf, depth int) Leaf {
	nodes := append([]Leaf(nil), leaves...)
	var empty Leaf
	for range depth {
		for len(nodes)%3 != 0 || len(nodes) == 0 {
			nodes = append(nodes, empty)
		}
		up := make([]Leaf, 0, len(nodes)/3)
		for i := 0; i < len(nodes); i += 3 {
			up = append(up, zk.Hash3(nodes[i], nodes[i+1], nodes[i+2]))
		}
		nodes = up
		empty = zk.Hash3(empty, empty, empty)
	}
	return nodes[0]
}

func leafOf(n int) Leaf {
	var e Leaf
	e.SetUint64(uint64(n) + 1)
	return e
}

// TestEveryTreeAgreesWithTheNaiveOne drives all four trees with the same random appends, subtrees and skips.
func TestEveryTreeAgreesWithTheNaiveOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, m := NewFrontier(), NewMarked()
		var leaves []Leaf
		wanted := map[uint32]bool{}
		must := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		next := 0
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"one", "align", "root", "leaves"}).Draw(t, "step") {
			case "one":
				for range rapid.IntRange(1, 20).Draw(t, "n") {
					if rapid.Bool().Draw(t, "mark") {
						must(m.Mark(uint32(len(leaves))))
						wanted[uint32(len(leaves))] = true
					}
					l := leafOf(next)
					next++
					must(f.Append(l))
					must(m.Append(l))
					leaves = append(leaves, l)
				}
			case "align":
				level := rapid.IntRange(0, 4).Draw(t, "level")
				must(f.Align(level))
				must(m.Align(level))
				for uint32(len(leaves))%pow3[level] != 0 {
					leaves = append(leaves, Leaf{})
				}
			case "root", "leaves":
				level := rapid.IntRange(1, 4).Draw(t, "level")
				must(f.Align(level))
				must(m.Align(level))
				for uint32(len(leaves))%pow3[level] != 0 {
					leaves = append(leaves, Leaf{})
				}
				n := rapid.IntRange(0, int(pow3[level])).Draw(t, "filled")
				sub := make([]Leaf, n)
				for i := range sub {
					sub[i] = leafOf(next)
					next++
				}
				mark := n > 0 && rapid.Bool().Draw(t, "mark")
				if mark {
					at := uint32(len(leaves) + rapid.IntRange(0, n-1).Draw(t, "which"))
					must(m.Mark(at))
					wanted[at] = true
				}
				root := SubtreeRoot(sub, level)
				if mark {
					if err := m.AppendSubtree(root, level); err == nil {
						t.Fatal("a marked leaf was hidden in a subtree root")
					}
					must(m.AppendLeaves(sub, level))
				} else {
					must(m.AppendSubtree(root, level))
				}
				must(f.AppendSubtree(root, level))
				leaves = append(leaves, sub...)
				leaves = append(leaves, make([]Leaf, int(pow3[level])-n)...)
			}
		}
		want := zk.RootFromElement(naive(leaves, zk.NoteDepth))
		if f.Root() != want || m.Root() != want || int(f.Size()) != len(leaves) || int(m.Size()) != len(leaves) {
			t.Fatalf("roots differ at size %d", len(leaves))
		}
		f2, err := UnmarshalFrontier(f.Marshal())
		must(err)
		m2, err := UnmarshalMarked(m.Marshal())
		must(err)
		if f2.Root() != want || m2.Root() != want || !bytes.Equal(m2.Marshal(), m.Marshal()) {
			t.Fatal("encoding changed the tree")
		}
		for _, tree := range []*Marked{m, m2, m.Clone()} {
			for at := range wanted {
				leaf, path, err := tree.Path(at)
				must(err)
				if leaf != leaves[at] || zk.RootFromElement(path.Root(leaf)) != want || path.Index() != at {
					t.Fatalf("path of leaf %d does not lead to the root", at)
				}
			}
		}
		for at := range wanted {
			m.Forget(at)
		}
		if len(m.families) != 0 || len(m.members) != 0 || len(m.marks) != 0 {
			t.Fatal("a forgotten mark left something behind")
		}
	})
}

func TestSparseAgreesWithTheNaiveTree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := NewSparse(4)
		leaves := make([]Leaf, 81)
		for range rapid.IntRange(0, 30).Draw(t, "sets") {
			at := rapid.IntRange(0, 80).Draw(t, "at")
			leaves[at] = Leaf{}
			if rapid.Bool().Draw(t, "filled") {
				leaves[at] = leafOf(rapid.IntRange(0, 1000).Draw(t, "leaf"))
			}
			if err := s.Set(uint32(at), leaves[at]); err != nil {
				t.Fatal(err)
			}
		}
		want := zk.RootFromElement(naive(leaves, 4))
		if s.Root() != want || s.Clone().Root() != want {
			t.Fatal("root differs")
		}
		at := rapid.IntRange(0, 80).Draw(t, "path of")
		p, err := s.Path(uint32(at))
		if err != nil || zk.RootFromElement(p.Root(leaves[at])) != want || int(p.Index()) != at {
			t.Fatalf("path of leaf %d: %v", at, err)
		}
	})
}

func TestLeafOutsideTheTreeIsRefused(t *testing.T) {
	s := NewSparse(2)
	if s.Set(9, Leaf{}) == nil {
		t.Error("Set took leaf 9 of 9")
	}
	if _, err := s.Path(9); err == nil {
		t.Error("Path took leaf 9 of 9")
	}
	m := NewMarked()
	if err := m.Append(leafOf(0)); err != nil {
		t.Fatal(err)
	}
	if m.Mark(0) == nil {
		t.Error("a leaf that was appended already was marked")
	}
	if _, _, err := m.Path(0); err == nil {
		t.Error("an unmarked leaf has a path")
	}
}

func TestUnalignedSubtreeIsRefused(t *testing.T) {
	f := NewFrontier()
	if err := f.Append(leafOf(0)); err != nil {
		t.Fatal(err)
	}
	before := f.Root()
	if f.AppendSubtree(leafOf(1), 1) == nil || f.Root() != before {
		t.Error("an unaligned subtree was attached")
	}
}

func TestFullTreeTakesNothingMore(t *testing.T) {
	f := NewFrontier()
	top := zk.NoteDepth - 1
	for i := range 3 {
		if err := f.AppendSubtree(leafOf(i), top); err != nil {
			t.Fatal(err)
		}
	}
	want := zk.RootFromElement(zk.Hash3(leafOf(0), leafOf(1), leafOf(2)))
	if !f.Full() || f.Root() != want {
		t.Fatal("three subtrees of the top level do not fill the tree")
	}
	if f.Append(leafOf(3)) == nil || f.Align(1) != nil || f.Root() != want {
		t.Error("a full tree changed")
	}
	g, err := UnmarshalFrontier(f.Marshal())
	if err != nil || g.Root() != want || !g.Full() {
		t.Fatalf("full tree does not survive its encoding: %v", err)
	}
}

func fuzzSeeds(f *testing.F) {
	m := NewMarked()
	_ = m.Mark(1)
	for i := range 5 {
		_ = m.Append(leafOf(i))
	}
	f.Add(m.Marshal())
	f.Add(m.frontier.Marshal())
	f.Add([]byte{})
}

func TestMalformedEncodingsAreRefused(t *testing.T) {
	m := NewMarked()
	_ = m.Mark(1)
	_ = m.Mark(90)
	for i := range 40 {
		if err := m.Append(leafOf(i)); err != nil {
			t.Fatal(err)
		}
	}
	mb, fb := m.Marshal(), m.frontier.Marshal()
	change := func(b []byte, at int, to byte) []byte {
		c := bytes.Clone(b)
		c[at] = to
		return c
	}
	n := 5 + len(fb)
	for name, b := range map[string][]byte{"empty": nil, "cut": fb[:len(fb)-1], "long": append(bytes.Clone(fb), 0), "version": change(fb, 0, 2), "size": change(fb, 4, 41),
		"beyond capacity": change(fb, 1, 0xff), "element above the order": change(fb, 5, 0xff)} {
		if _, err := UnmarshalFrontier(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("frontier, %s: %v", name, err)
		}
	}
	for name, b := range map[string][]byte{"empty": nil, "cut": mb[:len(mb)-1], "long": append(bytes.Clone(mb), 0), "version": change(mb, 0, 9), "frontier length": change(mb, 4, 0),
		"huge frontier": change(mb, 1, 0xff), "number of marks": change(mb, n, 0xff), "marks out of order": change(mb, n+7, 91), "mark beyond capacity": change(mb, n+8, 0xff),
		"element above the order": change(mb, n+12, 0xff)} {
		if _, err := UnmarshalMarked(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("marked, %s: %v", name, err)
		}
	}
	if _, err := UnmarshalMarked(mb); err != nil {
		t.Error(err)
	}
}

func TestLevelsOutsideTheTreeAreRefused(t *testing.T) {
	f, m := NewFrontier(), NewMarked()
	for name, err := range map[string]error{
		"align": f.Align(-1), "align above": f.Align(zk.NoteDepth), "subtree": f.AppendSubtree(Leaf{}, zk.NoteDepth), "subtree below": m.AppendSubtree(Leaf{}, -1),
		"marked align": m.Align(-1), "leaves": m.AppendLeaves(make([]Leaf, 4), 1), "mark": m.Mark(zk.NoteCapacity),
	} {
		if !errors.Is(err, ErrIndex) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if f.Size() != 0 || m.Size() != 0 {
		t.Error("a refusal changed the tree")
	}
	for name, call := range map[string]func(){"too many leaves": func() { SubtreeRoot(make([]Leaf, 4), 1) }, "level": func() { SubtreeRoot(nil, -1) }, "depth": func() { NewSparse(21) }} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			call()
		}()
	}
}

// The number of marks must not slow down appending: a wallet may hold thousands of notes.
func TestManyMarksStayCheap(t *testing.T) {
	m := NewMarked()
	for i := range 3000 {
		if i%3 == 0 {
			if err := m.Mark(uint32(i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.Append(leafOf(i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(m.families); n > 1600 {
		t.Errorf("%d families for 1000 marks: ancestors are not shared", n)
	}
}

// A mark may lie far ahead, in a gap that alignment skips, or on the padding of a subtree: its path is right all the same.
func TestMarksAheadSurviveGapsAndPadding(t *testing.T) {
	m := NewMarked()
	var leaves []Leaf
	add := func(n int) {
		for range n {
			leaf := leafOf(len(leaves))
			if err := m.Append(leaf); err != nil {
				t.Fatal(err)
			}
			leaves = append(leaves, leaf)
		}
	}
	marks := []uint32{1, 7, 30, 50, 100, 400}
	for _, i := range marks {
		if err := m.Mark(i); err != nil {
			t.Fatal(err)
		}
	}
	add(5)
	if err := m.Mark(7); err != nil {
		t.Error("marking twice:", err)
	}
	if err := m.Align(2); err != nil { // skips 7
		t.Fatal(err)
	}
	leaves = append(leaves, make([]Leaf, 9-len(leaves))...)
	add(1)
	if err := m.Align(3); err != nil { // skips nothing that is marked
		t.Fatal(err)
	}
	leaves = append(leaves, make([]Leaf, 27-len(leaves))...)
	for _, filled := range []int{27, 4} { // 30 is a leaf, 50 is not marked below, then padding
		sub := make([]Leaf, filled)
		for i := range sub {
			sub[i] = leafOf(1000 + i)
		}
		if err := m.AppendLeaves(sub, 3); err != nil {
			t.Fatal(err)
		}
		leaves = append(append(leaves, sub...), make([]Leaf, 27-filled)...)
	}
	add(100)
	want := zk.RootFromElement(naive(leaves, zk.NoteDepth))
	if m.Root() != want || m.Frontier().Root() != want {
		t.Fatal("root differs")
	}
	for _, i := range marks[:5] {
		leaf, path, err := m.Path(i)
		if err != nil || leaf != leaves[i] || zk.RootFromElement(path.Root(leaf)) != want {
			t.Errorf("leaf %d: %v", i, err)
		}
	}
	if _, _, err := m.Path(400); !errors.Is(err, ErrIndex) {
		t.Errorf("a leaf to come has a path: %v", err)
	}
	again, err := UnmarshalMarked(m.Marshal())
	if err != nil || len(again.Marks()) != 6 || again.Root() != want {
		t.Fatalf("%v", err)
	}
	for _, i := range marks {
		m.Forget(i)
		m.Forget(i)
	}
	if len(m.Marks()) != 0 || len(m.families) != 0 {
		t.Error("something was not forgotten")
	}
	if leaf, path, err := again.Path(30); err != nil || zk.RootFromElement(path.Root(leaf)) != want {
		t.Error("the copy forgot too")
	}
}

func TestCopiesAreApart(t *testing.T) {
	f, s := NewFrontier(), NewSparse(3)
	if err := errors.Join(f.Append(leafOf(1)), s.Set(4, leafOf(1))); err != nil {
		t.Fatal(err)
	}
	g, r := f.Clone(), s.Clone()
	if err := errors.Join(g.Append(leafOf(2)), r.Set(4, leafOf(2)), r.Set(5, leafOf(3))); err != nil {
		t.Fatal(err)
	}
	if f.Size() != 1 || f.Root() == g.Root() || s.Leaf(4) != leafOf(1) || s.Len() != 1 || r.Len() != 2 || s.Leaf(5) != Empty(0) {
		t.Error("a copy shares with its original")
	}
	if NewSparse(3).Root() != zk.RootFromElement(Empty(3)) || NewFrontier().Root() != zk.RootFromElement(Empty(zk.NoteDepth)) || SubtreeRoot(nil, 4) != Empty(4) || SubtreeRoot([]Leaf{leafOf(1)}, 0) != leafOf(1) {
		t.Error("empty trees")
	}
}

func TestFullMarkedTreeKeepsItsPaths(t *testing.T) {
	m := NewMarked()
	if err := m.Mark(2); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := m.Append(leafOf(i)); err != nil {
			t.Fatal(err)
		}
	}
	for level := 1; level < zk.NoteDepth; level++ {
		for range 2 {
			if err := m.AppendSubtree(leafOf(level), level); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !m.Full() {
		t.Fatal("not full")
	}
	for name, err := range map[string]error{"append": m.Append(leafOf(1)), "subtree": m.AppendSubtree(leafOf(1), 3), "leaves": m.AppendLeaves(nil, 3)} {
		if !errors.Is(err, ErrFull) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, tree := range []*Marked{m, m.Clone()} {
		leaf, path, err := tree.Path(2)
		if err != nil || zk.RootFromElement(path.Root(leaf)) != tree.Root() {
			t.Errorf("path in a full tree: %v", err)
		}
	}
	again, err := UnmarshalMarked(m.Marshal())
	if err != nil || again.Root() != m.Root() {
		t.Error(err)
	}
}

func TestAppendingDoesNotAllocate(t *testing.T) {
	f := NewFrontier()
	if n := testing.AllocsPerRun(200, func() { _ = f.Append(Leaf{}) }); n != 0 {
		t.Errorf("Append allocates %v times", n)
	}
}

func BenchmarkSubtreeRoot81(b *testing.B) {
	leaves := make([]Leaf, 64)
	for b.Loop() {
		SubtreeRoot(leaves, 4)
	}
}

func FuzzUnmarshalFrontier(f *testing.F) {
	fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := UnmarshalFrontier(b); err == nil && !bytes.Equal(got.Marshal(), b) {
			t.Fatal("two encodings of one frontier")
		}
	})
}

func FuzzUnmarshalMarked(f *testing.F) {
	fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := UnmarshalMarked(b); err == nil && !bytes.Equal(got.Marshal(), b) {
			t.Fatal("two encodings of one tree")
		}
	})
}

func BenchmarkFrontierAppend(b *testing.B) {
	f := NewFrontier()
	leaf := leafOf(7)
	for b.Loop() {
		if err := f.Append(leaf); err != nil {
			b.Fatal(err)
		}
	}
}
