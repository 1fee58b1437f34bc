package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// stock is a row of `comity bridge inventory --json`.
type stock struct {
	Ledger, Stock, Promised, Waiting, Incoming, Paid, Received string
}

// inventory asks a running provider what it owns and owes on a ledger.
func (s *story) inventory(name string, n *nation) (stock, error) {
	var out struct{ Inventory []stock }
	if err := s.command(&out, "bridge", "inventory", "--data", s.file(name)); err != nil {
		return stock{}, err
	}
	for _, row := range out.Inventory {
		if row.Ledger == n.land {
			return row, nil
		}
	}
	return stock{}, fmt.Errorf("%s has no row for %s", name, n.land)
}

// decided tells how a hold of a ledger was decided: 0 while it is open.
func (n *nation) decided(text string) (entry.Outcome, uint64, error) {
	_, done, err := n.client.Hold(n.s.ctx, hold(text))
	if err != nil || done == nil {
		return 0, 0, err
	}
	return done.Outcome, done.Entry, nil
}

// relayerKilled kills the relayer between the two halves of a payment, and the provider as well.
func (s *story) relayerKilled() error {
	s.chapter("A relayer is killed half-way, and the provider too")
	c := crossing{id: "ambulances", from: s.aurelia, to: s.borealis, payer: ministry, payee: hospital, amount: 10_000 * bor, providers: []string{meridian}}
	type result struct {
		payment
		err error
	}
	paying := make(chan result, 1)
	had, _, err := s.funds(hospital, 0)
	if err != nil {
		return err
	}
	var waits entry.HoldID // of the payer, in Aurelia
	var deciding entry.HoldID
	err = s.step("SIGKILL, once Borealis decided and before Aurelia knew", func() (string, error) {
		dead := make(chan struct{})
		kill := func() { // the relayer waits for the answer to what it sent, and stands still meanwhile: it follows the logs as well
			if s.relayer.ended() {
				return
			}
			_ = s.relayer.cmd.Process.Signal(syscall.SIGSTOP)
			there, err := s.borealis.client.Holds(s.ctx)
			here, err2 := s.aurelia.client.Holds(s.ctx)
			if err != nil || err2 != nil || len(there) > 0 || len(here) == 0 { // not decided, or the answer was to an observation
				_ = s.relayer.cmd.Process.Signal(syscall.SIGCONT)
				return
			}
			s.relayer.kill()
			s.providers[meridian].kill()
			close(dead)
		}
		s.tap.before.Store(&kill)
		go func() {
			p, err := s.cross(c, agree, "--relay=false")
			paying <- result{p, err}
		}()
		select {
		case <-dead:
		case r := <-paying:
			return "", fmt.Errorf("the payment ended before the kill: %s: %w", r.Status, r.err)
		case <-time.After(relayWait):
			return "", errors.New("the relayer relays nothing")
		case <-s.ctx.Done():
			return "", s.ctx.Err()
		}
		open, err := s.aurelia.client.Holds(s.ctx)
		if err != nil {
			return "", err
		}
		if len(open) != 1 {
			return "", fmt.Errorf("%d holds are open in Aurelia, want the payer's", len(open))
		}
		condition, err := open[0].Condition.Decode()
		if err != nil {
			return "", err
		}
		there, ok := condition.(*entry.DecidedThere)
		if !ok {
			return "", errors.New("the open hold in Aurelia is decided there")
		}
		waits, deciding = open[0].ID, there.Hold
		outcome, at, err := s.borealis.decided(deciding.String())
		if err != nil || outcome != entry.Posted {
			return "", fmt.Errorf("on Borealis: %s: %w", outcome, err)
		}
		return fmt.Sprintf("Borealis: posted by entry %d, the supplier is paid\nAurelia: hold %s still waits\nrelayer pid %d died before it heard the answer, provider pid %d with it", at, waits,
			s.relayer.cmd.Process.Pid, s.providers[meridian].cmd.Process.Pid), nil
	})
	if err != nil {
		return err
	}
	err = s.step("another relayer finishes, from the logs alone", func() (string, error) {
		args := []string{"bridge", "relay", "--once"}
		for _, n := range s.nations() {
			args = append(args, "--ledger", n.named())
		}
		if err := s.command(nil, args...); err != nil {
			return "", err
		}
		var r result
		select {
		case r = <-paying:
		case <-time.After(relayWait):
			return "", errors.New("the payer waits for ever")
		}
		if r.err != nil || hold(r.Deciding) != deciding || hold(r.Hold) != waits {
			return "", fmt.Errorf("the payment is %s: %w", r.Status, r.err)
		}
		outcome, at, err := s.aurelia.decided(r.Hold)
		if err != nil || outcome != entry.Posted {
			return "", fmt.Errorf("on Aurelia: %s: %w", outcome, err)
		}
		now, _, err := s.funds(hospital, 0)
		if err == nil && now != had+c.amount {
			err = fmt.Errorf("the supplier has %s", s.borealis.money(now))
		}
		return fmt.Sprintf("Aurelia: posted by entry %d; the supplier has %s more, paid once", at, s.borealis.money(now-had)), err
	})
	if err != nil {
		return err
	}
	return s.step("the provider comes back and finds its money", func() (string, error) {
		if err := s.startProvider(meridian); err != nil {
			return "", err
		}
		var received, paid zk.Amount
		for _, x := range s.crossings {
			received, paid = received+minor(x.Pays), paid+minor(x.Gets)
		}
		err := s.waitFor("the provider's money", func(context.Context) (bool, error) {
			here, err := s.inventory(meridian, s.aurelia)
			if err != nil {
				return false, err
			}
			there, err := s.inventory(meridian, s.borealis)
			return err == nil && minor(here.Stock) == received && minor(there.Stock) == liquidity*bor-paid && minor(there.Waiting) == 0, err
		})
		return fmt.Sprintf("its journal and the logs say: %s received in Aurelia for %s paid in Borealis, nothing open", s.aurelia.money(received), s.borealis.money(paid)), err
	})
}

// shortHolds are how long a provider's money waits, in seconds, where the story waits for the end of it. On a machine that is too busy for the
// first the payer refuses it by name, and the second is taken.
var shortHolds = []int{16, 45}

// vanished is what a payment that nobody relays is compared with when it has returned.
type vanished struct {
	payment
	owned zk.Amount // by the payer, before
	stock zk.Amount // of the provider on the payee's ledger, before
}

// parties makes payers, providers and relayers disappear.
func (s *story) parties() error {
	s.chapter("The payer leaves, nobody relays; a provider vanishes")
	c := crossing{id: "tents", from: s.aurelia, to: s.borealis, payer: ministry, payee: hospital, amount: 6_000 * bor, providers: []string{meridian}}
	err := s.step("money is locked on both sides, and everybody is gone", func() (string, error) {
		m := s.providers[meridian]
		var err error
		if s.unrelayed.owned, _, err = s.funds(ministry, 0); err != nil {
			return "", err
		}
		row, err := s.inventory(meridian, s.borealis)
		if err != nil {
			return "", err
		}
		s.unrelayed.stock = minor(row.Stock)
		for i, seconds := range shortHolds {
			if err := s.setRates(m.rates, s.ratesOf(meridian, seconds)); err != nil {
				return "", err
			}
			err := s.waitFor("a quote with a short hold", func(context.Context) (bool, error) {
				var asked struct{ Offers []offer }
				err := s.command(&asked, append([]string{"bridge", "quote"}, s.route(c)...)...)
				return err == nil && len(asked.Offers) == 1 && asked.Offers[0].Problem == "" && asked.Offers[0].Hold == uint64(seconds), err
			})
			if err != nil {
				return "", err
			}
			s.unrelayed.payment, err = s.cross(c, agree, "--no-wait", "--relay=false")
			if _, name := cli.CodeOf(err); name == "expiry_too_near" && i == 0 {
				c.id += "-again"
				continue
			}
			if err != nil {
				return "", err
			}
			break
		}
		words := ""
		for n, id := range map[*nation]string{s.aurelia: s.unrelayed.Hold, s.borealis: s.unrelayed.Deciding} {
			if outcome, _, err := n.decided(id); err != nil || outcome != 0 {
				return "", fmt.Errorf("hold %s of %s is not open: %s, %w", id, n.land, outcome, err)
			}
		}
		words += fmt.Sprintf("%s wait in Aurelia, %s in Borealis, until %s; the payer has left and no relayer runs", s.aurelia.money(minor(s.unrelayed.Pays)), s.borealis.money(minor(s.unrelayed.Gets)),
			s.unrelayed.Until)
		return words, s.setRates(m.rates, s.ratesOf(meridian, holdSeconds))
	})
	if err != nil {
		return err
	}
	return s.step("a provider is killed between its quote and the approval", func() (string, error) {
		owned, held, err := s.funds(ministry, 0)
		if err != nil {
			return "", err
		}
		c := crossing{id: "blankets", from: s.aurelia, to: s.borealis, payer: ministry, payee: hospital, amount: 2_000 * bor, providers: []string{straits}}
		_, err = s.cross(c, func(string) error { s.providers[straits].kill(); return nil }, "--deadline", "3s")
		words, err := s.refused("a payment whose provider vanished after its quote", "payer's wallet", err, "deadline_passed")
		if err != nil {
			return "", err
		}
		nowOwned, nowHeld, err := s.funds(ministry, 0)
		if err == nil && (nowOwned != owned || nowHeld != held) {
			err = fmt.Errorf("the ministry owns %s and holds %s", s.aurelia.money(nowOwned), s.aurelia.money(nowHeld))
		}
		return words + "\nnot a crown of it was locked", err
	})
}

// returned waits for the end of the payment that nobody relayed: both sides are back.
func (s *story) returned() error {
	s.chapter("Its time is over: the payment that nobody relayed returns")
	err := s.step("the hold in Borealis expires", func() (string, error) {
		until, err := time.Parse(time.RFC3339, s.unrelayed.Until)
		if err != nil {
			return "", err
		}
		rest := time.Until(until)
		select {
		case <-time.After(rest):
		case <-s.ctx.Done():
			return "", s.ctx.Err()
		}
		outcome, _, err := s.aurelia.decided(s.unrelayed.Hold)
		if err == nil && outcome != 0 {
			err = fmt.Errorf("the hold in Aurelia is %s by itself", outcome)
		}
		return fmt.Sprintf("waited %.1f s; the hold in Aurelia knows no clock: it waits for Borealis' word", max(0, rest.Seconds())), err
	})
	if err != nil {
		return err
	}
	return s.step("a relayer comes, and both sides have their money back", func() (string, error) {
		var err error
		if s.relayer, err = s.startRelayer("relayer-2", nil); err != nil {
			return "", err
		}
		words := ""
		for _, side := range []struct {
			n    *nation
			hold string
		}{{s.borealis, s.unrelayed.Deciding}, {s.aurelia, s.unrelayed.Hold}} {
			err := s.waitFor("the return in "+side.n.land, func(context.Context) (bool, error) {
				outcome, at, err := side.n.decided(side.hold)
				if outcome == entry.Posted {
					return false, errors.New("it was posted")
				}
				if outcome == entry.Voided {
					words += fmt.Sprintf("%s: voided by entry %d\n", side.n.land, at)
				}
				return outcome == entry.Voided, err
			})
			if err != nil {
				return "", err
			}
		}
		told, err := s.refused("a payment that nobody relayed in time", "payer's wallet", s.command(&s.unrelayed.payment, "bridge", "status", s.unrelayed.ID, "--wallet", s.file(ministry),
			"--ledger", s.aurelia.url(), "--passphrase-file", s.secret), "payment_returned")
		if err != nil {
			return "", err
		}
		for i := range s.crossings {
			if s.crossings[i].ID == s.unrelayed.ID {
				s.crossings[i] = s.unrelayed.payment
			}
		}
		owned, held, err := s.funds(ministry, 0)
		if err == nil && (owned != s.unrelayed.owned || held != 0) {
			err = fmt.Errorf("the ministry owns %s and holds %s", s.aurelia.money(owned), s.aurelia.money(held))
		}
		if err != nil {
			return "", err
		}
		err = s.waitFor("the provider's return", func(context.Context) (bool, error) {
			row, err := s.inventory(meridian, s.borealis)
			return err == nil && minor(row.Stock) == s.unrelayed.stock && minor(row.Waiting) == 0, err
		})
		return words + fmt.Sprintf("ministry: %s, as before\nprovider: %s, as before\nstatus: %s", s.aurelia.money(owned), s.borealis.money(s.unrelayed.stock), told), err
	})
}

// vehicle pays over the currency of a third ledger.
func (s *story) vehicle() error {
	s.chapter("AUR to COR to BOR: over Cordelia's currency, decided by one ledger")
	c := crossing{id: "vaccines", from: s.aurelia, via: s.cordelia, to: s.borealis, payer: ministry, payee: hospital, amount: 4_000 * bor, providers: []string{meridian, straits}}
	var paid payment
	err := s.step("one provider sells COR for AUR, the other BOR for COR", func() (string, error) {
		if err := s.startProvider(straits); err != nil {
			return "", err
		}
		had, _, err := s.funds(hospital, 0)
		if err != nil {
			return "", err
		}
		var asked struct{ Offers []offer }
		err = s.waitFor("quotes of both hops", func(context.Context) (bool, error) {
			asked.Offers = nil
			err := s.command(&asked, append([]string{"bridge", "quote"}, s.route(c)...)...)
			return err == nil, err
		})
		if err != nil {
			return "", err
		}
		question := ""
		if paid, err = s.cross(c, func(q string) error { question = q; return nil }); err != nil {
			return "", err
		}
		now, _, err := s.funds(hospital, 0)
		if err == nil && now != had+c.amount {
			err = fmt.Errorf("the supplier has %s", s.borealis.money(now))
		}
		return fmt.Sprintf("asked: %s\nby %s; the supplier has %s more", question, strings.Join(paid.Provider, " and "), s.borealis.money(now-had)), err
	})
	if err != nil {
		return err
	}
	return s.step("one entry in Borealis decided on all three ledgers", func() (string, error) {
		_, at, err := s.borealis.decided(paid.Deciding)
		if err != nil {
			return "", err
		}
		leaf, err := s.borealis.client.Entry(s.ctx, at)
		if err != nil {
			return "", err
		}
		decoded, err := entry.Decode(leaf)
		if err != nil {
			return "", err
		}
		r, ok := decoded.(*entry.Resolve)
		if !ok || r.Outcome != entry.Posted || len(r.Named) != 2 {
			return "", fmt.Errorf("entry %d of Borealis decides otherwise: %+v", at, decoded)
		}
		words := fmt.Sprintf("borealis: entry %d pays the supplier and names two holds\n", at)
		for _, named := range r.Named {
			for _, n := range s.nations() {
				if n.genesis.Hash() != named.Ledger {
					continue
				}
				err := s.waitFor("the posting in "+n.land, func(context.Context) (bool, error) {
					outcome, at, err := n.decided(named.Hold.String())
					if outcome == entry.Posted {
						words += fmt.Sprintf("%s: entry %d posts hold %s\n", n.land, at, named.Hold)
					}
					return outcome == entry.Posted, err
				})
				if err != nil {
					return "", err
				}
			}
		}
		return words, nil
	})
}
