package demo

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets/client"
	"github.com/comity-ledger/comity/zk"
)

// Wallets of those who pay across borders. A provider has one on each ledger: its name and the land's.
const (
	ministry = "ministry"    // of health, in Aurelia
	agency   = "aid-agency"  // in Aurelia
	hospital = "hospital"    // supplier, in Borealis
	harbour  = "port-office" // in Cordelia
	meridian = "meridian"    // providers
	straits  = "straits"

	bor = 1000 // minor units to the crown of Borealis
	cor = 100  // to the crown of Cordelia
)

// provider is a liquidity provider: a process with a wallet on every ledger.
type provider struct {
	name, rates string // rates: its file
	url         string
	*process
}

// rates of the two providers. The first two lines sell the same, at different spreads.
func (s *story) ratesOf(name string, holdSeconds int) string {
	lines := map[string][]string{
		meridian: {"aurelia/AUR,borealis/BOR,2,1,50,1.000,200000.000", "aurelia/AUR,cordelia/COR,8,5,30,1.00,100000.00"},
		straits:  {"aurelia/AUR,borealis/BOR,2,1,80,1.000,200000.000", "cordelia/COR,borealis/BOR,5,4,40,1.000,200000.000"},
	}[name]
	var out strings.Builder
	for _, line := range lines {
		fmt.Fprintf(&out, "%s,%d,30\n", line, holdSeconds)
	}
	return out.String()
}

// liquidity is what each provider is given in Borealis, in crowns.
const liquidity = 150_000

// holdSeconds is how long a provider's money waits for a decision.
const holdSeconds = 60

// join founds two more nations and opens every corridor.
func (s *story) join() error {
	s.chapter("Borealis and Cordelia join: three ledgers, each watched by the other two")
	err := s.step("two nations are founded, with keys and a currency each", func() (string, error) {
		if err := both(s.borealis.found, s.cordelia.found); err != nil {
			return "", err
		}
		return fmt.Sprintf("Borealis (BOR, %d decimals), genesis %s\nCordelia (COR, %d decimals), genesis %s", s.borealis.decimals, s.borealis.genesis.Hash(), s.cordelia.decimals,
			s.cordelia.genesis.Hash()), nil
	})
	if err != nil {
		return err
	}
	err = s.step("their ledgers and four more validating witnesses run", func() (string, error) {
		if err := both(s.borealis.run, s.cordelia.run); err != nil {
			return "", err
		}
		return fmt.Sprintf("%d processes now; a checkpoint is final when both foreign witnesses of a log have replayed and cosigned it", s.children.running()), nil
	})
	if err != nil {
		return err
	}
	if err := s.step("wallets, and money for those who provide liquidity", s.endow); err != nil {
		return err
	}
	if err := s.corridors(); err != nil {
		return err
	}
	return s.step("two providers and a relayer start; corridors are observed", func() (string, error) {
		err := both(func() error { return s.startProvider(meridian) }, func() error { return s.startProvider(straits) }, func() (err error) {
			if s.tap, err = newTap(s.borealis.url()); err != nil {
				return err
			}
			s.relayer, err = s.startRelayer("relayer-1", s.tap)
			return err
		})
		if err != nil {
			return "", err
		}
		open := 0
		err = s.waitFor("the opening of every corridor", func(ctx context.Context) (bool, error) {
			open = 0
			for _, n := range s.nations() {
				list, err := n.client.Corridors(ctx)
				if err != nil {
					return false, err
				}
				for _, c := range list {
					if c.State == client.CorridorActive {
						open++
					}
				}
			}
			return open == 6, nil
		})
		return fmt.Sprintf("Meridian and Straits have a wallet on each ledger, the relayer has nothing; %d corridors are active", open), err
	})
}

// endow makes the wallets, registers them, and has the treasuries issue money.
func (s *story) endow() (string, error) {
	unlimited := ^zk.Amount(0)
	for _, n := range s.nations() {
		var owners []entry.Registration
		for _, name := range map[*nation][]string{s.aurelia: {ministry, agency}, s.borealis: {hospital}, s.cordelia: {harbour}}[n] {
			a, err := n.wallet(name)
			if err != nil {
				return "", err
			}
			owners = append(owners, entry.Registration{Owner: a.address.Owner, Limit: 1_000_000 * crowns})
		}
		for _, name := range []string{meridian, straits} {
			a, err := n.wallet(name + "-" + n.land)
			if err != nil {
				return "", err
			}
			owners = append(owners, entry.Registration{Owner: a.address.Owner, Limit: unlimited})
		}
		if err := n.register(owners...); err != nil {
			return "", err
		}
	}
	// One payment to two payees: one proof.
	lines := []string{"L-1," + s.wallets[ministry].address.String() + ",300000.00,0,health budget", "L-2," + s.wallets[agency].address.String() + ",100000.00,0,building budget"}
	if err := s.payList(treasury, "budgets", lines); err != nil {
		return "", err
	}
	stock := []struct {
		n      *nation
		wallet string
		amount zk.Amount
	}{
		{s.borealis, meridian, liquidity * bor}, {s.borealis, straits, liquidity * bor}, {s.cordelia, meridian, 80_000 * cor},
	}
	words := "the treasury of Aurelia gives its ministry 300,000.00 AUR and an aid agency 100,000.00 AUR"
	for _, x := range stock {
		a := s.wallets[x.wallet+"-"+x.n.land]
		if _, err := x.n.issue(a, 0, x.amount); err != nil {
			return "", err
		}
		words += fmt.Sprintf("\n%s is issued to %s under two signatures", x.n.money(x.amount), x.wallet)
	}
	for _, n := range s.nations() {
		s.closed(meridian+"-"+n.land, straits+"-"+n.land)
	}
	s.closed(ministry, agency, hospital, harbour) // commands open them from here on
	return words, nil
}

// corridors opens every corridor under the signatures of both sides.
func (s *story) corridors() error {
	lint := struct {
		Colluding int      `json:"smallest_colluding_set"`
		Operators []string `json:"smallest_colluding_operators"`
		Warnings  []string
	}{}
	file := func(on, peer *nation) string { return s.file(on.land + "-to-" + peer.land + ".json") }
	err := s.step("corridor terms are written, and linted before anybody signs", func() (string, error) {
		var jobs []func() error
		for _, on := range s.nations() {
			for _, peer := range s.nations() {
				if on != peer {
					jobs = append(jobs, func() error {
						return s.command(nil, "corridor", "terms", "--peer-genesis", peer.genesisFile(), "--peer", peer.genesis.Hash().String(), "--own-witness", peer.own(on).name,
							"--cap", "200000000", "--classes", "1000000,10000000,50000000", "--out", file(on, peer))
					})
				}
			}
		}
		if err := both(jobs...); err != nil {
			return "", err
		}
		for _, on := range s.nations() {
			for _, peer := range s.nations() {
				if on == peer {
					continue
				}
				if err := s.command(&lint, "corridor", "lint", file(on, peer)); err != nil {
					return "", err
				}
				if len(lint.Warnings) != 0 || lint.Colluding < 2 {
					return "", fmt.Errorf("%s: %d colluding witnesses suffice; %v", file(on, peer), lint.Colluding, lint.Warnings)
				}
			}
		}
		words := fmt.Sprintf("%d corridors: the smallest set of witnesses that could show two histories is %d, one of them our own", len(jobs), lint.Colluding)
		weak := file(s.aurelia, s.borealis)
		if err := s.replace(weak, "weak.json", `"faulty": 1`, `"faulty": 2`); err != nil {
			return "", err
		}
		refused, err := s.refused("terms that two faulty witnesses would defeat", "command", s.command(&lint, "corridor", "lint", s.file("weak.json")), string(entry.CorridorInvalid))
		return words + "\nterms that two faulty witnesses would defeat: " + refused, err
	})
	if err != nil {
		return err
	}
	return s.step("six corridors are opened, two signatures on every side", func() (string, error) {
		var jobs []func() error
		for _, on := range s.nations() {
			jobs = append(jobs, func() error {
				for _, peer := range s.nations() {
					if on == peer {
						continue
					}
					out := file(on, peer) + ".proposal"
					if err := s.command(nil, "corridor", "add", "--ledger", on.url(), "--genesis", on.genesis.Hash().String(), "--file", file(on, peer), "--expires-in", "1m", "--out", out); err != nil {
						return err
					}
					if _, err := on.signFile(out); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err := both(jobs...); err != nil {
			return "", err
		}
		list, err := s.aurelia.client.Corridors(s.ctx)
		if err != nil {
			return "", err
		}
		words := ""
		for _, c := range list {
			words += fmt.Sprintf("Aurelia to %s: at most %s in flight, %d of %d witnesses must cosign\n", strings.Split(c.Terms.Name, ",")[0], s.aurelia.money(zk.Amount(c.Terms.Cap)), c.Terms.Quorum,
				len(c.Terms.Witnesses))
		}
		return words, nil
	})
}

// startProvider starts a provider with its wallets on every ledger.
func (s *story) startProvider(name string) error {
	p := &provider{name: strings.ToUpper(name[:1]) + name[1:], rates: s.file(name + ".rates")}
	if err := s.setRates(p.rates, s.ratesOf(name, holdSeconds)); err != nil {
		return err
	}
	args := []string{"bridge", "provider", "--data", s.file(name), "--name", p.name, "--rates", p.rates, "--rates-every", "200ms", "--listen", "127.0.0.1:0", "--passphrase-file", s.secret}
	for _, n := range s.nations() {
		args = append(args, "--ledger", n.named()+",wallet="+s.file(name+"-"+n.land))
	}
	var err error
	p.process, p.url, err = s.start(name, args...)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.providers[name] = p
	return err
}

// startRelayer starts a relayer between all ledgers. It reaches Borealis through a tap, if there is one.
func (s *story) startRelayer(name string, t *tap) (*process, error) {
	args := []string{"bridge", "relay", "--json"}
	for _, n := range s.nations() {
		address := n.named()
		if n == s.borealis && t != nil {
			address = n.land + "=" + t.url
		}
		args = append(args, "--ledger", address)
	}
	p, _, err := s.start(name, args...)
	return p, err
}

// relayWait is how long the story waits for what relayers do.
const relayWait = 60 * time.Second
