package circuit

import "github.com/consensys/gnark/frontend"

// Level is one step of a path in a ternary tree, leaf to root. Middle and Right
// are the two flags of the digit: 0 = neither, 1 = Middle, 2 = Right.
// Siblings are the other two children, left to right.
type Level struct {
	Middle, Right frontend.Variable
	Siblings      [2]frontend.Variable
}

// climb returns the root that a leaf has under a path: 244 constraints a level.
//
// The flags are proven boolean under name+".middleBit" and name+".rightBit". Two
// flags set at once place the leaf right, with left and middle some combination
// of the siblings: still membership of the leaf, so trees whose positions mean
// nothing need no further check. The note tree does, see index.
func (c *checks) climb(name string, leaf frontend.Variable, path []Level) frontend.Variable {
	for _, l := range path {
		c.booleans(name+".middleBit", l.Middle)
		c.booleans(name+".rightBit", l.Right)
	}
	node := leaf
	for _, l := range path {
		s := l.Siblings
		// digit:  0             1             2
		// left:   node          s0            s0
		// middle: s0            node          s1
		// right:  s1            s1            node
		left := c.Add(node, c.Mul(c.Add(l.Middle, l.Right), c.Sub(s[0], node)))
		right := c.Add(s[1], c.Mul(l.Right, c.Sub(node, s[1])))
		middle := c.Sub(c.Add(node, s[0], s[1]), left, right)
		node = c.compress(left, middle, right)
	}
	return node
}

// index returns the leaf's index that the digits of a path spell, proving under
// name+".digitSum" that no level sets both flags: a digit 3 would give one note
// a second position and so a second nullifier.
func (c *checks) index(name string, path []Level) frontend.Variable {
	terms := make([]frontend.Variable, 0, len(path))
	weight := int64(1)
	for _, l := range path {
		c.booleans(name+".digitSum", c.Add(l.Middle, l.Right))
		terms = append(terms, c.Mul(c.Add(l.Middle, c.Mul(l.Right, 2)), weight))
		weight *= 3
	}
	return c.sum(terms...)
}

// subtreeRoot returns the root of a ternary tree of 3^level leaves, those not
// given being the empty leaf 0. Nodes over empty leaves alone are constants.
func (c *checks) subtreeRoot(leaves []frontend.Variable, level int) frontend.Variable {
	nodes := leaves
	var empty frontend.Variable = 0
	at := func(i int) frontend.Variable {
		if i < len(nodes) {
			return nodes[i]
		}
		return empty
	}
	for range level {
		parents := make([]frontend.Variable, (len(nodes)+2)/3)
		for i := range parents {
			parents[i] = c.compress(at(3*i), at(3*i+1), at(3*i+2))
		}
		nodes, empty = parents, c.compress(empty, empty, empty)
	}
	return nodes[0]
}
