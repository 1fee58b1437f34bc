package demo

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/comity-ledger/comity/cmd/internal/cli"
)

// Ledger is where one ledger stands at the end.
type Ledger struct {
	Name         string `json:"name"`
	Genesis      string `json:"genesis"`
	Asset        string `json:"asset"`
	Issued       string `json:"issued"` // minor units, counted by the audit office, as the three that follow
	Redeemed     string `json:"redeemed"`
	Unspent      string `json:"unspent"`
	Held         string `json:"held"` // in open holds
	Transactions int    `json:"transactions"`
	Payments     int    `json:"payments"`
	Checkpoint   any    `json:"checkpoint"`
}

// finish counts the money of every ledger and reads its last checkpoint.
func (s *story) finish() error {
	s.chapter("Where the ledgers stand")
	err := s.step("each audit office counts the money of its own ledger", func() (string, error) {
		s.ledgers = make([]Ledger, len(s.nations()))
		var jobs []func() error
		for i, n := range s.nations() {
			jobs = append(jobs, func() (err error) {
				s.ledgers[i], err = n.account()
				return err
			})
		}
		if err := both(jobs...); err != nil {
			return "", err
		}
		words := ""
		s.transactions, s.payments = 0, 0
		for i, n := range s.nations() {
			l := &s.ledgers[i]
			s.transactions += l.Transactions
			s.payments += l.Payments
			issued, out := minor(l.Issued), minor(l.Redeemed)+minor(l.Unspent)+minor(l.Held)
			if issued != out || issued == 0 {
				return "", fmt.Errorf("%s: issued %s, found %s", n.land, n.money(issued), n.money(out))
			}
			plain := func(text string) string { return cli.Money(minor(text), n.decimals, "") }
			words += fmt.Sprintf("%-9s %s issued and conserved\n          = %s unspent + %s redeemed + %s held\n", n.land, n.money(issued), plain(l.Unspent), plain(l.Redeemed), plain(l.Held))
		}
		return words, nil
	})
	if err != nil {
		return err
	}
	return s.step("final checkpoints, cosigned by both foreign witnesses", func() (string, error) {
		words := ""
		for i, n := range s.nations() {
			if _, err := n.final(); err != nil {
				return "", err
			}
			raw, err := n.client.Checkpoint(s.ctx)
			if err != nil {
				return "", err
			}
			text := strings.SplitN(string(raw), "\n", 4)
			if len(text) < 4 {
				return "", errors.New("the checkpoint is no signed note")
			}
			s.ledgers[i].Checkpoint = map[string]any{"origin": text[0], "size": text[1], "root": text[2], "sha256": fmt.Sprintf("%x", sha256.Sum256(raw))}
			words += fmt.Sprintf("%-9s %s entries, root %s\n", n.land, text[1], text[2])
		}
		return words, nil
	})
}

// account is what the audit office counts on its own ledger.
func (n *nation) account() (Ledger, error) {
	s := n.s
	var supply struct {
		Assets []struct {
			Asset, Issued, Redeemed, Unspent, Held string
		}
		Mismatches []any
	}
	var books report
	key := []string{"--ledger", n.url(), "--genesis", n.genesis.Hash().String(), "--key", n.oversightKey, "--passphrase-file", s.secret}
	if err := s.command(&supply, append([]string{"oversight", "supply"}, key...)...); err != nil {
		return Ledger{}, err
	}
	if err := s.command(&books, append([]string{"oversight", "report", "--by", "asset"}, key...)...); err != nil {
		return Ledger{}, err
	}
	if len(supply.Assets) != 1 || len(supply.Mismatches) != 0 || len(books.Mismatches) != 0 {
		return Ledger{}, fmt.Errorf("%s: %d currencies, %d mismatches", n.land, len(supply.Assets), len(supply.Mismatches)+len(books.Mismatches))
	}
	a := supply.Assets[0]
	return Ledger{Name: n.name, Genesis: n.genesis.Hash().String(), Asset: n.code, Issued: a.Issued, Redeemed: a.Redeemed, Unspent: a.Unspent, Held: a.Held,
		Transactions: books.Transactions, Payments: books.Payments}, nil
}
