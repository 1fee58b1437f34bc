package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/comity-ledger/comity/bridge"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// desk is a provider between all ledgers, with the payer's part of a quote: a real request, a signed quote, and its check. That the provider
// and the payer sit in one process is the only thing left out. What follows a quote was made beforehand.
type desk struct {
	desk      *bridge.Desk
	nations   []*nation
	addresses []bridge.Address
}

const quotedAmount zk.Amount = 10_000 // minor units to the payee

// rateFile is one rate for every pair of ledgers. A quote that nobody accepts is open for a second.
func rateFile(nations []*nation) []byte {
	var b strings.Builder
	for i, from := range nations {
		for k, to := range nations {
			if i != k {
				fmt.Fprintf(&b, "%s/%s,%s/%s,137,100,25,0.01,100000.00,3600,1\n", from.name, codes[i], to.name, codes[k])
			}
		}
	}
	return []byte(b.String())
}

func newDesk(nations []*nation) (*desk, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	d := &desk{nations: nations}
	config := bridge.DeskConfig{Name: "Provider", Key: key, MaxQuotes: 1 << 20, Receive: map[entry.GenesisHash]bridge.Address{},
		Exposure: map[bridge.Account]zk.Amount{}}
	var ledgers []bridge.Ledger
	for _, n := range nations {
		a := bridge.Address{Owner: n.wallet.Owner(), ViewKey: n.wallet.ViewKey()}
		d.addresses, config.Receive[n.hash] = append(d.addresses, a), a
		config.Exposure[bridge.Account{Ledger: n.hash, Asset: asset}] = 1 << 60
		ledgers = append(ledgers, bridge.Ledger{Name: n.name, Hash: n.hash, Assets: n.genesis.Assets})
	}
	if d.desk, err = bridge.NewDesk(config, nil); err != nil {
		return nil, err
	}
	rates, err := bridge.ParseRates(rateFile(nations), ledgers)
	if err != nil {
		return nil, fmt.Errorf("rates: %w", err)
	}
	d.desk.SetRates(rates)
	for _, n := range nations {
		d.desk.SetStock(bridge.Account{Ledger: n.hash, Asset: asset}, 1<<60)
		for _, peer := range nations {
			if n != peer {
				d.desk.SetCorridor(bridge.Corridor{On: n.hash, Peer: peer.hash}, []uint64{class})
			}
		}
	}
	return d, nil
}

// quote asks for a quote under a new one-use key, as every payment must, and checks it as a payer does.
func (d *desk) quote(from, to int) error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	payer, err := entry.SignerKeyOf(key.Public().(ed25519.PublicKey))
	if err != nil {
		return err
	}
	req := &bridge.Request{From: d.nations[from].hash, To: d.nations[to].hash, Decider: d.nations[to].hash, FromAsset: asset, ToAsset: asset,
		Fixed: bridge.FixedPayee, Amount: quotedAmount, Payer: payer, Payee: d.addresses[to]}
	asked, err := bridge.ParseRequest(req.Marshal())
	if err != nil {
		return err
	}
	given, err := d.desk.Quote(asked, uint64(time.Now().UnixMilli()), rand.Reader)
	if err != nil {
		return fmt.Errorf("quote: %w", err)
	}
	got, err := bridge.ParseQuote(given.Marshal())
	if err != nil {
		return err
	}
	return got.Check(req, d.nations[from].genesis.Assets[0].Decimals, d.nations[to].genesis.Assets[0].Decimals)
}
