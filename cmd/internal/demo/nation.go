package demo

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/ledgercmd"
	"github.com/comity-ledger/comity/cmd/internal/oversightcmd"
	"github.com/comity-ledger/comity/cmd/internal/walletcmd"
	"github.com/comity-ledger/comity/cmd/internal/witnesscmd"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets/client"
	"github.com/comity-ledger/comity/wallets/keystore"
	"github.com/comity-ledger/comity/wallets/session"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

// Every ledger of the story lists one currency, with this number.
const asset = zk.AssetID(1)

// Short windows, so that expiry and freeze can be seen.
const (
	registryWindow = 15 * time.Second
	maxExpiry      = 2 * time.Minute
)

// nation is a ledger, who signs for it and who watches it.
type nation struct {
	s                          *story
	land, name, origin, prefix string
	code                       string // of its currency
	decimals                   int

	genesis      *entry.Genesis
	client       *client.Client
	signers      [3]ed25519.PrivateKey
	oversightKey string // key file of its audit office
	port         int
	ledger       *process
	witnesses    []*watcher
	signing      sync.Mutex // one privileged entry at a time: each has the next number
}

// watcher is a validating witness of one nation's ledger that another nation runs.
type watcher struct {
	name string
	by   *nation
	port int
	*process
}

// actor is a wallet with its address. Its folder is open in this process, or closed while a command or a provider has it.
type actor struct {
	*walletcmd.Wallet
	nation  *nation
	name    string
	address keys.Address
}

// newNations describes the three nations. Each one's log is watched by the other two, and nothing is final without both.
func newNations(s *story) (aurelia, borealis, cordelia *nation) {
	aurelia = &nation{s: s, land: "aurelia", name: "Republic of Aurelia, settlement ledger (demo)", origin: "settlement.treasury.aurelia.example", prefix: "aur", code: "AUR", decimals: 2}
	borealis = &nation{s: s, land: "borealis", name: "Kingdom of Borealis, settlement ledger (demo)", origin: "settlement.centralbank.borealis.example", prefix: "bor", code: "BOR", decimals: 3}
	cordelia = &nation{s: s, land: "cordelia", name: "Free Ports of Cordelia, settlement ledger (demo)", origin: "settlement.exchequer.cordelia.example", prefix: "cor", code: "COR", decimals: 2}
	all := []*nation{aurelia, borealis, cordelia}
	for _, n := range all {
		n.oversightKey = s.file(n.land + "-audit-office.key")
		for _, by := range all {
			if by != n {
				n.witnesses = append(n.witnesses, &watcher{name: n.land + ".witness." + by.land + ".example", by: by})
			}
		}
	}
	return aurelia, borealis, cordelia
}

func (n *nation) url() string { return "http://127.0.0.1:" + strconv.Itoa(n.port) }

// named is the ledger as commands of the bridge take it.
func (n *nation) named() string { return n.land + "=" + n.url() }

func (n *nation) genesisFile() string { return n.s.file(n.land + "/genesis.json") }

func (n *nation) money(a zk.Amount) string { return cli.Money(a, n.decimals, n.code) }

// own is the witness of this nation's log that another nation runs.
func (n *nation) own(by *nation) *watcher {
	return n.witnesses[slices.IndexFunc(n.witnesses, func(w *watcher) bool { return w.by == by })]
}

// config is the genesis configuration that `comity ledger init` reads.
func (n *nation) config() string {
	text, err := json.MarshalIndent(map[string]any{
		"name": n.name, "prefix": n.prefix, "origin": n.origin, "network": "development",
		"assets":                 []map[string]any{{"id": asset, "code": n.code, "decimals": n.decimals}},
		"policy":                 map[string]any{"threshold": 2},
		"witnesses":              map[string]any{"quorum": len(n.witnesses), "faulty": 1},
		"registry_window_millis": registryWindow.Milliseconds(), "max_expiry_millis": maxExpiry.Milliseconds(),
	}, "", "  ")
	if err != nil {
		panic(err) // constants only
	}
	return string(text)
}

// found makes every key of the nation and its genesis.
func (n *nation) found() error {
	s := n.s
	var args []string
	for i := range n.signers {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return fmt.Errorf("draw a signer's key: %w", err)
		}
		n.signers[i] = private
		args = append(args, "--signer", hex.EncodeToString(public))
	}
	for _, w := range n.witnesses {
		var made struct{ Name, Key string }
		if err := s.inside(&made, nil, nil, witnesscmd.Command(), "witness", "keygen", "--data", s.file(w.name), "--name", w.name, "--passphrase-file", s.secret); err != nil {
			return err
		}
		args = append(args, "--witness", made.Name+"="+made.Key)
	}
	var office struct{ Public string }
	if err := s.inside(&office, nil, nil, oversightcmd.Command(), "oversight", "keygen", "--out", n.oversightKey, "--passphrase-file", s.secret); err != nil {
		return err
	}
	config, err := s.write(n.land+".json", n.config())
	if err != nil {
		return err
	}
	data := s.file(n.land)
	args = append([]string{"ledger", "init", "--data", data, "--config", config, "--passphrase-file", s.secret, "--oversight-key", office.Public}, args...)
	var draft struct{ Draft string }
	if err := s.inside(&draft, nil, nil, ledgercmd.Command("demo"), args...); err != nil {
		return err
	}
	var proof struct{ Possession string }
	if err := s.command(&proof, "oversight", "possession", "--key", n.oversightKey, "--genesis", draft.Draft, "--epoch", "1", "--passphrase-file", s.secret); err != nil {
		return err
	}
	if err := s.command(nil, "ledger", "init", "--data", data, "--possession", proof.Possession); err != nil {
		return err
	}
	n.genesis, err = cli.ReadGenesis(n.genesisFile())
	return err
}

// run starts the ledger and its witnesses.
func (n *nation) run() (err error) {
	for _, port := range []*int{&n.port, &n.witnesses[0].port, &n.witnesses[1].port} {
		if *port, err = freePort(); err != nil {
			return err
		}
	}
	if err := n.startLedger(); err != nil {
		return err
	}
	var starts []func() error
	for _, w := range n.witnesses {
		starts = append(starts, func() (err error) {
			w.process, _, err = n.s.start(w.name, "witness", "run", "--data", n.s.file(w.name), "--listen", "127.0.0.1:"+strconv.Itoa(w.port),
				"--genesis", n.genesisFile(), "--ledger", n.url(), "--workers", "1", "--passphrase-file", n.s.secret)
			return err
		})
	}
	if err := both(starts...); err != nil {
		return err
	}
	if n.client, err = client.New(n.url()); err != nil {
		return err
	}
	theirs, _, err := n.client.Genesis(n.s.ctx)
	if err == nil && theirs.Hash() != n.genesis.Hash() {
		err = fmt.Errorf("the ledger at %s is %s, want %s", n.url(), theirs.Hash(), n.genesis.Hash())
	}
	return err
}

func (n *nation) startLedger() (err error) {
	args := []string{"ledger", "run", "--data", n.s.file(n.land), "--listen", "127.0.0.1:" + strconv.Itoa(n.port), "--passphrase-file", n.s.secret}
	for _, w := range n.witnesses {
		args = append(args, "--witness", w.name+"=http://127.0.0.1:"+strconv.Itoa(w.port))
	}
	n.ledger, _, err = n.s.start(n.land+"-ledger", args...)
	return err
}

// wallet makes a wallet and opens it. Its passphrase is stretched less than a real one's: the folder is thrown away.
func (n *nation) wallet(name string) (*actor, error) {
	address, err := walletcmd.Create(n.s.file(name), n.genesis, entry.Encode(n.genesis), []byte(passphrase), keystore.Options{ScryptLogN: workFactor})
	if err != nil {
		return nil, fmt.Errorf("create wallet %s: %w", name, err)
	}
	a := &actor{nation: n, name: name, address: address}
	n.s.wallets[name] = a
	return a, a.open()
}

// open opens the wallet's folder, unless it is open here. One set of loaded proving keys serves all.
func (a *actor) open() error {
	if a.Wallet != nil {
		return nil
	}
	s := a.nation.s
	w, err := walletcmd.OpenWallet(s.ctx, s.file(a.name), a.nation.url(), []byte(passphrase))
	if err != nil {
		return fmt.Errorf("open wallet %s: %w", a.name, err)
	}
	if s.prover == nil {
		s.prover = w.Prover
	}
	w.Prover = s.prover
	a.Wallet = w
	return nil
}

// shut gives the folder to others.
func (a *actor) shut() {
	if a.Wallet != nil {
		a.Close()
		a.Wallet = nil
	}
}

// funds is what a wallet owns of a programme, and what it has in open holds, after reading the ledger. A folder that is closed is opened
// for that, so nobody else may have it.
func (s *story) funds(name string, p zk.ProgrammeID) (owned, held zk.Amount, err error) {
	a := s.wallets[name]
	if a.Wallet == nil {
		defer a.shut()
	}
	if err := a.open(); err != nil {
		return 0, 0, err
	}
	if err := a.Sync(s.ctx, nil); err != nil {
		return 0, 0, err
	}
	all, _ := a.State().Balances(a.Outbox())
	waiting, _ := a.State().Held()
	for _, b := range all {
		if b.Asset == asset && b.Programme == p {
			owned = b.Amount
		}
	}
	for _, b := range waiting {
		if b.Asset == asset && b.Programme == p {
			held = b.Amount
		}
	}
	return owned, held, nil
}

// state is the ledger's newest state entry, and how many entries its log has.
func (n *nation) state() (*entry.State, uint64, error) {
	_, size, err := n.client.Head(n.s.ctx)
	if err != nil {
		return nil, 0, err
	}
	leaf, err := n.client.Entry(n.s.ctx, size-1)
	if err != nil {
		return nil, 0, err
	}
	state, err := entry.DecodeState(leaf)
	return state, size, err
}

// header is that of the next privileged entry. The caller holds signing until the entry is in.
func (n *nation) header() (entry.Header, error) {
	state, _, err := n.state()
	if err != nil {
		return entry.Header{}, err
	}
	now := max(state.TimeMillis, uint64(time.Now().UnixMilli()))
	return entry.Header{Ledger: n.genesis.Hash(), Sequence: state.NextSequence, ExpiryMillis: now + uint64(maxExpiry.Milliseconds())/2}, nil
}

// decree makes a privileged entry with the next number, collects two signatures under it and submits it.
func (n *nation) decree(make func(entry.Header) entry.Entry) (entry.Entry, error) {
	n.signing.Lock()
	defer n.signing.Unlock()
	h, err := n.header()
	if err != nil {
		return nil, err
	}
	e := make(h)
	_, err = n.sign(e, nil)
	return e, err
}

// sign collects two signatures under an entry and submits it.
func (n *nation) sign(e entry.Entry, segments [][]byte) (session.Accepted, error) {
	p, err := entry.NewProposal(n.genesis, entry.Encode(e), segments)
	if err != nil {
		return session.Accepted{}, err
	}
	return n.submitProposal(p)
}

// signFile does the same with a proposal that a command wrote.
func (n *nation) signFile(path string) (session.Accepted, error) {
	p, err := ledgercmd.ReadProposal(n.genesis, path)
	if err != nil {
		return session.Accepted{}, err
	}
	return n.submitProposal(p)
}

func (n *nation) submitProposal(p *entry.Proposal) (session.Accepted, error) {
	for _, key := range n.signers[:2] {
		if err := p.Sign(key); err != nil {
			return session.Accepted{}, err
		}
	}
	leaf, err := p.Assemble()
	if err != nil {
		return session.Accepted{}, err
	}
	return n.client.Submit(n.s.ctx, leaf, p.Segments())
}

// register registers wallets under two signatures.
func (n *nation) register(owners ...entry.Registration) error {
	_, err := n.decree(func(h entry.Header) entry.Entry { return &entry.Register{Header: h, Owners: owners} })
	return err
}

// freeze freezes a wallet or thaws it.
func (n *nation) freeze(a *actor, frozen bool) error {
	_, err := n.decree(func(h entry.Header) entry.Entry {
		return &entry.Freeze{Header: h, Owner: a.address.Owner, Frozen: frozen}
	})
	return err
}

// issue issues money to an open wallet of the nation, and gives the log index.
func (n *nation) issue(a *actor, p zk.ProgrammeID, amount zk.Amount) (uint64, error) {
	if err := a.Sync(n.s.ctx, nil); err != nil {
		return 0, err
	}
	d, err := a.Builder().BuildIssue(asset, p, amount, 0)
	if err != nil {
		return 0, err
	}
	if err := d.Prove(n.s.ctx, a.Prover, nil); err != nil {
		return 0, err
	}
	at, err := n.sign(d.Tx, d.Segments)
	return at.EntryIndex, err
}

// final waits until a checkpoint cosigned by the witnesses covers everything so far, and gives the number of entries.
func (n *nation) final() (uint64, error) {
	_, size, err := n.state()
	if err != nil {
		return 0, err
	}
	_, got, err := n.client.WaitCheckpoint(n.s.ctx, size, 60*time.Second)
	if err == nil && got < size {
		err = errors.New("the checkpoint is older than the log")
	}
	return size, err
}

// closed gives wallets to commands and providers.
func (s *story) closed(names ...string) {
	for _, name := range names {
		s.wallets[name].shut()
	}
}
