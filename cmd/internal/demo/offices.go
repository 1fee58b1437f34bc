package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/comity-ledger/comity/wallets/oversight"
)

// offices lets the audit offices of all nations list their legs and reconcile them.
func (s *story) offices() error {
	s.chapter("Audit offices: each sees its own leg, and both agree by hold id")
	legs := map[*nation]*oversight.CrossLegs{}
	file := func(n *nation, public bool) string {
		if public {
			return s.file(n.land + ".public.legs")
		}
		return s.file(n.land + ".legs")
	}
	err := s.step("each office opens the legs on its own ledger", func() (string, error) {
		words := ""
		var jobs []func() error
		for _, n := range s.nations() {
			key := []string{"--ledger", n.url(), "--genesis", n.genesis.Hash().String(), "--key", n.oversightKey, "--passphrase-file", s.secret}
			x := new(oversight.CrossLegs)
			legs[n] = x
			jobs = append(jobs, func() error {
				return both(
					func() error {
						return s.command(x, append([]string{"oversight", "cross", "--out", file(n, false)}, key...)...)
					},
					func() error {
						return s.command(nil, append([]string{"oversight", "cross", "--public", "--out", file(n, true)}, key...)...)
					})
			})
		}
		if err := both(jobs...); err != nil {
			return "", err
		}
		for _, n := range s.nations() {
			states, opened := map[oversight.State]int{}, 0
			for _, l := range legs[n].Legs {
				states[l.State]++
				if l.Amount != "" {
					opened++
				}
				if l.Amount != "" && l.Asset != n.code {
					return "", fmt.Errorf("the office of %s sees %s", n.land, l.Asset)
				}
			}
			if opened != len(legs[n].Legs) {
				return "", fmt.Errorf("the office of %s opened %d of %d legs", n.land, opened, len(legs[n].Legs))
			}
			words += fmt.Sprintf("%-9s %s in %s: %d posted, %d voided, %d pending\n", n.land, count(opened, "leg"), n.code, states[oversight.Posted], states[oversight.Voided],
				states[oversight.Pending])
		}
		return words, nil
	})
	if err != nil {
		return err
	}
	err = s.step("lists without amounts or owners are exchanged, and agree", func() (string, error) {
		for _, n := range s.nations() {
			text, err := os.ReadFile(file(n, true))
			if err != nil {
				return "", err
			}
			var x oversight.CrossLegs
			if err := json.Unmarshal(text, &x); err != nil {
				return "", err
			}
			for i, l := range x.Legs {
				if l.Amount != "" || l.Asset != "" || l.Sender != "" || l.Payee != "" || l.Hold != legs[n].Legs[i].Hold {
					return "", fmt.Errorf("the public list of %s shows more than its log", n.land)
				}
			}
		}
		words := ""
		for _, pair := range [][2]*nation{{s.aurelia, s.borealis}, {s.aurelia, s.cordelia}, {s.borealis, s.cordelia}} {
			var got struct {
				Matched     int
				Differences []any
			}
			if err := s.command(&got, "oversight", "reconcile", file(pair[0], false), file(pair[1], true)); err != nil {
				return "", err
			}
			words += fmt.Sprintf("%s and %s: %s matched, %s\n", pair[0].land, pair[1].land, count(got.Matched, "leg"), count(len(got.Differences), "difference"))
			if pair[1] == s.borealis && got.Matched == 0 {
				return "", errors.New("no leg was matched")
			}
		}
		return words, nil
	})
	if err != nil {
		return err
	}
	return s.step("a list in which one outcome was changed does not reconcile", func() (string, error) {
		x := *legs[s.borealis].Public()
		changed := false
		for i := range x.Legs {
			if l := &x.Legs[i]; !changed && l.Role == oversight.Decider && l.State == oversight.Posted {
				l.State, l.Named, changed = oversight.Voided, nil, true
			}
		}
		if !changed {
			return "", errors.New("nothing was decided on Borealis")
		}
		text, err := x.Marshal()
		if err != nil {
			return "", err
		}
		path, err := s.write("changed.legs", string(text))
		if err != nil {
			return "", err
		}
		return s.refused("two offices whose lists differ", "command", s.command(&struct{}{}, "oversight", "reconcile", file(s.aurelia, false), path), string(oversight.OutcomesDiffer))
	})
}
