package sim

import "github.com/comity-ledger/comity/zk"

// plainTree is the model's own ternary tree: a map of leaves and a cache of
// nodes, computed from the top on demand.
type plainTree struct {
	depth  int
	leaves map[uint64]zk.Root
	nodes  map[treeNode]zk.Root // cached; absent means not computed
	filled map[treeNode]bool    // some leaf below was set
	empty  []zk.Root
}

type treeNode struct {
	level int
	index uint64
}

var emptyNodes = func() []zk.Root {
	out := make([]zk.Root, zk.NoteDepth+1)
	for i := 1; i < len(out); i++ {
		out[i] = hash3(out[i-1], out[i-1], out[i-1])
	}
	return out
}()

func hash3(a, b, c zk.Root) zk.Root {
	return zk.RootFromElement(zk.Hash3(a.Element(), b.Element(), c.Element()))
}

func newPlainTree(depth int) *plainTree {
	return &plainTree{depth: depth, leaves: make(map[uint64]zk.Root), nodes: make(map[treeNode]zk.Root), filled: make(map[treeNode]bool), empty: emptyNodes}
}

func (t *plainTree) set(index uint64, leaf zk.Root) {
	t.leaves[index] = leaf
	for level := 1; level <= t.depth; level++ {
		index /= 3
		delete(t.nodes, treeNode{level, index})
		t.filled[treeNode{level, index}] = true
	}
}

func (t *plainTree) root() zk.Root { return t.at(t.depth, 0) }

func (t *plainTree) at(level int, index uint64) zk.Root {
	if level == 0 {
		return t.leaves[index]
	}
	n := treeNode{level, index}
	if !t.filled[n] {
		return t.empty[level]
	}
	if h, ok := t.nodes[n]; ok {
		return h
	}
	h := hash3(t.at(level-1, 3*index), t.at(level-1, 3*index+1), t.at(level-1, 3*index+2))
	t.nodes[n] = h
	return h
}
