package model

import "testing"

// The worlds have no relayers: any ledger may observe any checkpoint of its peer, of any age, at any time. Here two relayers are
// spelled out. Each fetches a checkpoint of either log, keeps it in memory, brings it whenever and as often as it likes, and forgets all
// when it crashes. Both worlds must reach the same states of the ledgers and people.

type relayed struct {
	state
	// How many entries of B's log, and placements of A's, a relayer's newest checkpoint is ahead of what the peer observed. An older one
	// that it also keeps is one that the other relayer might have, or one that it did not renew.
	b, a [2]uint8
}

type relayers struct{ bridge }

const (
	doFetchB = 100 + iota
	doFetchA
	doBringB
	doBringA
	doForget
)

func (w *relayers) Start() relayed { return relayed{state: w.bridge.Start()} }

func (w *relayers) Encode(s relayed, dst []byte) []byte {
	return append(s.encode(dst, w.Followers), s.b[0], s.b[1], s.a[0], s.a[1])
}

func (w *relayers) Broken(s relayed) string      { return w.bridge.Broken(s.state) }
func (w *relayers) Promises() []Promise[relayed] { return nil }

func (w *relayers) Steps(s relayed, yield func(Label, relayed)) {
	observe := map[Label]state{}
	w.bridge.Steps(s.state, func(l Label, t state) {
		if l.Do == doObserveB || l.Do == doObserveF {
			observe[l] = t
			return
		}
		yield(l, relayed{t, s.b, s.a})
	})
	for r := range uint8(2) {
		if t := s; s.b[r] != s.lenB {
			t.b[r] = s.lenB
			yield(Label{Do: doFetchB, X: r}, t)
		}
		if t := s; s.a[r] != s.lenF[0] {
			t.a[r] = s.lenF[0]
			yield(Label{Do: doFetchA, X: r}, t)
		}
		if t, ok := observe[Label{Do: doObserveB, X: s.b[r], Fair: true}]; ok {
			yield(Label{Do: doBringB, X: r}, relayed{t, less(s.b, s.b[r]), s.a})
		}
		if t, ok := observe[Label{Do: doObserveF, X: s.a[r], Fair: true}]; ok {
			yield(Label{Do: doBringA, X: r}, relayed{t, s.b, less(s.a, s.a[r])})
		}
		if t := s; s.b[r]+s.a[r] != 0 {
			t.b[r], t.a[r] = 0, 0
			yield(Label{Do: doForget, X: r}, t)
		}
	}
}

// less counts checkpoints from a newly observed size on; older ones are of no use any more.
func less(ahead [2]uint8, n uint8) [2]uint8 {
	for r := range ahead {
		ahead[r] -= min(ahead[r], n)
	}
	return ahead
}

func TestAnyObservationIsWhatRelayersCanDo(t *testing.T) {
	for _, c := range []Config{
		hop("", func(c *Config) { c.DeciderHolds, c.FollowerHolds, c.Expiry = 1, [2]uint8{2}, [2]uint8{2} }),
		hop("", func(c *Config) {
			c.DeciderHolds, c.Expiry, c.Until = 1, [2]uint8{1}, 1
			c.LyingPayer, c.LyingLast = true, true
		}),
	} {
		free, spelled := map[state]bool{}, map[state]bool{}
		if _, err := Search(watched{&bridge{c}, func(_ Label, s state) { free[s] = true }}, 1<<20); err != nil {
			t.Fatal(err)
		}
		w := &relayers{bridge{c}}
		spelled[w.Start().state] = true
		free[w.Start().state] = true
		r, err := Search(seen{w, spelled}, 4<<20)
		if err != nil || r.Violation != nil {
			t.Fatal(err, r.Violation)
		}
		if len(free) != len(spelled) {
			t.Errorf("%d states without relayers, %d with them", len(free), len(spelled))
		}
		for s := range spelled {
			if !free[s] {
				t.Fatalf("relayers reach %+v", s)
			}
		}
		t.Logf("%v with two relayers, %d without", r, len(free))
	}
}

type seen struct {
	*relayers
	states map[state]bool
}

func (w seen) Broken(s relayed) string {
	w.states[s.state] = true
	return w.relayers.Broken(s)
}
