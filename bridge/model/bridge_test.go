package model

import (
	"flag"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// hop is one hop with two holds on either side, vehicle one with a single deciding hold.
func hop(name string, change func(*Config)) Config {
	c := Config{Name: "pvp: " + name, Followers: 1, DeciderHolds: 2, FollowerHolds: [2]uint8{2}, Expiry: [2]uint8{1, 2}, Until: 2}
	change(&c)
	return c
}

func vehicle(name string, change func(*Config)) Config {
	c := Config{Name: "vehicle: " + name, Followers: 2, DeciderHolds: 1, FollowerHolds: [2]uint8{1, 1}, Expiry: [2]uint8{1}, Until: 1}
	change(&c)
	return c
}

// The worlds in which the protocol must hold.
var worlds = []Config{
	hop("everybody honest, clocks to 3", func(c *Config) { c.Expiry, c.Until = [2]uint8{2, 3}, 3 }),
	hop("stale and frozen corridors", func(c *Config) {
		c.Expiry, c.Until = [2]uint8{1, 1}, 1
		c.Staleness, c.Freezing = true, true
	}),
	hop("lying payer", func(c *Config) { c.LyingPayer = true }),
	hop("lying provider", func(c *Config) { c.LyingLast = true }),
	hop("lying payer and provider", func(c *Config) {
		c.Expiry, c.Until = [2]uint8{1, 1}, 1
		c.LyingPayer, c.LyingLast = true, true
	}),
	hop("lying payer, dead decider", func(c *Config) {
		c.DeciderHolds, c.Expiry, c.Until = 1, [2]uint8{1}, 1
		c.LyingPayer, c.Freezing, c.Death = true, true, true
	}),
	hop("lying provider, dead decider", func(c *Config) {
		c.DeciderHolds, c.Expiry, c.Until = 1, [2]uint8{1}, 1
		c.LyingLast, c.Freezing, c.Death = true, true, true
	}),
	vehicle("everybody honest, clocks to 3", func(c *Config) { c.Expiry, c.Until = [2]uint8{2}, 3 }),
	vehicle("frozen corridors", func(c *Config) { c.Freezing = true }),
	vehicle("lying payer", func(c *Config) { c.LyingPayer, c.FollowerHolds = true, [2]uint8{2, 1} }),
	vehicle("lying first provider", func(c *Config) { c.LyingFirst, c.FollowerHolds = true, [2]uint8{1, 2} }),
	vehicle("lying last provider", func(c *Config) { c.LyingLast, c.FollowerHolds = true, [2]uint8{2, 2} }),
	vehicle("all lie but the payer", func(c *Config) { c.LyingFirst, c.LyingLast = true, true }),
	vehicle("all lie but the last provider", func(c *Config) { c.LyingPayer, c.LyingFirst = true, true }),
	vehicle("all lie but the first provider", func(c *Config) { c.LyingPayer, c.LyingLast, c.FollowerHolds = true, true, [2]uint8{2, 1} }),
}

// More of them, larger. They run with -wide.
var wideWorlds = []Config{
	hop("lying payer, dead decider, clocks to 2", func(c *Config) {
		c.DeciderHolds, c.Expiry = 1, [2]uint8{2}
		c.LyingPayer, c.Freezing, c.Death = true, true, true
	}),
	vehicle("all lie but the payer, two holds on V", func(c *Config) { c.LyingFirst, c.LyingLast, c.FollowerHolds = true, true, [2]uint8{1, 2} }),
	vehicle("all lie but the last provider, two holds on A", func(c *Config) { c.LyingPayer, c.LyingFirst, c.FollowerHolds = true, true, [2]uint8{2, 1} }),
	hop("stale and frozen corridors, clocks to 2", func(c *Config) { c.Staleness, c.Freezing = true, true }),
	hop("lying payer and provider, clocks to 2", func(c *Config) { c.LyingPayer, c.LyingLast = true, true }),
	hop("lying provider, dead decider, two deciding holds", func(c *Config) {
		c.FollowerHolds, c.Expiry, c.Until = [2]uint8{1}, [2]uint8{1, 1}, 1
		c.LyingLast, c.Freezing, c.Death = true, true, true
	}),
	vehicle("stale and frozen corridors, dead decider", func(c *Config) { c.Staleness, c.Freezing, c.Death = true, true, true }),
	vehicle("frozen corridors, dead decider", func(c *Config) { c.Freezing, c.Death = true, true }),
}

var wide = flag.Bool("wide", false, "search the wide worlds too: a minute or two, and 2 GB of memory")

func TestProtocolHolds(t *testing.T) {
	all := worlds
	if *wide {
		all = append(slices.Clone(all), wideWorlds...)
	}
	var states atomic.Int64
	t.Cleanup(func() { t.Logf("%d states in %d worlds", states.Load(), len(all)) })
	for _, c := range all {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			r, err := Search(&bridge{c}, 64<<20)
			if err != nil {
				t.Fatal(err)
			}
			if r.Violation != nil {
				t.Fatal(r.Violation)
			}
			t.Logf("%s: %v, %v", c.Name, r, time.Since(began).Round(time.Millisecond))
			states.Add(int64(r.States))
		})
	}
}

// What the worlds reach, so that they do not hold because nothing happens in them.
func TestWorldsReachWhatMatters(t *testing.T) {
	dead := hop("", func(c *Config) {
		c.DeciderHolds, c.Expiry, c.Until = 1, [2]uint8{1}, 1
		c.LyingPayer, c.Freezing, c.Death = true, true, true
	})
	honest := hop("", func(*Config) {})
	liars := hop("", func(c *Config) {
		c.DeciderHolds, c.Expiry, c.Until = 1, [2]uint8{1}, 1
		c.LyingPayer, c.LyingLast = true, true
	})
	chain := vehicle("", func(*Config) {})
	for _, c := range []struct {
		name  string
		world Config
		here  func(s *state) bool
	}{
		{"both sides post", honest, func(s *state) bool { return s.dec[0].posted == 1 && s.fol[0][0].posted == 1 }},
		{"both sides void", honest, func(s *state) bool { return s.dec[0].voided == 1 && s.fol[0][0].voided == 1 }},
		{"a payer whose hold was voided pays by another quote", honest, func(s *state) bool { return s.fol[0][0].voided == 1 && s.fol[0][1].posted == 1 }},
		{"a transaction is logged after its signer crashed", honest, func(s *state) bool {
			return s.fol[0][0].open() && s.fol[0][0].names == 0 && s.send[0].signed[0] == 3 && s.send[0].heard == 0
		}},
		{"two holds wait for one decision, and one is posted", liars, func(s *state) bool {
			return s.dec[0].posted == 1 && s.dec[0].named[0] == 2 && s.fol[0][0].voided == 1 && s.fol[0][1].posted == 1
		}},
		{"a stranger pays for the payer", hop("", func(c *Config) { c.LyingLast = true }), func(s *state) bool {
			return s.fol[0][0].owner == byStranger && s.fol[0][0].posted == 1 && s.fol[0][1].voided == 1
		}},
		{"a wrong commitment is listed and paid", liars, func(s *state) bool {
			return s.dec[0].form == wrongListA && s.fol[0][0].posted == 1 && s.fol[0][0].form != right
		}},
		{"a peer lags behind by a decision", honest, func(s *state) bool { return s.dec[0].posted == 1 && !s.observedB(0, postedB) && s.fol[0][0].open() }},
		{"a follower waits in its frozen corridor", dead, func(s *state) bool { return s.dec[0].posted == 1 && s.frozenF[0] && s.fol[0][0].open() && s.lenB == 0 }},
		{"an override voids, and the decider posts late", dead, func(s *state) bool {
			return s.fol[0][0].overridden == voiding && s.fol[0][0].claim && s.dec[0].posted == 1
		}},
		{"an override posts, and the decider voids late", dead, func(s *state) bool {
			return s.fol[0][0].overridden == posting && s.fol[0][0].claim && s.dec[0].voided == 1
		}},
		{"the decider's own override voids", dead, func(s *state) bool { return s.dec[0].voided == 1 && s.clock[ledgerB] == 0 }},
		{"a corridor is stale while a hold waits", hop("", func(c *Config) { c.DeciderHolds, c.Staleness = 1, true }), func(s *state) bool { return s.fol[0][0].open() && s.staleF[0] && s.staleB[0] }},
		{"three ledgers post", chain, func(s *state) bool { return s.dec[0].posted == 1 && s.fol[0][0].posted == 1 && s.fol[1][0].posted == 1 }},
		{"three ledgers void", chain, func(s *state) bool { return s.dec[0].voided == 1 && s.fol[0][0].voided == 1 && s.fol[1][0].voided == 1 }},
		{"two ledgers of three void, nobody placed the third hold", chain, func(s *state) bool {
			return s.dec[0].voided == 1 && s.fol[0][0].voided == 1 && s.fol[1][0].form == absent
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := 0
			_, err := Search(watched{&bridge{c.world}, func(_ Label, s state) {
				if c.here(&s) {
					n++
				}
			}}, 1<<20)
			if err != nil || n == 0 {
				t.Errorf("never: %v", err)
			}
		})
	}
}

// watched calls look for every step that a search takes.
type watched struct {
	World[state]
	look func(Label, state)
}

func (w watched) Steps(s state, yield func(Label, state)) {
	w.World.Steps(s, func(l Label, t state) {
		w.look(l, t)
		yield(l, t)
	})
}

func TestEncodingLosesNothing(t *testing.T) {
	for _, c := range []Config{
		hop("", func(c *Config) { c.LyingLast = true }),
		vehicle("", func(c *Config) { c.Staleness = true }),
		hop("", func(c *Config) {
			c.DeciderHolds, c.Expiry, c.Until, c.Freezing, c.Death = 1, [2]uint8{1}, 1, true, true
		}),
	} {
		w := &bridge{c}
		states, codes := map[string]state{}, map[state]string{}
		_, err := Search(watched{w, func(l Label, s state) {
			code := string(w.Encode(s, nil))
			if was, ok := states[code]; ok && was != s {
				t.Fatalf("two states have one code: %+v and %+v", was, s)
			}
			if was, ok := codes[s]; ok && was != code {
				t.Fatalf("a state has two codes: %+v", s)
			}
			states[code], codes[s] = s, code
		}}, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
	}
}
