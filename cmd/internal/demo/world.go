package demo

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/walletcmd"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/wallets/client"
	"github.com/comity-ledger/comity/wallets/keystore"
	"github.com/comity-ledger/comity/wallets/session"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

// The world of the story. Amounts are minor units: 100 to the crown of Aurelia.
const (
	crowns    = 100
	programme = zk.ProgrammeID(7)
	asset     = zk.AssetID(1)

	treasury    = "treasury"
	northBank   = "north-bank"
	harbourBank = "harbour-bank"
	supplier    = "supplier"
	vendor      = "vendor"
	family      = "family" // one beneficiary of the programme that spends

	witnessName = "witness.parliament.aurelia.example"

	// Short windows, so that expiry and freeze can be seen.
	registryWindow = 15 * time.Second
	maxExpiry      = 2 * time.Minute
)

// world is who takes part and what is known of the ledger.
type world struct {
	genesis *entry.Genesis
	client  *client.Client
	signers [3]ed25519.PrivateKey
	secret  string // passphrase file of every key file of the demo
	wallets map[string]*actor

	oversightKey, readerKey string // key files
	beneficiaries           []keys.Wallet
	csv                     string
	invoice                 *wallets.Order // the payment whose receipt is verified

	supply, totals, checkpoint any
}

// actor is an open wallet and its address.
type actor struct {
	*walletcmd.Wallet
	address keys.Address
}

// config is the genesis configuration that `comity ledger init` reads.
func (s *story) config() string {
	text, err := json.MarshalIndent(map[string]any{
		"name": "Republic of Aurelia, settlement ledger (demo)", "prefix": "aur", "origin": "settlement.treasury.aurelia.example", "network": "development",
		"assets":                 []map[string]any{{"id": asset, "code": "AUR", "decimals": 2}},
		"policy":                 map[string]any{"threshold": 2},
		"witnesses":              map[string]any{"quorum": 1, "faulty": 0},
		"registry_window_millis": registryWindow.Milliseconds(), "max_expiry_millis": maxExpiry.Milliseconds(),
	}, "", "  ")
	if err != nil {
		panic(err) // constants only
	}
	return string(text)
}

// found makes every key, the genesis and the two processes.
func (s *story) found() error {
	s.chapter("A ledger and its witness")
	err := s.step("keys for three policy signers, the witness, the audit office and the donor", func() (string, error) {
		var err error
		if s.secret, err = s.write("passphrase", "a passphrase for a demo\n"); err != nil {
			return "", err
		}
		var args []string
		for i := range s.signers {
			public, private, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				return "", fmt.Errorf("draw a signer's key: %w", err)
			}
			s.signers[i] = private
			args = append(args, "--signer", hex.EncodeToString(public))
		}
		var witness struct{ Name, Key string }
		if err := s.command(&witness, "witness", "keygen", "--data", s.file("witness"), "--name", witnessName); err != nil {
			return "", err
		}
		args = append(args, "--witness", witness.Name+"="+witness.Key)
		s.oversightKey, s.readerKey = s.file("audit-office.key"), s.file("donor.key")
		var office struct{ Public string }
		if err := s.command(&office, "oversight", "keygen", "--out", s.oversightKey, "--passphrase-file", s.secret); err != nil {
			return "", err
		}
		args = append(args, "--oversight-key", office.Public)
		config, err := s.write("aurelia.json", s.config())
		if err != nil {
			return "", err
		}
		args = append([]string{"ledger", "init", "--data", s.file("aurelia"), "--config", config, "--passphrase-file", s.secret}, args...)
		var draft struct{ Draft string }
		if err := s.command(&draft, args...); err != nil {
			return "", err
		}
		var proof struct{ Possession string }
		if err := s.command(&proof, "oversight", "possession", "--key", s.oversightKey, "--genesis", draft.Draft, "--epoch", "1", "--passphrase-file", s.secret); err != nil {
			return "", err
		}
		var made struct{ Genesis string }
		if err := s.command(&made, "ledger", "init", "--data", s.file("aurelia"), "--possession", proof.Possession); err != nil {
			return "", err
		}
		return "genesis " + made.Genesis, nil
	})
	if err != nil {
		return err
	}
	err = s.step("the ledger of Aurelia and a validating witness run as processes of their own", func() (string, error) {
		var err error
		if s.ledgerPort, err = freePort(); err != nil {
			return "", err
		}
		if s.witnessPort, err = freePort(); err != nil {
			return "", err
		}
		s.ledgerURL = "http://127.0.0.1:" + strconv.Itoa(s.ledgerPort)
		if s.ledger, err = s.startLedger(); err != nil {
			return "", err
		}
		s.witness, err = s.start("witness", "witness", "run", "--data", s.file("witness"), "--listen", "127.0.0.1:"+strconv.Itoa(s.witnessPort),
			"--genesis", s.file("aurelia/genesis.json"), "--ledger", s.ledgerURL, "--workers", "1")
		if err != nil {
			return "", err
		}
		if s.client, err = client.New(s.ledgerURL); err != nil {
			return "", err
		}
		if s.genesis, _, err = s.client.Genesis(s.ctx); err != nil {
			return "", err
		}
		return fmt.Sprintf("ledger pid %d at %s, witness pid %d", s.ledger.cmd.Process.Pid, s.ledgerURL, s.witness.cmd.Process.Pid), nil
	})
	if err != nil {
		return err
	}
	return s.step("wallets: the treasury, two banks, a supplier, a vendor, a family", func() (string, error) {
		var prover wallets.Prover
		for _, name := range []string{treasury, northBank, harbourBank, supplier, vendor, family} {
			a, err := s.openWallet(name, prover)
			if err != nil {
				return "", err
			}
			if s.wallets[name] = a; prover == nil {
				prover = a.Prover // one set of loaded proving keys for all
			}
		}
		return fmt.Sprintf("the treasury's address is %s", s.wallets[treasury].address), nil
	})
}

func (s *story) startLedger() (*process, error) {
	return s.start("ledger", "ledger", "run", "--data", s.file("aurelia"), "--listen", "127.0.0.1:"+strconv.Itoa(s.ledgerPort),
		"--witness", witnessName+"=http://127.0.0.1:"+strconv.Itoa(s.witnessPort), "--passphrase-file", s.secret)
}

// openWallet makes a wallet and opens it. Its passphrase is stretched less than a real one's: the folder is thrown away.
func (s *story) openWallet(name string, prover wallets.Prover) (*actor, error) {
	dir, passphrase := s.file(name), []byte("a passphrase for a demo")
	address, err := walletcmd.Create(dir, s.genesis, entry.Encode(s.genesis), passphrase, keystore.Options{ScryptLogN: 10})
	if err != nil {
		return nil, fmt.Errorf("create wallet %s: %w", name, err)
	}
	w, err := walletcmd.OpenWallet(s.ctx, dir, s.ledgerURL, passphrase)
	if err != nil {
		return nil, fmt.Errorf("open wallet %s: %w", name, err)
	}
	if prover != nil {
		w.Prover = prover
	}
	return &actor{Wallet: w, address: address}, nil
}

// sign collects two signatures under an entry and submits it.
func (s *story) sign(e entry.Entry, segments [][]byte) (session.Accepted, error) {
	p, err := entry.NewProposal(s.genesis, entry.Encode(e), segments)
	if err != nil {
		return session.Accepted{}, err
	}
	for _, key := range s.signers[:2] {
		if err := p.Sign(key); err != nil {
			return session.Accepted{}, err
		}
	}
	leaf, err := p.Assemble()
	if err != nil {
		return session.Accepted{}, err
	}
	return s.client.Submit(s.ctx, leaf, segments)
}

// header is that of the next privileged entry.
func (s *story) header() (entry.Header, error) {
	t := s.wallets[treasury]
	if err := t.Sync(s.ctx, nil); err != nil {
		return entry.Header{}, err
	}
	now := max(t.State().TimeMillis(), uint64(time.Now().UnixMilli()))
	return entry.Header{Ledger: s.genesis.Hash(), Sequence: t.State().NextSequence(), ExpiryMillis: now + uint64(maxExpiry.Milliseconds())/2}, nil
}

// registerOwners registers wallets under two signatures.
func (s *story) registerOwners(owners ...entry.Registration) error {
	h, err := s.header()
	if err != nil {
		return err
	}
	_, err = s.sign(&entry.Register{Header: h, Owners: owners}, nil)
	return err
}

// freeze freezes a wallet or thaws it.
func (s *story) freeze(name string, frozen bool) error {
	h, err := s.header()
	if err != nil {
		return err
	}
	_, err = s.sign(&entry.Freeze{Header: h, Owner: s.wallets[name].address.Owner, Frozen: frozen}, nil)
	return err
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
		k, err := keys.Derive(seed, ask, s.genesis.Hash())
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
	w := s.wallets[name]
	if err := w.Sync(s.ctx, nil); err != nil {
		return 0, err
	}
	all, _ := w.State().Balances(w.Outbox())
	for _, b := range all {
		if b.Asset == asset && b.Programme == p {
			return b.Amount, nil
		}
	}
	return 0, nil
}

// expect compares a balance.
func (s *story) expect(name string, p zk.ProgrammeID, want zk.Amount) error {
	got, err := s.balance(name, p)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("%s holds %s of programme %d, want %s", name, money(got), p, money(want))
	}
	return nil
}

// waitFor repeats a check until it holds or half a minute has passed.
func (s *story) waitFor(what string, check func(context.Context) (bool, error)) error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		ok, err := check(s.ctx)
		if ok {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("%s did not happen in 30 s", what), err)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
}
