package demo

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/escrowcmd"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// lapses are how long the escrow waits that nobody attests. On a machine that is too busy for the first the ledger refuses it by name, and the
// second is taken.
var lapses = []time.Duration{10 * time.Second, 50 * time.Second}

// escrow pays when a delivery is attested, and returns what nobody attested.
func (s *story) escrow() error {
	s.chapter("Escrow in Aurelia: paid on delivery, or back to the payer")
	const clinic, road = 40_000 * crowns, 15_000 * crowns
	var owned, had zk.Amount
	place := func(id, to string, amount zk.Amount, until time.Duration, more ...string) (string, error) {
		var placed struct{ Hold string }
		err := s.command(&placed, append([]string{"escrow", "place", "--wallet", s.file(agency), "--ledger", s.aurelia.url(), "--to", s.wallets[to].address.String(), "--amount", amount.Format(2),
			"--payment-id", id, "--until", until.String(), "--passphrase-file", s.secret}, more...)...)
		return placed.Hold, err
	}
	keys := map[string]string{}
	act := func(result any, what, hold string, more ...string) error {
		return s.command(result, append([]string{"escrow", what, hold, "--ledger", s.aurelia.url()}, more...)...)
	}
	attest := func(who, hold, statement, document string) error {
		return act(&struct{}{}, "attest", hold, "--key", s.file(who+".key"), "--passphrase-file", s.secret, "--statement", statement, "--document", document, "--yes")
	}
	settle := func(hold string) (string, error) {
		var done struct{ Outcome string }
		err := act(&done, "settle", hold)
		return done.Outcome, err
	}
	var delivery, inspection, waybill string
	err := s.step("an aid agency puts money for a clinic and a road in escrow", func() (string, error) {
		var err error
		if waybill, err = s.write("waybill.txt", "40 beds, delivered to the clinic at Northport.\n"); err != nil {
			return "", err
		}
		for _, who := range []string{"inspector", "customs", "stranger"} {
			var made struct {
				Key string `json:"public_key"`
			}
			if err := s.inside(&made, nil, nil, escrowcmd.Command(), "escrow", "keygen", "--out", s.file(who+".key"), "--passphrase-file", s.secret); err != nil {
				return "", err
			}
			keys[who] = made.Key
		}
		if owned, _, err = s.funds(agency, 0); err != nil {
			return "", err
		}
		if had, _, err = s.funds(supplier, 0); err != nil {
			return "", err
		}
		s.closed(agency)
		lapse := time.Duration(0)
		for i := range lapses {
			lapse = lapses[i]
			inspection, err = place("road", vendor, road, lapse, "--statement", "inspection", "--attestor", keys["inspector"])
			if _, name := cli.CodeOf(err); name != string(entry.HoldExpired) {
				break
			}
		}
		if err != nil {
			return "", err
		}
		delivery, err = place("clinic", supplier, clinic, 10*time.Minute, "--statement", "delivery", "--attestor", keys["inspector"], "--attestor", keys["customs"], "--document", waybill)
		return fmt.Sprintf("clinic: %s, when inspector and customs both attest the delivery\nroad: %s, when the inspector attests within %.0f s", money(clinic), money(road), lapse.Seconds()), err
	})
	if err != nil {
		return err
	}
	err = s.step("too few attestors, and the wrong one", func() (string, error) {
		if err := attest("inspector", delivery, "delivery", waybill); err != nil {
			return "", err
		}
		_, err := settle(delivery)
		few, err := s.refused("an escrow with one attestation of two", "command", err, string(entry.HoldNotReady))
		if err != nil {
			return "", err
		}
		wrong, err := s.refused("an attestation by a stranger", "command", attest("stranger", delivery, "delivery", waybill), string(entry.AttestorUnknown))
		return few + "\n" + wrong, err
	})
	if err != nil {
		return err
	}
	err = s.step("customs attests as well, and the supplier is paid", func() (string, error) {
		if err := attest("customs", delivery, "delivery", waybill); err != nil {
			return "", err
		}
		outcome, err := settle(delivery)
		if err != nil {
			return "", err
		}
		now, _, err := s.funds(supplier, 0)
		if err == nil && (outcome != entry.Posted.String() || now != had+clinic) {
			err = fmt.Errorf("the escrow is %s, the supplier has %s", outcome, money(now))
		}
		return fmt.Sprintf("%s more for the supplier; anybody may ask the ledger to settle, no key is needed", money(now-had)), err
	})
	if err != nil {
		return err
	}
	if err := s.step("a contract is anchored, and checked offline", s.anchor); err != nil {
		return err
	}
	return s.step("nobody inspected the road: the money goes back", func() (string, error) {
		var outcome string
		err := s.waitFor("the expiry of the escrow", func(ctx context.Context) (bool, error) {
			var err error
			outcome, err = settle(inspection)
			return err == nil, err
		})
		if err != nil {
			return "", err
		}
		late, err := s.refused("an attestation after the money went back", "ledger", attest("inspector", inspection, "inspection", waybill), string(entry.HoldResolved), string(entry.HoldExpired))
		if err != nil {
			return "", err
		}
		now, held, err := s.funds(agency, 0)
		if err == nil && (outcome != entry.Voided.String() || now != owned-clinic || held != 0) {
			err = fmt.Errorf("the escrow is %s, the agency owns %s and holds %s", outcome, money(now), money(held))
		}
		return fmt.Sprintf("the agency paid %s in all and has %s\n%s", money(owned-now), money(now), late), err
	})
}

// anchor puts the digest of a document into the log and checks it with the receipt.
func (s *story) anchor() (string, error) {
	n := s.aurelia
	contract, err := s.write("contract.txt", "The agency builds a clinic at Northport for 40,000.00 AUR.\n")
	if err != nil {
		return "", err
	}
	proposal, receipt := s.file("contract.proposal"), s.file("contract.receipt")
	if err := s.command(nil, "ledger", "anchor", "--ledger", n.url(), "--file", contract, "--type", "contract", "--label", "Clinic at Northport", "--expires-in", "1m", "--out", proposal); err != nil {
		return "", err
	}
	at, err := n.signFile(proposal)
	if err != nil {
		return "", err
	}
	if err := s.command(nil, "ledger", "receipt", "--ledger", n.url(), "--entry", fmt.Sprint(at.EntryIndex), "--out", receipt); err != nil {
		return "", err
	}
	check := func(file string) error {
		return s.command(&struct{}{}, "ledger", "verify-document", file, "--receipt", receipt, "--genesis-file", n.genesisFile())
	}
	if err := check(contract); err != nil {
		return "", err
	}
	changed := s.file("changed.txt")
	if err := s.replace(contract, "changed.txt", "40,000.00", "90,000.00"); err != nil {
		return "", err
	}
	if err := check(changed); err == nil {
		return "", fmt.Errorf("a changed contract verified")
	}
	info, err := os.Stat(contract)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("entry %d holds its SHA-256, signed twice; the document's %d bytes went nowhere\nwith another amount in it the contract does not verify", at.EntryIndex, info.Size()), nil
}
