package demo

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/zk"
)

// parseHex reads a value that a command printed in hexadecimal.
func parseHex[T any](text string, parse func([]byte) (T, error)) (value T, err error) {
	b, err := hex.DecodeString(text)
	if err != nil {
		return value, err
	}
	return parse(b)
}

// report is what `comity oversight report --json` prints, as far as the story compares it.
type report struct {
	Size         uint64            `json:"size"`
	FinalSize    uint64            `json:"final_size"`
	Transactions int               `json:"transactions"`
	Payments     int               `json:"payments"`
	Opened       int               `json:"opened"`
	Unreadable   int               `json:"unreadable"`
	Mismatches   []json.RawMessage `json:"mismatches"`
	Rows         []row             `json:"rows"`
}

type row struct {
	Key      string `json:"key"`
	Paid     string `json:"paid"`
	Payments int    `json:"payments"`
}

func (r *report) row(key string) row {
	for _, x := range r.Rows {
		if x.Key == key {
			return x
		}
	}
	return row{}
}

// audit lets the audit office and the donor read what their keys allow, on their own machine.
func (s *story) audit() error {
	s.chapter("Oversight: view keys alone, no help from the ledger's operator")
	if err := s.final(); err != nil {
		return err
	}
	key := []string{"--ledger", s.aurelia.url(), "--genesis", s.aurelia.genesis.Hash().String(), "--passphrase-file", s.secret}
	var office report
	err := s.step("the audit office totals every programme", func() (string, error) {
		if err := s.command(&office, append([]string{"oversight", "report", "--by", "programme", "--key", s.aurelia.oversightKey}, key...)...); err != nil {
			return "", err
		}
		if len(office.Mismatches) != 0 || office.Unreadable != 0 || office.Opened == 0 {
			return "", fmt.Errorf("%d legs opened, %d unreadable, %d mismatches", office.Opened, office.Unreadable, len(office.Mismatches))
		}
		if office.Transactions != s.transactions || office.Payments != s.payments {
			return "", fmt.Errorf("the office counts %d transactions and %d payments, the story made %d and %d", office.Transactions, office.Payments, s.transactions, s.payments)
		}
		s.totals = office.Rows
		relief := office.row(fmt.Sprint(uint64(programme)))
		return fmt.Sprintf("%d transactions, %d payments, every commitment recomputed; flood relief: %d payments", office.Transactions, office.Payments, relief.Payments), nil
	})
	if err != nil {
		return err
	}
	err = s.step("it traces one family's money back to its issue", func() (string, error) {
		var trace struct {
			Issues []json.RawMessage `json:"issues"`
			Steps  int               `json:"steps"`
		}
		args := append([]string{"oversight", "trace", "--to", s.wallets[family].address.String(), "--key", s.aurelia.oversightKey}, key...)
		if err := s.command(&trace, args...); err != nil {
			return "", err
		}
		if len(trace.Issues) == 0 {
			return "", errors.New("the trace does not reach an issue")
		}
		return fmt.Sprintf("%d steps from the family to %d issue(s)", trace.Steps, len(trace.Issues)), nil
	})
	if err != nil {
		return err
	}
	err = s.step("it checks the supply without trusting a single proof", func() (string, error) {
		var supply struct {
			Assets []struct{ Issued, Redeemed, Unspent string }
		}
		if err := s.command(&supply, append([]string{"oversight", "supply", "--key", s.aurelia.oversightKey}, key...)...); err != nil {
			return "", err
		}
		want := cli.MinorUnits(zk.Amount(6_000_000 * crowns))
		if len(supply.Assets) != 1 || supply.Assets[0].Issued != want || supply.Assets[0].Unspent != want || supply.Assets[0].Redeemed != "0" {
			return "", fmt.Errorf("supply %+v, want %s issued and unspent", supply.Assets, want)
		}
		return "issued 6,000,000.00, redeemed 0.00, unspent 6,000,000.00", nil
	})
	if err != nil {
		return err
	}
	return s.step("the donor's key opens its programme and nothing else", func() (string, error) {
		var donor report
		if err := s.command(&donor, append([]string{"oversight", "report", "--by", "programme", "--key", s.readerKey}, key...)...); err != nil {
			return "", err
		}
		id := fmt.Sprint(uint64(programme))
		for _, x := range donor.Rows {
			if x.Key != id && x.Key != "0" {
				return "", fmt.Errorf("the donor sees programme %s", x.Key)
			}
		}
		if donor.row(id) != office.row(id) || donor.Unreadable == 0 || donor.Opened == 0 || len(donor.Mismatches) != 0 {
			return "", fmt.Errorf("the donor sees %+v of its programme, the office %+v; %d legs opened, %d not", donor.row(id), office.row(id), donor.Opened, donor.Unreadable)
		}
		return fmt.Sprintf("%d legs opened, the other %d stay closed to it; its totals are the office's", donor.Opened, donor.Unreadable), nil
	})
}

// final waits until a cosigned checkpoint covers everything so far.
func (s *story) final() error {
	return s.step("both witnesses have replayed and cosigned it all", func() (string, error) {
		size, err := s.aurelia.final()
		return fmt.Sprintf("%d entries are final", size), err
	})
}

func (s *story) verifyOffline() error {
	s.chapter("A receipt, verified offline")
	return s.step("a bank checks invoice 2044 with the genesis file alone", func() (string, error) {
		bank := s.wallets[harbourBank]
		at, settled := bank.State().SettledAt(bank.State().PaymentOf(bank.Outbox(), s.invoice).Attempt.TxID)
		if !settled {
			return "", errors.New("the invoice was not paid")
		}
		receipt, err := s.aurelia.client.Receipt(s.ctx, at.Entry, 30*time.Second)
		if err != nil {
			return "", err
		}
		path, err := s.write("invoice-2044.receipt", string(receipt))
		if err != nil {
			return "", err
		}
		genesis := s.aurelia.genesisFile()
		if err := s.command(nil, "verify", "receipt", path, "--genesis-file", genesis); err != nil {
			return "", err
		}
		forged := append([]byte(nil), receipt...)
		forged[len(forged)/2] ^= 1
		if path, err = s.write("forged.receipt", string(forged)); err != nil {
			return "", err
		}
		if err := s.command(nil, "verify", "receipt", path, "--genesis-file", genesis); err == nil {
			return "", errors.New("a changed receipt verified")
		}
		if err := os.Remove(path); err != nil {
			return "", err
		}
		return fmt.Sprintf("entry %d is in the log; with one bit changed the receipt is refused", at.Entry), nil
	})
}
