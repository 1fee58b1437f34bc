// Package escrowcmd is the command group "comity escrow": money that waits for the word of attestors. It reads keys, flags and documents,
// makes the entries and sends them; what they may do is decided by the ledger (settlement/SPEC chapter 8).
package escrowcmd

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/keyfile"
	"github.com/comity-ledger/comity/cmd/internal/tlsfiles"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets/client"
)

// ledgerEnv stands for --ledger, as for wallets.
const ledgerEnv = "COMITY_LEDGER"

// Command is the group "escrow".
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "escrow",
		Short: "Pay when a delivery is attested, or hold a guarantee",
		Long: `Pay when a delivery is attested, or hold a guarantee.

Money in escrow waits on the ledger. It goes to the payee when m of n named attestors state what was agreed (a delivery, an inspection, a
milestone, an end use, a demand) before the expiry, and back to the payer otherwise. Every statement is an entry of the log that names the
hold and the SHA-256 of a document; the amount and the parties stay hidden.

With a challenge window the payer may ask once for more attestors. The payee may give the money up at any time. Payer and payee together
may move the expiry. Whoever likes submits what is due: comity escrow settle.

A bank guarantee is an escrow whose statement is a demand and whose attestor is the beneficiary:
  issue    comity escrow place --statement demand --attestor BENEFICIARY --payee-key BENEFICIARY --payer-key APPLICANT ...
  amend    comity escrow amend HOLD --until 2027-06-30T00:00:00Z (both parties sign)
  call     comity escrow attest HOLD --statement demand --document claim.pdf, then comity escrow settle HOLD
  release  comity escrow release HOLD (the beneficiary gives it back)
  expire   comity escrow settle HOLD, by anybody after the expiry

--ledger may also be given as $COMITY_LEDGER and --wallet as $COMITY_WALLET.`,
	}
	cmd.AddCommand(keygenCommand(), placeCommand(), attestCommand(), withdrawCommand(), challengeCommand(), amendCommand(), releaseCommand(),
		settleCommand(), listCommand())
	return cmd
}

func keygenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keygen",
		Short: "Make the key of an attestor or of a party",
		Long: `Make the Ed25519 key of an attestor, of a payer who may challenge or of a payee who may release, encrypted under a passphrase, and print its
public half, which goes into the conditions of an escrow. It moves no money.`,
		Example: "  comity escrow keygen --out inspector.key",
		Args:    cobra.NoArgs,
	}
	out := cmd.Flags().String("out", "", "the key file to write (required)")
	_ = cmd.MarkFlagRequired("out")
	passphrase := cli.PassphraseFlag(cmd)
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		secret, err := passphrase.Read(cmd, "Passphrase for the new key file", true)
		if err != nil {
			return err
		}
		key, err := keyfile.New(*out, keyfile.Party, secret)
		if err != nil {
			return err
		}
		return cli.Print(cmd, *asJSON, map[string]string{"public_key": key.String(), "file": *out}, func(w io.Writer) {
			fmt.Fprintln(w, key)
		})
	}
	return cmd
}

// statements are the words of the command line for what can be attested.
var statements = map[string]entry.Statement{"delivery": entry.StatementDelivery, "inspection": entry.StatementInspection,
	"milestone": entry.StatementMilestone, "end-use": entry.StatementEndUse, "demand": entry.StatementDemand}

func parseStatement(text string) (entry.Statement, error) {
	if s, ok := statements[text]; ok {
		return s, nil
	}
	return 0, cli.Usagef(`--statement %q: want "delivery", "inspection", "milestone", "end-use" or "demand"`, text)
}

// parseKey reads a public key in hexadecimal, or the file that holds one.
func parseKey(text string) (entry.SignerKey, error) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != ed25519.PublicKeySize {
		data, rerr := readSmall(text, 4096)
		if rerr != nil {
			return entry.SignerKey{}, cli.Usagef("%q is neither a public key of 64 hexadecimal digits nor a file that can be read", text)
		}
		if raw, err = hex.DecodeString(strings.TrimSpace(string(data))); err != nil || len(raw) != ed25519.PublicKeySize {
			return entry.SignerKey{}, cli.Usagef("%s does not hold a public key of 64 hexadecimal digits", text)
		}
	}
	return entry.SignerKeyOf(raw)
}

func readSmall(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, cli.Exit(cli.Usage, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(data)) > limit {
		return nil, cli.Usagef("%s is longer than %d bytes", path, limit)
	}
	return data, nil
}

// maxDocument bounds a document that is hashed, in bytes.
const maxDocument = 1 << 30

// documentFlags name a document by its file or by its digest.
type documentFlags struct{ file, digest *string }

func addDocumentFlags(cmd *cobra.Command, what string) documentFlags {
	return documentFlags{
		file:   cmd.Flags().String("document", "", what+": a file, whose SHA-256 is used; the file itself goes nowhere"),
		digest: cmd.Flags().String("digest", "", "the SHA-256 of the document, in place of --document"),
	}
}

// read gives the digest, or zero when neither flag is given.
func (f documentFlags) read() (digest [32]byte, err error) {
	switch {
	case *f.file != "" && *f.digest != "":
		return digest, cli.Usagef("give --document or --digest, not both")
	case *f.file != "":
		data, err := readSmall(*f.file, maxDocument)
		if err != nil {
			return digest, err
		}
		return entry.Digest(data), nil
	case *f.digest != "":
		if digest, err = entry.ParseDigest(*f.digest); err != nil {
			return digest, cli.Usagef("--digest: %w", err)
		}
	}
	return digest, nil
}

// ledgerFlags name the ledger.
type ledgerFlags struct{ address, hash *string }

func addLedgerFlags(cmd *cobra.Command) ledgerFlags {
	return ledgerFlags{
		address: cmd.Flags().String("ledger", "", "address of the ledger, such as http://127.0.0.1:7001 (default: $"+ledgerEnv+")"),
		hash:    cmd.Flags().String("genesis", "", "genesis hash that the ledger must have"),
	}
}

// remote is a ledger that answers.
type remote struct {
	*client.Client
	genesis *entry.Genesis
}

func (f ledgerFlags) dial(ctx context.Context) (*remote, error) {
	address := *f.address
	if address == "" {
		if address = os.Getenv(ledgerEnv); address == "" {
			return nil, cli.Usagef("--ledger is needed (or $%s)", ledgerEnv)
		}
	}
	address, err := cli.LedgerURL(address)
	if err != nil {
		return nil, err
	}
	c, err := client.NewTLS(address, tlsfiles.From(ctx))
	if err != nil {
		return nil, err
	}
	g, _, err := c.Genesis(ctx)
	if err != nil {
		return nil, err
	}
	if *f.hash != "" && *f.hash != g.Hash().String() {
		return nil, cli.RefusedAs("other_ledger", fmt.Errorf("%s is ledger %s, not %s", address, g.Hash(), *f.hash))
	}
	return &remote{c, g}, nil
}

// header is that of an entry that anybody may send: it lives half as long as the ledger allows, ten minutes at most.
func (r *remote) header() entry.Header {
	ttl := min(uint64(10*time.Minute/time.Millisecond), r.genesis.MaxExpiryMillis/2)
	return entry.Header{Ledger: r.genesis.Hash(), ExpiryMillis: uint64(time.Now().UnixMilli()) + max(1, ttl)}
}

const (
	sendTries = 6
	sendPause = 250 * time.Millisecond
)

// send sends an entry, the same bytes again while nothing is known of it.
func (r *remote) send(ctx context.Context, e entry.Entry) (index uint64, err error) {
	leaf, pause := entry.Encode(e), sendPause
	for try := 1; ; try++ {
		at, err := r.Submit(ctx, leaf, nil)
		if err == nil {
			return at.EntryIndex, nil
		}
		if code := entry.CodeOf(err); code != "" && code != entry.TryLater || try == sendTries || ctx.Err() != nil {
			return 0, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		pause *= 2
	}
}

// attested finds an open escrow and its conditions. One that is decided is refused as hold_resolved.
func (r *remote) attested(ctx context.Context, text string) (*client.Hold, *entry.Attested, error) {
	id, err := entry.ParseHoldID(text)
	if err != nil {
		return nil, nil, cli.Usagef("%q is no hold: want 64 hexadecimal digits, a slash and the leg", text)
	}
	h, done, err := r.Hold(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	if done != nil {
		return nil, nil, &resolved{id, *done}
	}
	decoded, err := h.Condition.Decode()
	if err != nil {
		return nil, nil, cli.Exit(cli.Unverified, fmt.Errorf("the ledger's conditions of hold %s: %w", id, err))
	}
	a, ok := decoded.(*entry.Attested)
	if !ok {
		return nil, nil, cli.RefusedAs("not_an_escrow", fmt.Errorf("hold %s is one half of a payment between ledgers: comity bridge relay settles it", id))
	}
	return h, a, nil
}

// resolved is the refusal of what comes too late for a hold.
type resolved struct {
	hold entry.HoldID
	client.Resolution
}

// Error says what became of the hold.
func (r *resolved) Error() string {
	return fmt.Sprintf("%s: hold %s was %s by entry %d", entry.HoldResolved, r.hold, r.Outcome, r.Entry)
}

// RefusalCode is the ledger's own name for it.
func (*resolved) RefusalCode() string { return string(entry.HoldResolved) }

// keyFlag names a party's key file.
type keyFlag struct {
	path       *string
	passphrase cli.Passphrase
}

func addKeyFlag(cmd *cobra.Command, whose string) keyFlag {
	f := keyFlag{cmd.Flags().String("key", "", "key file of "+whose+" (required)"), cli.PassphraseFlag(cmd)}
	_ = cmd.MarkFlagRequired("key")
	return f
}

func (f keyFlag) read(cmd *cobra.Command) (ed25519.PrivateKey, error) {
	secret, err := f.passphrase.Read(cmd, "Passphrase of "+*f.path, false)
	if err != nil {
		return nil, err
	}
	key, _, err := keyfile.Read(*f.path, keyfile.Party, secret)
	return key, err
}
