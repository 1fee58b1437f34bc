package bridgecmd

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/comity-ledger/comity/bridge"
	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/walletcmd"
	"github.com/comity-ledger/comity/wallets/keystore"
)

// A book is the encrypted journal of a provider or a payer, in a folder of its own. It is a keystore folder that belongs to no ledger: its
// seed is the provider's signing key.
type book struct{ *keystore.Folder }

// openBook opens a book, or makes one.
func openBook(dir, kind string, passphrase []byte, o keystore.Options) (*book, bool, error) {
	f, err := keystore.Open(dir, passphrase)
	made := errors.Is(err, keystore.ErrNotFound)
	if made {
		var secrets keystore.Secrets
		if _, err := rand.Read(secrets.Seed[:]); err != nil {
			return nil, false, fmt.Errorf("draw a seed: %w", err)
		}
		f, err = keystore.Create(dir, []byte(kind), sha256.Sum256([]byte(kind)), kind, secrets, passphrase, o)
		if err != nil {
			return nil, false, err
		}
	} else if err != nil {
		return nil, false, err
	}
	if string(f.Genesis()) != kind {
		f.Close()
		return nil, false, cli.Usagef("%s holds something else than a %s", dir, kind)
	}
	return &book{f}, made, nil
}

const (
	providerKind = "comity bridge provider v1"
	paymentsKind = "comity bridge payments v1"
	// paymentsFolder is where a wallet keeps its payments to other ledgers.
	paymentsFolder = "bridge"
)

// payments is the book of a wallet's payments to other ledgers. It lies in the wallet's folder and opens with the wallet: whoever backs up
// the one has the other.
type payments struct {
	*book
	order   []string // payment ids, oldest first
	records map[string][][]byte
	context map[string]paymentContext
}

// paymentContext is what a payment needs beside its records: where everybody answers.
type paymentContext struct {
	Ledgers   []string          `json:"ledgers"`   // NAME=URL, in the order of the route
	Providers map[string]string `json:"providers"` // key to URL
	To        string            `json:"to"`        // address of the payee, as it was given
	Codes     []string          `json:"codes"`     // currencies of the route
	Created   uint64            `json:"created"`
}

// paymentLine is one record of the book.
type paymentLine struct {
	Payment string          `json:"payment"`
	Context *paymentContext `json:"context,omitempty"`
	Record  json.RawMessage `json:"record,omitempty"`
}

// openPayments opens the book of an open wallet.
func openPayments(w *walletcmd.Wallet, dir string) (*payments, error) {
	seed := w.Folder.Secrets().Seed
	key, err := hkdf.Key(sha256.New, seed[:], []byte("comity/bridge-payments/v1"), "folder", 32)
	if err != nil {
		return nil, fmt.Errorf("derive the key of the payments: %w", err)
	}
	path := filepath.Join(dir, paymentsFolder)
	removeHalf(path)
	// The passphrase is a key already, so it needs no stretching.
	b, _, err := openBook(path, paymentsKind, []byte(hex.EncodeToString(key)), keystore.Options{ScryptLogN: 10})
	if err != nil {
		return nil, err
	}
	p := &payments{book: b, records: map[string][][]byte{}, context: map[string]paymentContext{}}
	for i, r := range b.Records() {
		var line paymentLine
		if err := json.Unmarshal(r, &line); err != nil || line.Payment == "" {
			b.Close()
			return nil, fmt.Errorf("the book of payments, record %d, does not read: %w", i, err)
		}
		p.fold(line)
	}
	return p, nil
}

// removeHalf removes a book whose making was cut short: it never held a record.
func removeHalf(path string) {
	if _, err := keystore.ReadHeader(path); errors.Is(err, keystore.ErrHalfCreated) {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			_ = os.RemoveAll(path)
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return // the next step says what is wrong
		}
	}
}

func (p *payments) fold(line paymentLine) {
	if _, known := p.context[line.Payment]; !known && line.Context != nil {
		p.order = append(p.order, line.Payment)
	}
	if line.Context != nil {
		p.context[line.Payment] = *line.Context
	}
	if line.Record != nil {
		p.records[line.Payment] = append(p.records[line.Payment], line.Record)
	}
}

func (p *payments) append(line paymentLine) error {
	b, err := json.Marshal(line)
	if err != nil {
		return fmt.Errorf("encode a payment: %w", err)
	}
	if err := p.Append(b); err != nil {
		return fmt.Errorf("write the book of payments: %w", err)
	}
	p.fold(line)
	return nil
}

// begin writes down a new payment.
func (p *payments) begin(o bridge.Order, c paymentContext) (*bridge.Payment, error) {
	record, err := bridge.StartPayment(o)
	if err != nil {
		return nil, err
	}
	if err := p.append(paymentLine{Payment: o.ID, Context: &c, Record: record}); err != nil {
		return nil, err
	}
	return p.find(o.ID)
}

// find replays a payment, or gives nil.
func (p *payments) find(id string) (*bridge.Payment, error) {
	if !slices.Contains(p.order, id) {
		return nil, nil
	}
	return bridge.ReplayPayment(p.records[id])
}

// add makes a record of a payment durable and then folds it in; without a record there is nothing to do.
func (p *payments) add(pay *bridge.Payment, record []byte, err error) error {
	if err != nil || record == nil {
		return err
	}
	if err := p.append(paymentLine{Payment: pay.Order.ID, Record: record}); err != nil {
		return err
	}
	return pay.Add(record)
}
