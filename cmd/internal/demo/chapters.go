package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/comity-ledger/comity/cmd/internal/oversightcmd"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/wallets/session"
	"github.com/comity-ledger/comity/zk"
)

const lines = 220 // of the disbursement file

func (s *story) register() error {
	s.chapter("Programme and registry, under two signatures of three")
	err := s.step("the aid programme is opened with the donor's key as its reader", func() (string, error) {
		var donor struct{ Public, Possession string }
		if err := s.inside(&donor, nil, nil, oversightcmd.Command(), "oversight", "keygen", "--out", s.readerKey, "--programme", fmt.Sprint(uint64(programme)),
			"--genesis", s.aurelia.genesis.Hash().String(), "--passphrase-file", s.secret); err != nil {
			return "", err
		}
		reader, err := parseHex(donor.Public, zk.ParsePoint)
		if err != nil {
			return "", fmt.Errorf("read the donor's key: %w", err)
		}
		possession, err := parseHex(donor.Possession, zk.ParseSignature)
		if err != nil {
			return "", fmt.Errorf("read the donor's proof of possession: %w", err)
		}
		e, err := s.aurelia.decree(func(h entry.Header) entry.Entry {
			return &entry.Programme{Header: h, Programme: programme, Name: "Flood relief", Status: entry.StatusOpen, Reader: reader, Possession: possession}
		})
		if err != nil {
			return "", err
		}
		return strings.Join(entry.Describe(e, s.aurelia.genesis), "\n"), nil
	})
	if err != nil {
		return err
	}
	err = s.step("six wallets are registered with limits and rights", func() (string, error) {
		return "the treasury may earmark money for the programme, the vendor may release it, a family may spend 100.00 at a time", s.aurelia.register(
			entry.Registration{Owner: s.wallets[treasury].address.Owner, Limit: ^zk.Amount(0), Rights: []zk.Right{{Programme: programme, MaySet: true}}},
			entry.Registration{Owner: s.wallets[northBank].address.Owner, Limit: 2_000_000 * crowns},
			entry.Registration{Owner: s.wallets[harbourBank].address.Owner, Limit: 500_000 * crowns},
			entry.Registration{Owner: s.wallets[supplier].address.Owner, Limit: 50_000 * crowns},
			entry.Registration{Owner: s.wallets[vendor].address.Owner, Limit: 50_000 * crowns, Rights: []zk.Right{{Programme: programme, MayRelease: true}}},
			entry.Registration{Owner: s.wallets[family].address.Owner, Limit: 100 * crowns},
		)
	})
	if err != nil {
		return err
	}
	return s.step("one signature is not enough", func() (string, error) {
		h, err := s.aurelia.header()
		if err != nil {
			return "", err
		}
		e := &entry.Freeze{Header: h, Owner: s.wallets[vendor].address.Owner, Frozen: true}
		one, err := s.aurelia.genesis.Policy.SignAuthorisation(s.aurelia.signers[2], entry.IDOf(e))
		if err != nil {
			return "", err
		}
		e.Signatures = []entry.PolicySignature{one}
		_, err = s.aurelia.client.Submit(s.ctx, entry.Encode(e), nil)
		return s.refused("a freeze with one signature", "ledger", err, string(entry.SignaturesMissing))
	})
}

// issueTo issues to the treasury's wallet.
func (s *story) issueTo(p zk.ProgrammeID, amount zk.Amount) (string, error) {
	at, err := s.aurelia.issue(s.wallets[treasury], p, amount)
	if err != nil {
		return "", err
	}
	s.transactions++
	return fmt.Sprintf("entry %d of the log: %s, signed twice, proven once", at, money(amount)), nil
}

func (s *story) issue() error {
	s.chapter("Money is issued")
	if err := s.step("5,000,000.00 AUR to the treasury", func() (string, error) { return s.issueTo(0, 5_000_000*crowns) }); err != nil {
		return err
	}
	return s.step("1,000,000.00 AUR to the treasury, earmarked for flood relief", func() (string, error) { return s.issueTo(programme, 1_000_000*crowns) })
}

func (s *story) pay() error {
	s.chapter("Payments: the ledger sees a proof, and neither amount nor parties")
	for _, p := range []struct {
		from, to string
		amount   zk.Amount
		p        zk.ProgrammeID
		why      string
	}{
		{treasury, northBank, 1_500_000 * crowns, 0, "credit line 2026"},
		{treasury, harbourBank, 400_000 * crowns, 0, "port dues"},
		{northBank, harbourBank, 250_000 * crowns, 0, "interbank settlement 17"},
		{harbourBank, supplier, 12_500 * crowns, 0, "invoice 2044"},
		{treasury, northBank, 200_000 * crowns, programme, "flood relief, first tranche"},
	} {
		err := s.step(fmt.Sprintf("%s pays %s %s", p.from, p.to, money(p.amount)), func() (string, error) {
			r, err := s.transfer(p.from, p.to, p.amount, p.p, p.why)
			if err != nil {
				return "", err
			}
			if p.from == harbourBank {
				s.invoice = s.order("demo/"+p.from+"/"+p.to+"/"+p.why, p.to, p.amount, p.p, p.why)
			}
			words := fmt.Sprintf("settled as entry %d, %d bytes on the wire", r.Payment.Settled.Entry, size(r.Payment.Attempt))
			if p.p != 0 {
				words += "; the money stays earmarked"
			}
			return words, nil
		})
		if err != nil {
			return err
		}
	}
	return s.step("every wallet counts its own money from the stream", func() (string, error) {
		for name, want := range map[string]zk.Amount{treasury: 3_100_000 * crowns, northBank: 1_250_000 * crowns, harbourBank: 637_500 * crowns, supplier: 12_500 * crowns} {
			if err := s.expect(name, 0, want); err != nil {
				return "", err
			}
		}
		return "treasury 3,100,000.00, north-bank 1,250,000.00, harbour-bank 637,500.00, supplier 12,500.00", nil
	})
}

func size(a *wallets.Attempt) int {
	n := len(a.Entry)
	for _, segment := range a.Segments {
		n += len(segment)
	}
	return n
}

// lineAmount is what line i pays: 120.00 to 219.00.
func lineAmount(i int) zk.Amount { return zk.Amount(120+i%100) * crowns }

func (s *story) disburse() error {
	s.chapter(fmt.Sprintf("Disbursement to %d beneficiaries, and a power cut", lines))
	var d *wallets.Disbursement
	var total zk.Amount
	err := s.step(fmt.Sprintf("a file of %d lines is checked before anything is paid", lines), func() (string, error) {
		if err := s.newBeneficiaries(lines - 1); err != nil {
			return "", err
		}
		var csv strings.Builder
		csv.WriteString(strings.Join(wallets.Columns, ",") + "\n")
		for i := range lines {
			to := s.wallets[family].address
			if i > 0 {
				to = s.beneficiaries[i-1].Address(s.aurelia.genesis.Prefix, s.aurelia.genesis.Hash())
			}
			total += lineAmount(i)
			fmt.Fprintf(&csv, "F-%04d,%s,%s,%d,household %d\n", i+1, to, lineAmount(i).Format(2), programme, i+1)
		}
		s.csv = csv.String()
		if _, err := s.write("flood-relief.csv", s.csv); err != nil {
			return "", err
		}
		bank := s.wallets[northBank]
		if err := bank.Sync(s.ctx, nil); err != nil {
			return "", err
		}
		book := wallets.Book{Genesis: s.aurelia.genesis, Ledger: wallets.LedgerPrefix(s.aurelia.genesis.Hash()), Rights: bank.State().Rights()}
		row, _ := s.aurelia.genesis.Asset(asset)
		var err error
		if _, err = wallets.ParseDisbursement([]byte(strings.Replace(s.csv, "120.00", "-1.005", 1)), row, book); wallets.CodeOf(err) != wallets.BadFile {
			return "", fmt.Errorf("a file with a bad amount was not refused: %w", err)
		}
		s.refusals = append(s.refusals, Refused{What: "a disbursement file with a bad line", By: "wallet", Code: string(wallets.BadFile)})
		if d, err = wallets.ParseDisbursement([]byte(s.csv), row, book); err != nil {
			return "", err
		}
		return fmt.Sprintf("%s in total; with one bad amount the whole file was refused and its line named", money(total)), nil
	})
	if err != nil {
		return err
	}
	bank := s.wallets[northBank]
	order, begun := (*wallets.DisbursementOrder)(nil), false
	acknowledged := uint64(0)
	err = s.step("the ledger process is killed with SIGKILL in the middle", func() (string, error) {
		if order, begun, err = bank.BeginDisbursement("flood-relief-1", d); err != nil {
			return "", err
		}
		if begun {
			return "", errors.New("the disbursement was known already")
		}
		// The bank's own job is cut off at the same moment.
		ctx, cut := context.WithCancel(s.ctx)
		defer cut()
		killed := false
		err := bank.Disburse(ctx, order, func(e session.Event) {
			if e.Doing != "prove" || e.Total < len(order.Groups) || e.Done != len(order.Groups)/2 || killed {
				return
			}
			if err := s.waitFor("the first half", func(context.Context) (bool, error) {
				head, _, err := s.aurelia.client.Head(ctx)
				acknowledged = head
				return err == nil && head > bank.State().NextHeight(), err
			}); err == nil {
				killed = true
				s.aurelia.ledger.kill()
				cut()
			}
		}, nil)
		if !killed {
			return "", fmt.Errorf("the disbursement ended before the kill: %w", err)
		}
		if err == nil {
			return "", errors.New("the disbursement did not notice that its ledger died")
		}
		return fmt.Sprintf("killed at block %d or later, with half of the file sent; the bank's job stopped too", acknowledged), nil
	})
	if err != nil {
		return err
	}
	err = s.step("the ledger is started again and has lost nothing", func() (string, error) {
		if err = s.aurelia.startLedger(); err != nil {
			return "", err
		}
		var head uint64
		err := s.waitFor("the ledger's return", func(ctx context.Context) (ok bool, err error) {
			head, _, err = s.aurelia.client.Head(ctx)
			return err == nil, err
		})
		if err != nil {
			return "", err
		}
		if head < acknowledged {
			return "", fmt.Errorf("block %d was seen before the kill, the ledger is back at %d", acknowledged, head)
		}
		if err := bank.Sync(s.ctx, nil); err != nil { // refuses another history than the one read before
			return "", err
		}
		return fmt.Sprintf("at block %d, the same history that the bank had read", head), nil
	})
	if err != nil {
		return err
	}
	err = s.step("the bank resumes from its journal", func() (string, error) {
		again := false
		if order, again, err = bank.BeginDisbursement("flood-relief-1", d); err != nil {
			return "", err
		}
		if !again {
			return "", errors.New("the journal forgot the disbursement")
		}
		if err := bank.Disburse(s.ctx, order, nil, nil); err != nil {
			return "", err
		}
		settled := 0
		for _, line := range bank.Lines(order) {
			if line.Status == string(wallets.Done) {
				settled++
			}
		}
		if settled != lines {
			return "", fmt.Errorf("%d of %d lines settled", settled, lines)
		}
		proofs := len(order.Groups)
		for _, a := range bank.Outbox().Attempts(wallets.PreparationID(order.ID)) {
			if bank.State().StageOf(a) == wallets.Done {
				proofs++ // one that split the tranche into a note for each group
			}
		}
		s.transactions += proofs
		s.payments += lines
		return fmt.Sprintf("%d of %d lines settled with %d proofs", settled, lines, proofs), nil
	})
	if err != nil {
		return err
	}
	return s.step("every beneficiary counts: nothing lost, nothing twice", func() (string, error) {
		got := make([][]zk.Amount, len(s.beneficiaries))
		for b, err := range s.aurelia.client.Blocks(s.ctx, 0) {
			if err != nil {
				return "", err
			}
			if err := s.count(b, got); err != nil {
				return "", err
			}
		}
		for i, paid := range got {
			if len(paid) != 1 || paid[0] != lineAmount(i+1) {
				return "", fmt.Errorf("line %d received %v, want once %s", i+2, paid, money(lineAmount(i+1)))
			}
		}
		if err := s.expect(family, programme, lineAmount(0)); err != nil {
			return "", err
		}
		if err := s.expect(northBank, programme, 200_000*crowns-total); err != nil {
			return "", err
		}
		return fmt.Sprintf("%d wallets opened one payment each, of the right amount; %s left of the tranche", lines, money(200_000*crowns-total)), nil
	})
}

// count opens a block with the beneficiaries' view keys.
func (s *story) count(b *wallets.Block, got [][]zk.Amount) error {
	segments := b.Segments
	for _, leaf := range b.Entries {
		kind, err := entry.KindOf(leaf)
		if err != nil {
			return err
		}
		if kind != entry.KindTransfer && kind != entry.KindIssue && kind != entry.KindRedeem {
			continue
		}
		tx, err := entry.DecodeTransaction(leaf)
		if err != nil {
			return err
		}
		for i := range tx.Legs {
			for j, k := range s.beneficiaries {
				opened, err := k.IncomingView().OpenSegment(segments[0], tx.Legs[i].Commitments)
				if err != nil {
					return err
				}
				for _, o := range opened {
					got[j] = append(got[j], o.Note.Value)
				}
			}
			segments = segments[1:]
		}
	}
	return nil
}

func (s *story) spendEarmark() error {
	s.chapter("Earmarked money reaches an approved vendor")
	err := s.step("the family buys building material for 60.00 AUR", func() (string, error) {
		if _, err := s.transfer(family, vendor, 60*crowns, programme, "timber and nails"); err != nil {
			return "", err
		}
		return "the vendor holds earmarked money", s.expect(vendor, programme, 60*crowns)
	})
	if err != nil {
		return err
	}
	return s.step("the vendor may release it, and pays 45.00 AUR of free money", func() (string, error) {
		before, err := s.balance(supplier, 0)
		if err != nil {
			return "", err
		}
		if _, err := s.transfer(vendor, supplier, 45*crowns, 0, "wholesale"); err != nil {
			return "", err
		}
		return "the earmark ended at the vendor", s.expect(supplier, 0, before+45*crowns)
	})
}

// draft builds the one transaction that pays an order, and proves it.
func (s *story) draft(b *wallets.Builder, name string, o *wallets.Order, p wallets.Prover) (*wallets.Draft, error) {
	drafts, pays, err := b.Next(s.wallets[name].Outbox(), o)
	if err != nil {
		return nil, err
	}
	if !pays || len(drafts) != 1 {
		return nil, errors.New("the payment needs preparation")
	}
	return drafts[0], drafts[0].Prove(s.ctx, p, nil)
}

func (s *story) submit(d *wallets.Draft) (session.Accepted, error) {
	return s.aurelia.client.Submit(s.ctx, d.Tx.Encode(), d.Segments)
}

func (s *story) refuseAtLedger() error {
	s.chapter("What the ledger refuses")
	bank := s.wallets[harbourBank]
	if err := bank.Sync(s.ctx, nil); err != nil {
		return err
	}
	var first, second *wallets.Draft
	err := s.step("a double spend", func() (words string, err error) {
		// The same note pays two payees: both proofs are true.
		if first, err = s.draft(bank.Builder(), harbourBank, s.order("demo/first", supplier, 1_000*crowns, 0, "honest"), bank.Prover); err != nil {
			return "", err
		}
		if second, err = s.draft(bank.Builder(), harbourBank, s.order("demo/second", northBank, 1_000*crowns, 0, "the same note again"), bank.Prover); err != nil {
			return "", err
		}
		if _, err := s.submit(first); err != nil {
			return "", err
		}
		s.transactions++
		s.payments++
		_, err = s.submit(second)
		return s.refused("a double spend", "ledger", err, string(entry.NullifierSpent))
	})
	if err != nil {
		return err
	}
	err = s.step("a replayed transaction", func() (string, error) {
		at, err := s.submit(first)
		if err != nil {
			return "", err
		}
		if !at.Before {
			return "", errors.New("the ledger took the same transaction twice")
		}
		foreign := first.Tx.Encode()
		foreign[2] ^= 1 // the genesis hash
		_, err = s.aurelia.client.Submit(s.ctx, foreign, first.Segments)
		words, err := s.refused("a transaction of another ledger", "ledger", err, string(entry.WrongLedger))
		return fmt.Sprintf("the same bytes again: answered with the first acceptance, entry %d, and nothing moved\nsent as another ledger's: %s", at.EntryIndex, words), err
	})
	if err != nil {
		return err
	}
	err = s.step("a tampered proof", func() (string, error) {
		if err := bank.Sync(s.ctx, nil); err != nil {
			return "", err
		}
		d, err := s.draft(bank.Builder(), harbourBank, s.order("demo/tampered", supplier, 500*crowns, 0, "tampered"), bank.Prover)
		if err != nil {
			return "", err
		}
		d.Tx.Legs[0].Proof = second.Tx.Legs[0].Proof // a true proof, of something else
		_, err = s.submit(d)
		return s.refused("a tampered proof", "ledger", err, string(entry.ProofInvalid))
	})
	if err != nil {
		return err
	}
	err = s.step("an expired transaction", func() (string, error) {
		b := bank.Builder()
		b.TTLMillis = 1
		d, err := s.draft(b, harbourBank, s.order("demo/expired", supplier, 500*crowns, 0, "too late"), bank.Prover)
		if err != nil {
			return "", err
		}
		time.Sleep(5 * time.Millisecond)
		_, err = s.submit(d)
		return s.refused("an expired transaction", "ledger", err, string(entry.Expired))
	})
	if err != nil {
		return err
	}
	return s.step("a payment proven before its owner was frozen", func() (string, error) {
		w := s.wallets[supplier]
		if err := w.Sync(s.ctx, nil); err != nil {
			return "", err
		}
		d, err := s.draft(w.Builder(), supplier, s.order("demo/race", vendor, 100*crowns, 0, "run for it"), w.Prover)
		if err != nil {
			return "", err
		}
		if err := s.aurelia.freeze(s.wallets[supplier], true); err != nil {
			return "", err
		}
		_, err = s.submit(d)
		return s.refused("a payment racing its owner's freeze", "ledger", err, string(entry.RegistryRootStale))
	})
}

// patched is a prover that checks nothing first.
type patched struct{ wallets.Prover }

func (patched) Check(zk.LegWitness) error { return nil }

func (s *story) refuseAtWallet() error {
	s.chapter("What the wallet refuses by name, and the ledger refuses of a patched wallet")
	for _, c := range []struct {
		what, from, to string
		amount         zk.Amount
		p              zk.ProgrammeID
		code           wallets.Code
	}{
		{"an over-limit payment", vendor, northBank, 0, 0, wallets.OverLimit},
		{"a payment of a frozen owner", supplier, vendor, 100 * crowns, 0, wallets.OwnerFrozen},
		{"earmarked money released by someone who may not", family, supplier, 20 * crowns, 0, wallets.ReleaseNotAllowed},
	} {
		err := s.step(c.what, func() (string, error) {
			from := c.from
			if c.code == wallets.OverLimit {
				from, c.to, c.p = family, vendor, programme
				// All the family has, and it may move 100.00 at a time: it is given some more first.
				if _, err := s.transfer(northBank, family, 90*crowns, programme, "supplement"); err != nil {
					return "", err
				}
				c.amount = 101 * crowns
			}
			w := s.wallets[from]
			o := s.order("demo/"+c.what, c.to, c.amount, c.p, "")
			_, err := w.Pay(s.ctx, o, 0, nil)
			byWallet, err := s.refused(c.what, "wallet", err, string(c.code))
			if err != nil {
				return "", err
			}
			d, err := s.draft(wallets.Unchecked(*w.Builder()), from, o, patched{w.Prover})
			if err != nil {
				return "", fmt.Errorf("a patched wallet: %w", err)
			}
			_, err = s.submit(d)
			byLedger, err := s.refused(c.what+", by a patched wallet", "ledger", err, string(entry.ProofInvalid), string(entry.RegistryRootStale))
			return byWallet + "\n" + "patched wallet: " + byLedger, err
		})
		if err != nil {
			return err
		}
	}
	return s.step("two signatures thaw the supplier, and it pays", func() (string, error) {
		if err := s.aurelia.freeze(s.wallets[supplier], false); err != nil {
			return "", err
		}
		_, err := s.transfer(supplier, vendor, 10*crowns, 0, "samples")
		return "", err
	})
}
