// Package doors says who is at the other end of a connection: mutual TLS 1.3 between the parts of Comity that run on different machines.
//
// It owns what a certificate means (a role and a name on one ledger), the checks of both ends, the files and their renewal without a restart,
// and the rule that without certificates nothing but this machine is spoken to. What a role may do is for the servers to say. It makes no
// certificates: an authority does (comity ledger pki).
package doors

import (
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// Code names a refusal of this package.
type Code string

// The refusals. Those of certificates are also told by the other end's TLS, in an alert.
const (
	// CertificateRequired: the caller shows no certificate.
	CertificateRequired Code = "certificate_required"
	// CertificateExpired: a certificate's time is over, or has not come.
	CertificateExpired Code = "certificate_expired"
	// CertificateUnknownAuthority: no authority that is trusted here signed it.
	CertificateUnknownAuthority Code = "certificate_unknown_authority"
	// CertificateOtherLedger: it is a certificate of another ledger, or its authority is that of another ledger.
	CertificateOtherLedger Code = "certificate_other_ledger"
	// CertificateInvalid: it states no role, or more than one, or is not for this use or this host.
	CertificateInvalid Code = "certificate_invalid"
	// FilesInvalid: the files of a certificate, a key or an authority cannot be used.
	FilesInvalid Code = "tls_files_invalid"
	// AuthorityMissing: an https address without the authority by which its server is known.
	AuthorityMissing Code = "tls_ca_missing"
	// NotLoopback: an address of another machine without TLS.
	NotLoopback Code = "not_loopback"
)

// Refusal is a named reason for which there is no connection.
type Refusal struct {
	Code   Code
	Detail string
}

// Error gives "code: detail".
func (r *Refusal) Error() string { return string(r.Code) + ": " + r.Detail }

// RefusalCode names the refusal for callers that map errors to exit codes.
func (r *Refusal) RefusalCode() string { return string(r.Code) }

func refuse(code Code, format string, args ...any) error {
	return &Refusal{code, fmt.Sprintf(format, args...)}
}

// CodeOf returns the code of the refusal in err's chain, or "".
func CodeOf(err error) Code {
	if r := (*Refusal)(nil); errors.As(err, &r) {
		return r.Code
	}
	return ""
}

// Role is what a certificate makes its holder.
type Role string

// The roles, by the words that certificates and commands use.
const (
	Operator  Role = "operator"  // runs the ledger
	Registrar Role = "registrar" // keeps its registry of wallets, programmes and keys
	Bank      Role = "bank"      // runs wallets on it
	Oversight Role = "oversight" // audits it
	Witness   Role = "witness"   // cosigns its checkpoints
	Peer      Role = "peer"      // relays between it and other ledgers
	Provider  Role = "provider"  // sells money on it for money elsewhere
	Public    Role = "public"    // reads what anybody may read
)

// Roles are all roles.
var Roles = []Role{Operator, Registrar, Bank, Oversight, Witness, Peer, Provider, Public}

// ParseRole reads a role; "auditor" is another word for oversight.
func ParseRole(text string) (Role, error) {
	if text == "auditor" {
		return Oversight, nil
	}
	for _, r := range Roles {
		if string(r) == text {
			return r, nil
		}
	}
	return "", refuse(CertificateInvalid, "role %q: want one of %v", text, Roles)
}

// Ledger is the hash of a ledger's genesis entry.
type Ledger [32]byte

// String gives 64 hexadecimal digits.
func (l Ledger) String() string { return hex.EncodeToString(l[:]) }

// Identity is what a certificate says of its holder.
type Identity struct {
	Ledger Ledger
	Role   Role
	Name   string
}

// String gives "role/name".
func (i Identity) String() string { return string(i.Role) + "/" + i.Name }

// The hash stands in the path, not as the host: 64 digits are one more than a label of a host name may have.
const (
	scheme = "comity"
	host   = "ledger"
)

// URI is the identity as it stands in a certificate: comity://ledger/<genesis hash>/role/<role>/<name>.
func (i Identity) URI() *url.URL {
	return &url.URL{Scheme: scheme, Host: host, Path: "/" + i.Ledger.String() + "/role/" + string(i.Role) + "/" + i.Name}
}

// AuthorityURI stands in the certificate of a ledger's authority: comity://ledger/<genesis hash>/authority.
func AuthorityURI(l Ledger) *url.URL {
	return &url.URL{Scheme: scheme, Host: host, Path: "/" + l.String() + "/authority"}
}

// CheckName refuses a name that is not 1 to 63 of the characters a-z, 0-9, '-' and '.', or that begins or ends with one of the last two.
func CheckName(name string) error {
	bad := func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.' }
	if name == "" || len(name) > 63 || strings.ContainsFunc(name, bad) || strings.Trim(name, "-.") != name {
		return refuse(CertificateInvalid, "name %q: want 1 to 63 of a-z, 0-9, '-' and '.', a letter or digit at both ends", name)
	}
	return nil
}

// IdentityOf reads the one identity in a certificate.
func IdentityOf(c *x509.Certificate) (Identity, error) {
	parts, err := ours(c)
	if err != nil {
		return Identity{}, err
	}
	if len(parts) != 4 || parts[1] != "role" {
		return Identity{}, refuse(CertificateInvalid, "the certificate of %q states no role", c.Subject.CommonName)
	}
	ledger, err := parseLedger(parts[0])
	if err != nil {
		return Identity{}, err
	}
	role, err := ParseRole(parts[2])
	if err != nil {
		return Identity{}, err
	}
	if string(role) != parts[2] {
		return Identity{}, refuse(CertificateInvalid, "role %q in a certificate", parts[2])
	}
	return Identity{ledger, role, parts[3]}, CheckName(parts[3])
}

// AuthorityOf reads whose authority a certificate is.
func AuthorityOf(c *x509.Certificate) (Ledger, error) {
	parts, err := ours(c)
	if err != nil {
		return Ledger{}, err
	}
	if len(parts) != 2 || parts[1] != "authority" || !c.IsCA {
		return Ledger{}, refuse(CertificateInvalid, "the certificate of %q is not that of a ledger's authority", c.Subject.CommonName)
	}
	return parseLedger(parts[0])
}

// ours gives the path of the one URI of this project in a certificate, in parts. A second one would leave open which counts.
func ours(c *x509.Certificate) ([]string, error) {
	var found []string
	for _, u := range c.URIs {
		if u.Scheme != scheme {
			continue
		}
		if found != nil {
			return nil, refuse(CertificateInvalid, "the certificate of %q has more than one %s name", c.Subject.CommonName, scheme)
		}
		path, ok := strings.CutPrefix(u.String(), scheme+"://"+host+"/")
		if !ok {
			return nil, refuse(CertificateInvalid, "%q is no name of a ledger's certificate", u)
		}
		found = strings.Split(path, "/")
	}
	if found == nil {
		return nil, refuse(CertificateInvalid, "the certificate of %q has no %s name", c.Subject.CommonName, scheme)
	}
	return found, nil
}

func parseLedger(text string) (l Ledger, err error) {
	if n, err := hex.Decode(l[:], []byte(text[:min(len(text), 64)])); err != nil || n != len(l) || l.String() != text {
		return Ledger{}, refuse(CertificateInvalid, "%q is no genesis hash", text)
	}
	return l, nil
}

// verify checks a certificate against authorities, for one use, now; and that its authority is that of its own ledger, so that nobody who
// issues for one ledger makes callers of another where both are trusted.
func verify(leaf *x509.Certificate, options x509.VerifyOptions) (Identity, error) {
	chains, err := leaf.Verify(options)
	if err != nil {
		return Identity{}, explain(err)
	}
	id, err := IdentityOf(leaf)
	if err != nil {
		return Identity{}, err
	}
	for _, chain := range chains {
		if owner, err := AuthorityOf(chain[len(chain)-1]); err == nil && owner == id.Ledger {
			return id, nil
		}
	}
	return Identity{}, refuse(CertificateOtherLedger, "%s states ledger %s, whose authority did not sign it", id, id.Ledger)
}

// explain names what x509 found wrong.
func explain(err error) error {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	switch {
	case err == nil, CodeOf(err) != "":
		return err
	case errors.As(err, &unknown):
		return refuse(CertificateUnknownAuthority, "%v", err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return refuse(CertificateExpired, "%v", err)
	case errors.As(err, &invalid), errors.As(err, &name):
		return refuse(CertificateInvalid, "%v", err)
	}
	return err
}

// IsLoopback reports whether a host is "localhost" or an address in 127.0.0.0/8 or ::1.
func IsLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
