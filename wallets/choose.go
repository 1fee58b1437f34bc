package wallets

import (
	"cmp"
	"slices"

	"github.com/comity-ledger/comity/zk"
)

// mergeInputs is the most inputs one leg takes (the consolidate circuit, 8x2).
const mergeInputs = 8

// tidyAbove is the number of notes in a pool above which a leg's unused inputs are filled with the smallest notes. It costs nothing
// (the circuit has the inputs anyway) and keeps dust from piling up. Exact payments are left exact.
const tidyAbove = 16

// coin is an unspent note as the planner sees it. ref is opaque to the planner: the note's index in a State, or a number given to an
// output that does not exist yet.
type coin struct {
	ref   int
	value zk.Amount
	tree  uint16
}

// total adds the values. The ledger keeps everything ever issued of an asset below 2^64, so the sum of notes that exist fits; ok is
// false for a sum that does not.
func total(coins []coin) (sum zk.Amount, ok bool) {
	for _, c := range coins {
		next := sum + c.value
		if next < sum {
			return 0, false
		}
		sum = next
	}
	return sum, true
}

// byValue orders coins from large to small; equal values by ref, so that a plan is a function of its arguments.
func byValue(a, b coin) int {
	if c := cmp.Compare(b.value, a.value); c != 0 {
		return c
	}
	return cmp.Compare(a.ref, b.ref)
}

// pick chooses at most mergeInputs coins of one tree that cover amount, for one leg. In this order it prefers: no change with one
// or two notes, the smallest single note, the pair with the least change, and then the fewest notes with the least change that
// exchanging one at a time finds. ok is false when no such set exists: then the coins must be merged first, or do not suffice.
func pick(coins []coin, amount zk.Amount) (chosen []coin, ok bool) {
	var best []coin
	var bestChange zk.Amount
	for _, pool := range perTree(coins) {
		got := pickIn(pool, amount)
		if got == nil {
			continue
		}
		sum, _ := total(got)
		change := sum - amount
		if best == nil || better(len(got), change, len(best), bestChange) {
			best, bestChange = got, change
		}
	}
	if best == nil {
		return nil, false
	}
	return tidy(coins, best, amount, bestChange), true
}

// better compares two choices: circuits first (up to two notes fit the small one), then exactness, then notes, then change.
func better(n int, change zk.Amount, m int, other zk.Amount) bool {
	if (n <= 2) != (m <= 2) {
		return n <= 2
	}
	if (change == 0) != (other == 0) {
		return change == 0
	}
	if n != m {
		return n < m
	}
	return change < other
}

// perTree splits coins by note tree, in ascending order of trees: one leg proves against one root.
func perTree(coins []coin) [][]coin {
	groups := map[uint16][]coin{}
	var trees []uint16
	for _, c := range coins {
		if groups[c.tree] == nil {
			trees = append(trees, c.tree)
		}
		groups[c.tree] = append(groups[c.tree], c)
	}
	slices.Sort(trees)
	out := make([][]coin, len(trees))
	for i, t := range trees {
		out[i] = groups[t]
	}
	return out
}

// pickIn is pick within one tree; nil when nothing covers amount.
func pickIn(pool []coin, amount zk.Amount) []coin {
	pool = slices.Clone(pool)
	slices.SortFunc(pool, byValue)
	// Smallest single note that covers.
	single := -1
	for i, c := range pool {
		if c.value < amount {
			break
		}
		single = i
	}
	if single >= 0 && pool[single].value == amount {
		return []coin{pool[single]}
	}
	pair, pairSum := bestPair(pool, amount)
	if pair != nil && pairSum == amount {
		return pair
	}
	if single >= 0 {
		return []coin{pool[single]}
	}
	if pair != nil {
		return pair
	}
	return fewest(pool, amount)
}

// bestPair finds the two coins with the least sum that covers amount. pool is ordered from large to small.
func bestPair(pool []coin, amount zk.Amount) (pair []coin, sum zk.Amount) {
	i, j := 0, len(pool)-1
	for i < j {
		s := pool[i].value + pool[j].value
		if s < pool[i].value { // 2^64 or more: covers, and is never the least while anything smaller does
			i++
			continue
		}
		if s >= amount {
			if pair == nil || s < sum {
				pair, sum = []coin{pool[i], pool[j]}, s
			}
			i++
		} else {
			j--
		}
	}
	return pair, sum
}

// fewest takes the smallest number of coins, up to mergeInputs, that covers amount, then lowers the change by exchanging each for the
// smallest unused coin that still covers. pool is ordered from large to small.
func fewest(pool []coin, amount zk.Amount) []coin {
	var sum zk.Amount
	n := 0
	for n < len(pool) && n < mergeInputs && sum < amount {
		sum += pool[n].value
		n++
	}
	if sum < amount {
		return nil
	}
	chosen := slices.Clone(pool[:n])
	rest := pool[n:]
	next := len(rest) - 1 // unused coins from small to large
	for i := n - 1; i >= 0 && next >= 0; i-- {
		spare := sum - amount
		for k := next; k >= 0; k-- {
			if rest[k].value+spare >= chosen[i].value {
				if rest[k].value < chosen[i].value {
					sum -= chosen[i].value - rest[k].value
					chosen[i] = rest[k]
					next = k - 1
				}
				break
			}
		}
	}
	return chosen
}

// tidy fills the free inputs of the circuit that chosen needs with the smallest notes of the same tree, those smaller than the amount, when
// there are many notes and there is change anyway.
func tidy(coins, chosen []coin, amount, change zk.Amount) []coin {
	if change == 0 || len(coins) <= tidyAbove {
		return chosen
	}
	room := 2
	if len(chosen) > 2 {
		room = mergeInputs
	}
	used := map[int]bool{}
	for _, c := range chosen {
		used[c.ref] = true
	}
	small := slices.Clone(coins)
	slices.SortFunc(small, func(a, b coin) int { return -byValue(a, b) })
	sum, _ := total(chosen)
	for _, c := range small {
		if len(chosen) >= room {
			break
		}
		if c.value >= amount {
			break // no dust beside this payment: leave it for payments that run at the same time
		}
		if used[c.ref] || c.tree != chosen[0].tree || sum+c.value < sum {
			continue
		}
		chosen = append(chosen, c)
		sum += c.value
	}
	return chosen
}

// merges plans one round of merging so that a later pick can cover amount. It takes the fewest (largest) coins that cover amount,
// moves those of older trees into the newest one, and merges the smallest of the others until eight are left. Each element is
// the inputs of one leg whose single output is their sum. It is nil when the coins do not cover amount, or when pick already can.
func merges(coins []coin, amount zk.Amount, newest uint16) [][]coin {
	sorted := slices.Clone(coins)
	slices.SortFunc(sorted, byValue)
	var sum zk.Amount
	n := 0
	for n < len(sorted) && sum < amount {
		if sum+sorted[n].value < sum {
			return nil
		}
		sum += sorted[n].value
		n++
	}
	if sum < amount {
		return nil
	}
	needed := sorted[:n]
	var legs [][]coin
	var here []coin
	left := 0 // coins that will be in the newest tree after this round
	for _, pool := range perTree(needed) {
		if pool[0].tree == newest {
			here = pool
			left += len(pool)
			continue
		}
		for chunk := range slices.Chunk(pool, mergeInputs) {
			legs = append(legs, chunk)
			left++
		}
	}
	slices.SortFunc(here, func(a, b coin) int { return -byValue(a, b) }) // smallest first
	for left > mergeInputs && len(here) > 1 {
		take := min(mergeInputs, len(here), left-mergeInputs+1)
		legs = append(legs, here[:take:take])
		here = here[take:]
		left -= take - 1
	}
	return legs
}
