package bridgecmd

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/bridge"
	"github.com/comity-ledger/comity/bridge/rpc"
	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/telemetry"
	"github.com/comity-ledger/comity/cmd/internal/tlsfiles"
	"github.com/comity-ledger/comity/cmd/internal/walletcmd"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/wallets/keystore"
	"github.com/comity-ledger/comity/zk"
)

// providerOptions are the flags of provider.
type providerOptions struct {
	ledgers                            []string
	walletA, ledgerA, walletB, ledgerB string
	rates, ratesCommand                string
	ratesEvery, follow                 time.Duration
	listen, data, name, readyFile      string
	exposure, carry                    []string
	maxQuotes                          int
	telemetry                          telemetry.Options
	passphrase                         cli.Passphrase
}

func providerCommand() *cobra.Command {
	var o providerOptions
	cmd := &cobra.Command{
		Use:   "provider",
		Short: "Run a liquidity provider: sell money on one ledger for money on another",
		Long: `Run a liquidity provider until it is interrupted. It owns a wallet on each of two or more ledgers, signs quotes of one use at the rates it is
given, and pays payees from its wallets when the payers' money is locked for it. It trusts neither payers nor relayers: its money is
released only by the same decision that pays it.

Ledgers are given as --ledger NAME=URL,wallet=FOLDER; a ledger without a wallet is only read, as the deciding ledger of a chain is. For two
ledgers --ledger-a, --wallet-a, --ledger-b and --wallet-b do the same, with the ledgers' address prefixes as names.

Rates come from a file (--rates), which is read again when it changes, or from a command (--rates-command), which is run every
--rates-every and prints such a file. One line per direction:
  from,to,numerator,denominator,spread_bp,minimum,maximum,hold_seconds,quote_seconds
  aurelia/AUR,borealis/BOR,2,1,50,1.000,100000.000,60,20
says that a unit of AUR is worth 2 units of BOR, of which the provider keeps 0.5%; that a payee gets at least 1.000 and at most 100,000.000
BOR; that its money waits at most 60 s for a decision, and that a quote stands for 20 s. While the rates cannot be read, nothing is quoted.

--exposure NAME/CODE=AMOUNT bounds what is quoted, promised and waiting at once; without any, all that the wallets own is at stake.

The data folder holds the provider's signing key and its journal, encrypted under the passphrase, which is the wallets' as well. It can be
killed at any moment: it goes on where it was and pays nothing twice. When it answers it prints a line that begins with "ready".`,
		Example: `  comity bridge provider --ledger aurelia=http://127.0.0.1:7001,wallet=desk-a --ledger borealis=http://127.0.0.1:7002,wallet=desk-b \
    --rates rates.csv --name Meridian --data desk --listen 127.0.0.1:7101`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.ledgers, "ledger", nil, "a ledger as NAME=URL,wallet=FOLDER; repeat for each")
	f.StringVar(&o.ledgerA, "ledger-a", "", "address of the first ledger, in place of --ledger")
	f.StringVar(&o.walletA, "wallet-a", "", "wallet folder on the first ledger")
	f.StringVar(&o.ledgerB, "ledger-b", "", "address of the second ledger, in place of --ledger")
	f.StringVar(&o.walletB, "wallet-b", "", "wallet folder on the second ledger")
	f.StringVar(&o.rates, "rates", "", "the rates file")
	f.StringVar(&o.ratesCommand, "rates-command", "", "a shell command that prints a rates file")
	f.DurationVar(&o.ratesEvery, "rates-every", 10*time.Second, "how often the command is run, or the file looked at")
	f.DurationVar(&o.follow, "follow-every", 500*time.Millisecond, "how often the ledgers are read for decisions")
	f.StringVar(&o.listen, "listen", "127.0.0.1:7101", "address and port, loopback without TLS; port 0 takes a free one")
	f.StringVar(&o.data, "data", "", "the provider's data folder; made if there is none (required)")
	f.StringVar(&o.name, "name", "provider", "the provider's name, for people")
	f.StringVar(&o.readyFile, "ready-file", "", "write the provider's URL here once it answers")
	f.StringArrayVar(&o.exposure, "exposure", nil, "most that may be at stake, as NAME/CODE=AMOUNT; repeat for each")
	f.StringArrayVar(&o.carry, "carry", nil, "carry earmarked money, as FROM/PROGRAMME=TO/PROGRAMME of two ledgers; repeat for each")
	f.IntVar(&o.maxQuotes, "max-quotes", 1000, "most open quotes at once")
	_ = cmd.MarkFlagRequired("data")
	o.telemetry.AddFlags(cmd)
	tlsfiles.ServerFlag(cmd)
	o.passphrase = cli.PassphraseFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return runProvider(cmd, o) }
	return cmd
}

// ledgerFlag is one parsed --ledger of a provider.
type ledgerFlag struct{ name, address, wallet string }

func (o *providerOptions) parseLedgers() ([]ledgerFlag, error) {
	var out []ledgerFlag
	for _, text := range o.ledgers {
		name, rest, ok := strings.Cut(text, "=")
		address, wallet, _ := strings.Cut(rest, ",")
		folder, isWallet := strings.CutPrefix(wallet, "wallet=")
		if !ok || name == "" || address == "" || wallet != "" && (!isWallet || folder == "") {
			return nil, cli.Usagef("--ledger %q: want NAME=URL,wallet=FOLDER", text)
		}
		out = append(out, ledgerFlag{name, address, folder})
	}
	for _, pair := range [][2]string{{o.ledgerA, o.walletA}, {o.ledgerB, o.walletB}} {
		switch {
		case pair[0] != "" && pair[1] != "":
			out = append(out, ledgerFlag{"", pair[0], pair[1]})
		case pair[0] != "" || pair[1] != "":
			return nil, cli.Usagef("--ledger-a goes with --wallet-a, --ledger-b with --wallet-b")
		}
	}
	owned := 0
	for _, l := range out {
		if l.wallet != "" {
			owned++
		}
	}
	if owned < 2 {
		return nil, cli.Usagef("a provider needs wallets on two ledgers at least: give --ledger NAME=URL,wallet=FOLDER for each")
	}
	return out, nil
}

func runProvider(cmd *cobra.Command, o providerOptions) (err error) {
	ctx := cmd.Context()
	if err := tlsfiles.CheckListen(cmd, o.listen); err != nil {
		return err
	}
	if (o.rates == "") == (o.ratesCommand == "") {
		return cli.Usagef("give --rates or --rates-command")
	}
	if o.ratesEvery <= 0 || o.follow <= 0 {
		return cli.Usagef("--rates-every and --follow-every want more than 0")
	}
	flags, err := o.parseLedgers()
	if err != nil {
		return err
	}
	secret, err := o.passphrase.Read(cmd, "Passphrase of the provider and its wallets", false)
	if err != nil {
		return err
	}
	seen, err := o.telemetry.Start(ctx, telemetry.Config{Service: "comity-provider", Stderr: cmd.ErrOrStderr(), Flags: cmd})
	if err != nil {
		return err
	}
	defer seen.Shutdown(ctx)
	logger := seen.Log
	p := &provider{name: o.name, log: logger, byHash: map[entry.GenesisHash]*account{}, jobs: map[bridge.ID]*job{}, rest: map[bridge.ID]resting{}}
	defer p.close()
	if err := p.openAccounts(ctx, flags, secret); err != nil {
		return err
	}
	var made bool
	if p.book, made, err = openBook(o.data, providerKind, secret, keystore.Options{}); err != nil {
		return err
	}
	if made {
		fmt.Fprintf(cmd.ErrOrStderr(), "made a signing key in %s: back the folder up\n", o.data)
	}
	config, err := o.config(p)
	if err != nil {
		return err
	}
	if p.desk, err = bridge.NewDesk(config, p.book.Records()); err != nil {
		return err
	}
	if err := p.compact(); err != nil {
		return err
	}
	if err := o.readRates(ctx, p); err != nil {
		return err // at the start a bad rates file is an error; later it stops the quotes
	}
	var served []entry.GenesisHash
	for _, a := range p.accounts {
		served = append(served, a.hash)
	}
	guard, err := tlsfiles.Server(cmd, logger, served...)
	if err != nil {
		return err
	}
	server, err := rpc.New(rpc.Config{Provider: p, Doors: guard, Log: logger})
	if err != nil {
		return err
	}
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", o.listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", o.listen, err)
	}
	url := tlsfiles.Scheme(guard) + listener.Addr().String()
	control, err := p.serveControl(o.data)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer control()

	// Work goes on for a while after the server stopped taking calls, so that a hold in the making is told to its payer.
	run, end := context.WithCancel(context.WithoutCancel(ctx))
	p.run = run
	var background sync.WaitGroup
	background.Go(func() { every(ctx, o.ratesEvery, func() { o.refreshRates(ctx, p) }) })
	background.Go(func() { every(ctx, time.Second, func() { p.corridors(ctx) }) })
	p.corridors(ctx)
	p.resume(ctx)
	background.Go(func() { every(ctx, o.follow, func() { p.resume(ctx) }) })
	if o.readyFile != "" {
		if err := cli.ReplaceFile(o.readyFile, []byte(url+"\n"), 0o644); err != nil {
			end()
			return errors.Join(err, listener.Close())
		}
	}
	if err := p.measure(); err != nil {
		end()
		return errors.Join(err, listener.Close())
	}
	seen.Serving(telemetry.Serves{})
	defer context.AfterFunc(ctx, func() { seen.Serving(nil) })()
	fmt.Fprintf(cmd.ErrOrStderr(), "ready %s provider %s, key %s, %d deals unfinished\n", url, o.name, p.desk.Provider(), p.unfinished())
	err = server.Serve(ctx, listener, 10*time.Second)
	end()
	background.Wait()
	p.wait.Wait()
	return err
}

// openAccounts opens the ledgers and the wallets. All wallets share one prover: its keys are large.
func (p *provider) openAccounts(ctx context.Context, flags []ledgerFlag, secret []byte) error {
	var shared wallets.Prover
	for _, f := range flags {
		text := f.address
		if f.name != "" {
			text = f.name + "=" + f.address
		}
		l, err := dial(ctx, text)
		if err != nil {
			return err
		}
		for _, other := range p.accounts {
			if other.hash == l.hash || other.name == l.name {
				return cli.Usagef("ledgers %s and %s are the same, or have one name", other.name, l.name)
			}
		}
		a := &account{ledger: l, peers: map[entry.GenesisHash]bool{}}
		p.accounts = append(p.accounts, a)
		p.byHash[l.hash] = a
		if f.wallet == "" {
			continue
		}
		if a.wallet, err = walletcmd.OpenWallet(ctx, f.wallet, f.address, secret); err != nil {
			return fmt.Errorf("wallet %s: %w", f.wallet, err)
		}
		if shared == nil {
			shared = &sharedProver{Prover: a.wallet.Prover}
		}
		a.wallet.Prover = shared
	}
	return nil
}

// sharedProver proves one thing at a time: a proof takes every processor that there is.
type sharedProver struct {
	mu sync.Mutex // guards Prover, which loads keys on first use
	wallets.Prover
}

// Check implements wallets.Prover.
func (s *sharedProver) Check(w zk.LegWitness) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Prover.Check(w)
}

// Prove implements wallets.Prover.
func (s *sharedProver) Prove(ctx context.Context, w zk.LegWitness) (zk.Proof, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Prover.Prove(ctx, w)
}

// config is the desk's configuration.
func (o *providerOptions) config(p *provider) (bridge.DeskConfig, error) {
	c := bridge.DeskConfig{Name: o.name, Key: deskKey(p.book), Receive: map[entry.GenesisHash]bridge.Address{}, Exposure: map[bridge.Account]zk.Amount{}, MaxQuotes: o.maxQuotes}
	for _, a := range p.accounts {
		if a.wallet == nil {
			continue
		}
		address := a.wallet.Keys.Address(a.genesis.Prefix, a.hash)
		c.Receive[a.hash] = bridge.Address{Owner: address.Owner, ViewKey: address.ViewKey}
		for _, asset := range a.genesis.Assets {
			if len(o.exposure) == 0 {
				c.Exposure[bridge.Account{Ledger: a.hash, Asset: asset.ID}] = math.MaxUint64
			}
		}
	}
	for _, text := range o.exposure {
		what, amount, ok := strings.Cut(text, "=")
		name, code, ok2 := strings.Cut(what, "/")
		a := p.named(name)
		if !ok || !ok2 || a == nil || a.wallet == nil {
			return c, cli.Usagef("--exposure %q: want NAME/CODE=AMOUNT of a ledger with a wallet", text)
		}
		asset, err := cli.AssetOf(a.genesis, code)
		if err != nil {
			return c, err
		}
		if c.Exposure[bridge.Account{Ledger: a.hash, Asset: asset.ID}], err = wallets.ParseAmount(amount, asset); err != nil {
			return c, fmt.Errorf("--exposure %s: %w", what, err)
		}
	}
	for _, text := range o.carry {
		from, to, ok := strings.Cut(text, "=")
		carry := bridge.Carry{}
		for _, side := range []struct {
			text      string
			ledger    *entry.GenesisHash
			programme *zk.ProgrammeID
		}{{from, &carry.From, &carry.FromProgramme}, {to, &carry.To, &carry.ToProgramme}} {
			name, number, ok2 := strings.Cut(side.text, "/")
			a := p.named(name)
			if !ok || !ok2 || a == nil {
				return c, cli.Usagef("--carry %q: want NAME/PROGRAMME=NAME/PROGRAMME", text)
			}
			var err error
			if *side.ledger = a.hash; number != "0" {
				if *side.programme, err = wallets.ParseProgramme(number); err != nil {
					return c, err
				}
			}
		}
		c.Carry = append(c.Carry, carry)
	}
	return c, nil
}

func (p *provider) named(name string) *account {
	for _, a := range p.accounts {
		if a.name == name {
			return a
		}
	}
	return nil
}

// compactAbove is the journal size in bytes above which it is rewritten at the start, keepDeals how long deals that ended are kept then.
const (
	compactAbove = 4 << 20
	keepDeals    = 7 * 24 * time.Hour
)

func (p *provider) compact() error {
	if p.book.JournalSize() < compactAbove {
		return nil
	}
	if err := p.book.Rewrite(p.desk.Compact(uint64(time.Now().Add(-keepDeals).UnixMilli()))); err != nil {
		return fmt.Errorf("compact the provider's journal: %w", err)
	}
	return nil
}

// readRates reads the rates and gives them to the desk.
func (o *providerOptions) readRates(ctx context.Context, p *provider) error {
	file, err := o.ratesText(ctx)
	if err != nil {
		return err
	}
	var known []bridge.Ledger
	for _, a := range p.accounts {
		known = append(known, a.known())
	}
	rates, err := bridge.ParseRates(file, known)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.desk.SetRates(rates)
	p.mu.Unlock()
	return nil
}

// ratesTimeout bounds one run of the rates command.
const ratesTimeout = 10 * time.Second

func (o *providerOptions) ratesText(ctx context.Context) ([]byte, error) {
	if o.rates != "" {
		info, err := os.Stat(o.rates)
		if err != nil {
			return nil, cli.Exit(cli.Usage, fmt.Errorf("read the rates: %w", err))
		}
		if info.Size() > bridge.MaxRatesFile {
			return nil, cli.Usagef("%s is longer than %d bytes", o.rates, bridge.MaxRatesFile)
		}
		b, err := os.ReadFile(o.rates)
		if err != nil {
			return nil, cli.Exit(cli.Usage, fmt.Errorf("read the rates: %w", err))
		}
		return b, nil
	}
	ctx, cancel := context.WithTimeout(ctx, ratesTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "/bin/sh", "-c", o.ratesCommand).Output()
	if err != nil {
		return nil, fmt.Errorf("run the rates command: %w", err)
	}
	return out, nil
}

// refreshRates takes new rates over; a desk without readable rates quotes nothing.
func (o *providerOptions) refreshRates(ctx context.Context, p *provider) {
	if err := o.readRates(ctx, p); err != nil && ctx.Err() == nil {
		p.mu.Lock()
		p.desk.SetRates(nil)
		p.mu.Unlock()
		p.log.Error("nothing is quoted until the rates can be read again", "error", err)
	}
}

func every(ctx context.Context, d time.Duration, do func()) {
	t := time.NewTicker(d)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			do()
		case <-ctx.Done():
			return
		}
	}
}

// close gives every folder back.
func (p *provider) close() {
	if p.book != nil {
		p.book.Close()
	}
	for _, a := range p.accounts {
		if a.wallet != nil {
			a.wallet.Close()
		}
	}
}
