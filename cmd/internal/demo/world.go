package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/wallets/session"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

// The world of the story. Amounts are minor units: 100 to the crown of Aurelia.
const (
	crowns    = 100
	programme = zk.ProgrammeID(7)

	treasury    = "treasury"
	northBank   = "north-bank"
	harbourBank = "harbour-bank"
	supplier    = "supplier"
	vendor      = "vendor"
	family      = "family" // one beneficiary of the programme that spends

	// passphrase opens every key file of the demo. It is stretched by 2^workFactor, far less than a real one: the folder is thrown away.
	passphrase = "a passphrase for a demo"
	workFactor = 10
)

// world is who takes part and what is known of the ledgers.
type world struct {
	aurelia, borealis, cordelia *nation
	secret                      string // passphrase file of every key file of the demo
	wallets                     map[string]*actor
	prover                      wallets.Prover

	readerKey     string // key file
	beneficiaries []keys.Wallet
	csv           string
	invoice       *wallets.Order // the payment whose receipt is verified

	totals any
}

func (w *world) nations() []*nation { return []*nation{w.aurelia, w.borealis, w.cordelia} }

// found makes every key, the genesis and the processes of the first nation.
func (s *story) found() error {
	s.chapter("A ledger and its witnesses")
	n := s.aurelia
	err := s.step("keys of three signers, two witnesses and the audit office", func() (string, error) {
		var err error
		if s.secret, err = s.write("passphrase", passphrase+"\n"); err != nil {
			return "", err
		}
		s.readerKey = s.file("donor.key")
		if err := n.found(); err != nil {
			return "", err
		}
		return "genesis " + n.genesis.Hash().String(), nil
	})
	if err != nil {
		return err
	}
	err = s.step("the ledger of Aurelia and its validating witnesses run", func() (string, error) {
		if err := n.run(); err != nil {
			return "", err
		}
		return fmt.Sprintf("processes of their own: ledger pid %d at %s, witness pid %d run by Borealis, witness pid %d run by Cordelia; nothing is final without both",
			n.ledger.cmd.Process.Pid, n.url(), n.own(s.borealis).cmd.Process.Pid, n.own(s.cordelia).cmd.Process.Pid), nil
	})
	if err != nil {
		return err
	}
	return s.step("wallets: treasury, two banks, a supplier, a vendor, a family", func() (string, error) {
		for _, name := range []string{treasury, northBank, harbourBank, supplier, vendor, family} {
			if _, err := n.wallet(name); err != nil {
				return "", err
			}
		}
		return fmt.Sprintf("the treasury's address is %s", s.wallets[treasury].address), nil
	})
}

// newBeneficiaries derives wallets' addresses for the disbursement file. The keys are kept, to count what each was paid.
func (s *story) newBeneficiaries(n int) error {
	for range n {
		seed, err := keys.NewSeed(rand.Reader)
		if err != nil {
			return err
		}
		ask, err := zk.NewScalar(rand.Reader)
		if err != nil {
			return err
		}
		k, err := keys.Derive(seed, ask, s.aurelia.genesis.Hash())
		if err != nil {
			return err
		}
		s.beneficiaries = append(s.beneficiaries, k)
	}
	return nil
}

// order is an order for a payment.
func (s *story) order(id, to string, amount zk.Amount, p zk.ProgrammeID, reference string) *wallets.Order {
	return &wallets.Order{ID: id, To: s.wallets[to].address.String(), Asset: asset, Amount: amount, Programme: p, Reference: reference, CreatedMillis: uint64(time.Now().UnixMilli())}
}

// transfer pays from one wallet to another and counts it.
func (s *story) transfer(from, to string, amount zk.Amount, p zk.ProgrammeID, reference string) (session.Result, error) {
	r, err := s.wallets[from].Pay(s.ctx, s.order("demo/"+from+"/"+to+"/"+reference, to, amount, p, reference), 0, nil)
	if err == nil {
		s.transactions++
		s.payments++
	}
	return r, err
}

func money(a zk.Amount) string { return cli.Money(a, 2, "AUR") }

// balance is what a wallet holds of a programme, after reading the ledger.
func (s *story) balance(name string, p zk.ProgrammeID) (zk.Amount, error) {
	owned, _, err := s.funds(name, p)
	return owned, err
}

// expect compares a balance.
func (s *story) expect(name string, p zk.ProgrammeID, want zk.Amount) error {
	got, err := s.balance(name, p)
	if err != nil {
		return err
	}
	if got != want {
		n := s.wallets[name].nation
		return fmt.Errorf("%s holds %s of programme %d, want %s", name, n.money(got), p, n.money(want))
	}
	return nil
}

// waitFor repeats a check until it holds or a minute has passed.
func (s *story) waitFor(what string, check func(context.Context) (bool, error)) error {
	deadline := time.Now().Add(time.Minute)
	for {
		ok, err := check(s.ctx)
		if ok {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("%s did not happen in a minute", what), err)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
}

// payList pays a list of lines, which fit one proof, from an open wallet.
func (s *story) payList(from, id string, lines []string) error {
	w := s.wallets[from]
	if err := w.Sync(s.ctx, nil); err != nil {
		return err
	}
	row, _ := w.Genesis.Asset(asset)
	file := strings.Join(append([]string{strings.Join(wallets.Columns, ",")}, lines...), "\n") + "\n"
	d, err := wallets.ParseDisbursement([]byte(file), row, wallets.Book{Genesis: w.Genesis, Ledger: wallets.LedgerPrefix(w.Genesis.Hash()), Rights: w.State().Rights()})
	if err != nil {
		return err
	}
	order, _, err := w.BeginDisbursement(id, d)
	if err != nil {
		return err
	}
	return w.Disburse(s.ctx, order, nil, nil)
}
