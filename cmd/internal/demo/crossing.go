package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/comity-ledger/comity/cmd/internal/bridgecmd"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// payment is what `comity bridge pay --json` prints.
type payment struct {
	ID       string   `json:"payment_id"`
	Status   string   `json:"status"`
	Stage    string   `json:"stage"`
	Reason   string   `json:"reason,omitempty"`
	Pays     string   `json:"pays"` // minor units
	PaysIn   string   `json:"pays_asset"`
	Gets     string   `json:"gets"`
	GetsIn   string   `json:"gets_asset"`
	Provider []string `json:"providers,omitempty"`
	Hold     string   `json:"hold,omitempty"`
	Deciding string   `json:"deciding_hold,omitempty"`
	Until    string   `json:"until,omitempty"`
}

// offer is a row of `comity bridge quote --json`.
type offer struct {
	Provider, Pays, Gets, Rate, Spread, Problem string
	SpreadBP                                    uint16 `json:"spread_bp"`
	Hold                                        uint64 `json:"hold_seconds"`
}

// crossing is a payment from one ledger to another that the story makes.
type crossing struct {
	id        string
	from, to  *nation
	via       *nation
	payer     string // wallets
	payee     string
	amount    zk.Amount // what the payee gets
	providers []string
}

// minor reads minor units of a command's JSON.
func minor(text string) zk.Amount {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0
	}
	return zk.Amount(n)
}

// route are the flags that say from where to where.
func (s *story) route(c crossing) []string {
	args := []string{"--ledger", c.from.named(), "--to-ledger", c.to.named(), "--to", s.wallets[c.payee].address.String(), "--amount", c.amount.Format(c.to.decimals)}
	if c.via != nil {
		args = append(args, "--via", c.via.named())
	}
	for _, name := range c.providers {
		args = append(args, "--provider", s.providers[name].url)
	}
	return args
}

// approval answers the question of a command when it is asked.
type approval struct {
	mu     sync.Mutex // guards what follows
	seen   bytes.Buffer
	asked  bool
	answer func(question string) error
	to     *io.PipeWriter
}

// Write implements io.Writer: it is told what the command says to people.
func (a *approval) Write(b []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen.Write(b)
	if text := a.seen.Bytes(); !a.asked && bytes.HasSuffix(text, []byte("[y/N] ")) {
		a.asked = true
		question := string(text[bytes.LastIndexByte(text[:len(text)-1], '\n')+1 : len(text)-len(" [y/N] ")])
		go func() {
			if err := a.answer(question); err != nil {
				_ = a.to.CloseWithError(err) // never fails
				return
			}
			_, _ = io.WriteString(a.to, "y\n") // the command ends with an error of its own if nobody reads
			_ = a.to.Close()
		}()
	}
	return len(b), nil
}

// cross pays, as a person at a terminal does: the price is shown, then approve is asked. An outcome other than paid is an error with its name.
func (s *story) cross(c crossing, approve func(question string) error, more ...string) (payment, error) {
	in, to := io.Pipe()
	defer in.Close()
	args := append([]string{"bridge", "pay", "--wallet", s.file(c.payer), "--payment-id", c.id, "--passphrase-file", s.secret}, s.route(c)...)
	var p payment
	err := s.inside(&p, in, &approval{answer: approve, to: to}, bridgecmd.Command(), append(args, more...)...)
	if p.ID != "" {
		s.mu.Lock()
		s.crossings = append(s.crossings, p)
		s.mu.Unlock()
	}
	return p, err
}

// agree approves any price.
func agree(string) error { return nil }

// hold reads an id that a command printed.
func hold(text string) entry.HoldID {
	id, err := entry.ParseHoldID(text)
	if err != nil {
		return entry.HoldID{}
	}
	return id
}

// receiptOf fetches the receipt of an entry of a ledger with a command, and has another check it offline.
func (s *story) receiptOf(n *nation, index uint64, name string) error {
	path := s.file(name)
	if err := s.command(nil, "ledger", "receipt", "--ledger", n.url(), "--entry", fmt.Sprint(index), "--out", path); err != nil {
		return err
	}
	return s.command(nil, "verify", "receipt", path, "--genesis-file", n.genesisFile())
}

// payAcross is a payment with a quote.
func (s *story) payAcross() error {
	s.chapter("A ministry in Aurelia pays a hospital supplier in Borealis, in BOR")
	c := crossing{id: "beds-2026", from: s.aurelia, to: s.borealis, payer: ministry, payee: hospital, amount: 24_000 * bor, providers: []string{meridian, straits}}
	var best offer
	err := s.step("two providers quote", func() (string, error) {
		var asked struct{ Offers []offer }
		err := s.waitFor("quotes of both providers", func(ctx context.Context) (bool, error) {
			if err := s.command(&asked, append([]string{"bridge", "quote"}, s.route(c)...)...); err != nil {
				return false, err
			}
			return len(asked.Offers) == 2 && asked.Offers[0].Problem == "" && asked.Offers[1].Problem == "", nil
		})
		if err != nil {
			return "", err
		}
		words := ""
		for _, o := range asked.Offers {
			words += fmt.Sprintf("%-8s %s for %s\n         1 AUR is %s BOR, spread %s (%d.%02d%%)\n", o.Provider, s.aurelia.money(minor(o.Pays)), s.borealis.money(minor(o.Gets)),
				strings.TrimSuffix(strings.TrimRight(o.Rate, "0"), "."), s.aurelia.money(minor(o.Spread)), o.SpreadBP/100, o.SpreadBP%100)
		}
		best = asked.Offers[0]
		if minor(best.Pays) >= minor(asked.Offers[1].Pays) {
			return "", errors.New("the first offer is not the best")
		}
		return words, nil
	})
	if err != nil {
		return err
	}
	before, _, err := s.funds(ministry, 0)
	if err != nil {
		return err
	}
	var paid payment
	question := ""
	err = s.step("the ministry approves the price; it settles on both ledgers", func() (string, error) {
		if paid, err = s.cross(c, func(q string) error { question = q; return nil }); err != nil {
			return "", err
		}
		if paid.Status != "settled" || minor(paid.Pays) > minor(best.Pays) {
			return "", fmt.Errorf("the payment is %s, at %s", paid.Status, paid.Pays)
		}
		return fmt.Sprintf("asked: %s\nBorealis locked the provider's money, Aurelia the ministry's; Borealis decided, Aurelia followed; a relayer carried the proofs", question), nil
	})
	if err != nil {
		return err
	}
	err = s.step("each has its own currency; none left its ledger", func() (string, error) {
		after, held, err := s.funds(ministry, 0)
		if err != nil {
			return "", err
		}
		got, _, err := s.funds(hospital, 0)
		if err != nil {
			return "", err
		}
		if before-after != minor(paid.Pays) || held != 0 || got != c.amount {
			return "", fmt.Errorf("the ministry is %s lighter and holds %s, the supplier has %s", s.aurelia.money(before-after), s.aurelia.money(held), s.borealis.money(got))
		}
		return fmt.Sprintf("the ministry paid %s to the provider, the provider paid %s to the supplier", s.aurelia.money(before-after), s.borealis.money(got)), nil
	})
	if err != nil {
		return err
	}
	return s.step("receipts of both sides, verified offline", func() (string, error) {
		words := ""
		for _, side := range []struct {
			n    *nation
			hold string
			file string
		}{{s.borealis, paid.Deciding, "beds-borealis.receipt"}, {s.aurelia, paid.Hold, "beds-aurelia.receipt"}} {
			_, done, err := side.n.client.Hold(s.ctx, hold(side.hold))
			if err != nil {
				return "", err
			}
			if done == nil || done.Outcome != entry.Posted {
				return "", fmt.Errorf("hold %s of %s is not posted", side.hold, side.n.land)
			}
			if err := s.receiptOf(side.n, done.Entry, side.file); err != nil {
				return "", err
			}
			words += fmt.Sprintf("%s: entry %d posts hold %s\n", side.n.land, done.Entry, side.hold)
		}
		return words + "each with nothing but its ledger's genesis file", nil
	})
}
