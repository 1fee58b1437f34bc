// Package pkicmd is `comity ledger pki`: the authority by whose certificates the parts of one ledger know each other. What a certificate
// means is in package doors; this package brings files and the passphrase.
package pkicmd

import (
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/keyfile"
	"github.com/comity-ledger/comity/proto/doors"
	"github.com/comity-ledger/comity/proto/doors/authority"
)

const purpose keyfile.Purpose = "comity-authority-key-v1"

// folder is where an authority lives:
//
//	authority.pem                its certificate, which goes to everybody: --tls-ca, --tls-client-ca
//	authority.key                its key, encrypted under a passphrase
//	issued/<role>-<name>/        what goes to one holder
//	  cert.pem                   the certificate: --tls-cert
//	  key.pem                    its key, readable by the owner alone: --tls-key; not there where the holder made its own
//	  ca.pem                     the authority's certificate again: --tls-ca
type folder string

func (f folder) cert() string { return filepath.Join(string(f), "authority.pem") }
func (f folder) key() string  { return filepath.Join(string(f), "authority.key") }
func (f folder) issued() string {
	return filepath.Join(string(f), "issued")
}
func (f folder) holder(r doors.Role, name string) string {
	return filepath.Join(f.issued(), string(r)+"-"+name)
}

// Command returns the group "pki".
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pki",
		Short: "Make the certificates by which the parts of a ledger know each other",
		Long: `Make the certificates by which the parts of a ledger know each other: nodes, witnesses, banks, providers, auditors and relayers on other
machines. Each ledger has an authority of its own, and a certificate states a role and a name on that ledger alone.

Certificates live for 30 days unless --for says otherwise, and there is no list of revoked ones: a key that was lost or stolen is renewed by
nobody. "comity ledger pki renew --all" from a timer renews what is about to expire, in place; running processes take it up without a restart.

A key of a certificate is a file that only its owner may read, not encrypted, so that a process starts without a person. The authority's own key is
encrypted: keep its folder where no ledger runs.`,
	}
	cmd.AddCommand(initCommand(), issueCommand(), renewCommand(), listCommand())
	return cmd
}

func dirFlag(cmd *cobra.Command) *string {
	dir := cmd.Flags().String("dir", "", "the authority's folder (required)")
	_ = cmd.MarkFlagRequired("dir")
	return dir
}

func initCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "init",
		Short:   "Make the authority of a ledger",
		Long:    `Make the authority of a ledger: its key, encrypted under a passphrase, and its certificate, good for two years unless --for says otherwise.`,
		Example: "  comity ledger pki init --dir pki --genesis aurelia/genesis.json",
		Args:    cobra.NoArgs,
	}
	dir := dirFlag(cmd)
	genesis := cmd.Flags().String("genesis", "", "the ledger's genesis, as JSON or in its binary form (required)")
	lifetime := cmd.Flags().Duration("for", authority.AuthorityLifetime, "how long the authority's certificate is good")
	_ = cmd.MarkFlagRequired("genesis")
	passphrase := cli.PassphraseFlag(cmd)
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		g, err := cli.ReadGenesis(*genesis)
		if err != nil {
			return err
		}
		if *lifetime <= 0 {
			return cli.Usagef("--for wants more than 0")
		}
		f := folder(*dir)
		if _, err := os.Stat(f.key()); err == nil {
			return cli.RefusedAs("already_exists", fmt.Errorf("%s holds an authority", f))
		}
		secret, err := passphrase.Read(cmd, "Passphrase for the authority's key", true)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(f.issued(), 0o700); err != nil {
			return fmt.Errorf("make the authority's folder: %w", err)
		}
		if _, err := keyfile.New(f.key(), purpose, secret); err != nil {
			return err
		}
		key, _, err := keyfile.Read(f.key(), purpose, secret)
		if err != nil {
			return err
		}
		a, err := authority.New(doors.Ledger(g.Hash()), key, time.Now(), *lifetime)
		if err != nil {
			return err
		}
		if err := cli.WriteNewFile(f.cert(), a.Certificate(), false); err != nil {
			return err
		}
		return cli.Print(cmd, *asJSON, map[string]string{"ledger": a.Ledger().String(), "certificate": f.cert()}, func(w io.Writer) {
			fmt.Fprintf(w, "authority of %s (%s)\ncertificate  %s\n", g.Origin, a.Ledger(), f.cert())
		})
	}
	return cmd
}

// open takes the authority up.
func (f folder) open(cmd *cobra.Command, passphrase cli.Passphrase) (*authority.Authority, ed25519.PrivateKey, error) {
	text, err := os.ReadFile(f.cert())
	if err != nil {
		return nil, nil, cli.RefusedAs("no_authority", fmt.Errorf("%s holds no authority: make one with comity ledger pki init: %w", f, err))
	}
	secret, err := passphrase.Read(cmd, "Passphrase of the authority's key", false)
	if err != nil {
		return nil, nil, err
	}
	key, _, err := keyfile.Read(f.key(), purpose, secret)
	if err != nil {
		return nil, nil, err
	}
	a, err := authority.Open(text, key)
	if errors.Is(err, authority.ErrKeyMismatch) {
		err = cli.RefusedAs("authority_key_mismatch", fmt.Errorf("%s and %s: %w", f.cert(), f.key(), err))
	}
	return a, key, err
}

func issueCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "issue",
		Short: "Issue a certificate with a role and a name",
		Long: `Issue a certificate with a role and a name, and make its key, into DIR/issued/ROLE-NAME. With --dns or --ip it is a server's too: a ledger's
node (role operator), a witness or a provider. A holder that makes its own key sends a certificate request (--csr) and keeps the key to itself; of
the request nothing but its public key is used.

Roles: operator, registrar, bank, oversight (or auditor), witness, peer, provider, public.`,
		Example: `  comity ledger pki issue --dir pki --role operator --name node1 --dns ledger.aurelia.example --ip 192.0.2.10
  comity ledger pki issue --dir pki --role bank --name first-bank`,
		Args: cobra.NoArgs,
	}
	dir := dirFlag(cmd)
	role := cmd.Flags().String("role", "", "the holder's role (required)")
	name := cmd.Flags().String("name", "", "the holder's name: a-z, 0-9, '-' and '.' (required)")
	dns := cmd.Flags().StringArray("dns", nil, "a host name of the server; repeat for each")
	ips := cmd.Flags().StringArray("ip", nil, "an address of the server; repeat for each")
	csr := cmd.Flags().String("csr", "", "a certificate request with the holder's own public key, PEM")
	lifetime := cmd.Flags().Duration("for", authority.CertificateLifetime, "how long the certificate is good")
	_ = cmd.MarkFlagRequired("role")
	_ = cmd.MarkFlagRequired("name")
	passphrase := cli.PassphraseFlag(cmd)
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		r := authority.Request{Name: *name, DNSNames: *dns, Lifetime: *lifetime}
		var err error
		if r.Role, err = doors.ParseRole(*role); err != nil {
			return cli.Exit(cli.Usage, err)
		}
		if err := doors.CheckName(*name); err != nil {
			return cli.Exit(cli.Usage, err)
		}
		if *lifetime <= 0 {
			return cli.Usagef("--for wants more than 0")
		}
		for _, text := range *ips {
			ip := net.ParseIP(text)
			if ip == nil {
				return cli.Usagef("--ip %q is no address", text)
			}
			r.IPs = append(r.IPs, ip)
		}
		if *csr != "" {
			if r.Key, err = readRequest(*csr); err != nil {
				return err
			}
		}
		f := folder(*dir)
		out := f.holder(r.Role, r.Name)
		if _, err := os.Stat(out); err == nil {
			return cli.RefusedAs("already_exists", fmt.Errorf("%s has a certificate already: renew it, or choose another name", out))
		}
		a, _, err := f.open(cmd, passphrase)
		if err != nil {
			return err
		}
		h, err := f.write(a, r, out)
		if err != nil {
			return err
		}
		return cli.Print(cmd, *asJSON, h, func(w io.Writer) { table(w, []holder{h}) })
	}
	return cmd
}

// readRequest takes the public key out of a certificate request whose signature holds.
func readRequest(path string) (crypto.PublicKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, cli.Exit(cli.Usage, err)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, cli.Usagef("%s: want one PEM block CERTIFICATE REQUEST", path)
	}
	r, err := x509.ParseCertificateRequest(block.Bytes)
	if err == nil {
		err = r.CheckSignature()
	}
	if err != nil {
		return nil, cli.Usagef("%s: %w", path, err)
	}
	return r.PublicKey, nil
}

// write issues into a folder, making the key unless the holder did. The key is replaced before the certificate: a process that reads between
// the two finds a pair that does not fit, keeps the old one and looks again.
func (f folder) write(a *authority.Authority, r authority.Request, out string) (holder, error) {
	var private []byte
	if r.Key == nil {
		var err error
		if r.Key, private, err = authority.NewKey(); err != nil {
			return holder{}, err
		}
	}
	text, err := a.Issue(r, time.Now())
	if err != nil {
		return holder{}, err
	}
	if err := os.MkdirAll(out, 0o700); err != nil {
		return holder{}, fmt.Errorf("make the holder's folder: %w", err)
	}
	if private != nil {
		if err := cli.ReplaceFile(filepath.Join(out, "key.pem"), private, 0o600); err != nil {
			return holder{}, err
		}
	}
	if err := errors.Join(cli.ReplaceFile(filepath.Join(out, "cert.pem"), text, 0o644), cli.ReplaceFile(filepath.Join(out, "ca.pem"), a.Certificate(), 0o644)); err != nil {
		return holder{}, err
	}
	return readHolder(out, time.Now())
}

// holder is one issued certificate, as list prints it.
type holder struct {
	Role    doors.Role `json:"role"`
	Name    string     `json:"name"`
	Serial  string     `json:"serial"`
	Expires string     `json:"expires"`
	Days    int        `json:"days_left"` // whole days; below 0 expired
	Hosts   []string   `json:"hosts"`     // of a server
	Folder  string     `json:"folder"`

	cert *x509.Certificate
}

func readHolder(dir string, now time.Time) (holder, error) {
	text, err := os.ReadFile(filepath.Join(dir, "cert.pem"))
	if err != nil {
		return holder{}, fmt.Errorf("read an issued certificate: %w", err)
	}
	c, err := authority.Parse(text)
	if err != nil {
		return holder{}, cli.Usagef("%s: %w", filepath.Join(dir, "cert.pem"), err)
	}
	id, err := doors.IdentityOf(c)
	if err != nil {
		return holder{}, fmt.Errorf("%s: %w", filepath.Join(dir, "cert.pem"), err)
	}
	left := c.NotAfter.Sub(now)
	days := int(left / (24 * time.Hour))
	if left < 0 {
		days--
	}
	h := holder{Role: id.Role, Name: id.Name, Serial: fmt.Sprintf("%032x", c.SerialNumber), Expires: c.NotAfter.UTC().Format(time.RFC3339), Days: days, Hosts: slices.Clone(c.DNSNames),
		Folder: dir, cert: c}
	for _, ip := range c.IPAddresses {
		h.Hosts = append(h.Hosts, ip.String())
	}
	return h, nil
}

// holders reads every issued certificate, in order of the folders' names.
func (f folder) holders(now time.Time) ([]holder, error) {
	rows, err := os.ReadDir(f.issued())
	if err != nil {
		return nil, cli.RefusedAs("no_authority", fmt.Errorf("%s holds no authority: %w", f, err))
	}
	out := []holder{}
	for _, row := range rows {
		h, err := readHolder(filepath.Join(f.issued(), row.Name()), now)
		if err != nil {
			return nil, err
		}
		out = append(out, h)
	}
	return out, nil
}

func renewCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "renew",
		Short: "Renew certificates in place",
		Long: `Renew certificates in place, with the same role, name, hosts and lifetime, and with a new key unless the holder keeps its own. Running processes
read changed files without a restart.

--all renews every certificate that expires within --within, which suits a timer. --authority renews the authority's own certificate with the
same key: certificates that it signed stay good, and authority.pem goes to everybody again.`,
		Example: `  comity ledger pki renew --dir pki --role bank --name first-bank
  comity ledger pki renew --dir pki --all --within 240h`,
		Args: cobra.NoArgs,
	}
	dir := dirFlag(cmd)
	role := cmd.Flags().String("role", "", "the holder's role")
	name := cmd.Flags().String("name", "", "the holder's name")
	all := cmd.Flags().Bool("all", false, "every certificate that is about to expire")
	within := cmd.Flags().Duration("within", 10*24*time.Hour, "with --all: what expires in less than this")
	own := cmd.Flags().Bool("authority", false, "the authority's own certificate")
	passphrase := cli.PassphraseFlag(cmd)
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		f, now := folder(*dir), time.Now()
		which := 0
		for _, given := range []bool{*all, *own, *role != "" && *name != ""} {
			if given {
				which++
			}
		}
		if which != 1 {
			return cli.Usagef("give --role with --name, or --all, or --authority")
		}
		if *own {
			return f.renewAuthority(cmd, passphrase, now)
		}
		rows, err := f.holders(now)
		if err != nil {
			return err
		}
		if *all {
			rows = slices.DeleteFunc(rows, func(h holder) bool { return h.cert.NotAfter.Sub(now) >= *within })
		} else {
			r, err := doors.ParseRole(*role)
			if err != nil {
				return cli.Exit(cli.Usage, err)
			}
			rows = slices.DeleteFunc(rows, func(h holder) bool { return h.Role != r || h.Name != *name })
			if len(rows) == 0 {
				return cli.RefusedAs("not_issued", fmt.Errorf("%s has issued nothing to %s %s", f, r, *name))
			}
		}
		renewed := []holder{}
		if len(rows) > 0 {
			a, _, err := f.open(cmd, passphrase)
			if err != nil {
				return err
			}
			for _, h := range rows {
				r := authority.Request{Role: h.Role, Name: h.Name, DNSNames: h.cert.DNSNames, IPs: h.cert.IPAddresses, Lifetime: authority.LifetimeOf(h.cert)}
				if _, err := os.Stat(filepath.Join(h.Folder, "key.pem")); errors.Is(err, os.ErrNotExist) {
					r.Key = h.cert.PublicKey
				}
				fresh, err := f.write(a, r, h.Folder)
				if err != nil {
					return err
				}
				renewed = append(renewed, fresh)
			}
		}
		return cli.Print(cmd, *asJSON, renewed, func(w io.Writer) { table(w, renewed) })
	}
	return cmd
}

func (f folder) renewAuthority(cmd *cobra.Command, passphrase cli.Passphrase, now time.Time) error {
	a, key, err := f.open(cmd, passphrase)
	if err != nil {
		return err
	}
	fresh, err := authority.New(a.Ledger(), key, now, a.Lifetime())
	if err != nil {
		return err
	}
	if err := cli.ReplaceFile(f.cert(), fresh.Certificate(), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "certificate  %s\n", f.cert())
	return nil
}

func listCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List issued certificates and when they expire",
		Example: "  comity ledger pki list --dir pki",
		Args:    cobra.NoArgs,
	}
	dir := dirFlag(cmd)
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		rows, err := folder(*dir).holders(time.Now())
		if err != nil {
			return err
		}
		return cli.Print(cmd, *asJSON, rows, func(w io.Writer) { table(w, rows) })
	}
	return cmd
}

func table(w io.Writer, rows []holder) {
	if len(rows) == 0 {
		fmt.Fprintln(w, "none")
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ROLE\tNAME\tEXPIRES\tDAYS\tSERVES\tFOLDER")
	for _, h := range rows {
		hosts := strings.Join(h.Hosts, ", ")
		if hosts == "" {
			hosts = "-"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\n", h.Role, h.Name, h.Expires, h.Days, hosts, h.Folder)
	}
	_ = t.Flush()
}
