package proof

import "slices"

// SmallestColludingSet is how many of n witnesses must collude with the log to cosign two histories under a quorum of k: 2k-n. With
// c colluding witnesses the n-c honest ones, each of which cosigns one history, can be split so that both reach k as soon as
// n+c >= 2k. It is 0 when two quorums need not share a witness: then the log can fork with every witness honest.
func SmallestColludingSet(n, k int) int { return max(0, 2*k-n) }

// SmallestColludingOperators names a smallest set of operators who could cosign two histories together: each witness counts for whoever
// runs it. operators holds one name per witness. Of equally small sets it gives the one with the operators of most witnesses, then by
// name. It is empty when nobody need collude.
func SmallestColludingOperators(operators []string, k int) []string {
	runs := map[string]int{}
	for _, name := range operators {
		runs[name]++
	}
	names := make([]string, 0, len(runs))
	for name := range runs {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if runs[a] != runs[b] {
			return runs[b] - runs[a]
		}
		if a < b {
			return -1
		}
		return 1
	})
	// Whoever runs most witnesses comes first: no other choice of as many operators has more witnesses.
	need := SmallestColludingSet(len(operators), k)
	for i := range names {
		if need <= 0 {
			return names[:i]
		}
		need -= runs[names[i]]
	}
	return names
}
