package model

import (
	"flag"
	"slices"
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
		c.DeciderHolds, c.Expiry = 1, [2]uint8{2}
		c.LyingPayer, c.Freezing, c.Death = true, true, true
	}),
	hop("lying provider, dead decider", func(c *Config) {
		c.DeciderHolds, c.Expiry, c.Until = 1, [2]uint8{1}, 1
		c.LyingLast, c.Freezing, c.Death = true, true, true
	}),
	vehicle("everybody honest, clocks to 3", func(c *Config) { c.Expiry, c.Until = [2]uint8{2}, 3 }),
	vehicle("frozen corridors, dead decider", func(c *Config) { c.Freezing, c.Death = true, true }),
	vehicle("lying payer", func(c *Config) { c.LyingPayer, c.FollowerHolds = true, [2]uint8{2, 1} }),
	vehicle("lying first provider", func(c *Config) { c.LyingFirst, c.FollowerHolds = true, [2]uint8{1, 2} }),
	vehicle("lying last provider", func(c *Config) { c.LyingLast, c.FollowerHolds = true, [2]uint8{2, 2} }),
}

// More of them, larger. They run with -wide.
var wideWorlds = []Config{
	hop("stale and frozen corridors, clocks to 2", func(c *Config) { c.Staleness, c.Freezing = true, true }),
	hop("lying payer and provider, clocks to 2", func(c *Config) { c.LyingPayer, c.LyingLast = true, true }),
	hop("lying provider, dead decider, two deciding holds", func(c *Config) {
		c.Expiry, c.Until = [2]uint8{1, 1}, 1
		c.LyingLast, c.Freezing, c.Death = true, true, true
	}),
	vehicle("stale and frozen corridors, dead decider", func(c *Config) { c.Staleness, c.Freezing, c.Death = true, true, true }),
	vehicle("all lie but the payer", func(c *Config) { c.LyingFirst, c.LyingLast, c.FollowerHolds = true, true, [2]uint8{1, 2} }),
	vehicle("all lie but the last provider", func(c *Config) { c.LyingPayer, c.LyingFirst, c.FollowerHolds = true, true, [2]uint8{2, 1} }),
	vehicle("all lie but the first provider", func(c *Config) { c.LyingPayer, c.LyingLast, c.FollowerHolds = true, true, [2]uint8{2, 1} }),
}

var wide = flag.Bool("wide", false, "search the wide worlds too: minutes, and gigabytes of memory")

func TestProtocolHolds(t *testing.T) {
	all := worlds
	if *wide {
		all = append(slices.Clone(all), wideWorlds...)
	}
	for _, c := range all {
		t.Run(c.Name, func(t *testing.T) {
			began := time.Now()
			r, err := Search(&bridge{c}, 64<<20)
			if err != nil {
				t.Fatal(err)
			}
			if r.Violation != nil {
				t.Fatal(r.Violation)
			}
			t.Logf("%v, %v", r, time.Since(began).Round(time.Millisecond))
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
