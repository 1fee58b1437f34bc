// Package authority signs the certificates of one ledger: its own as the authority, and those of servers and callers with their roles.
// It reads no files and no clock.
package authority

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"

	"github.com/comity-ledger/comity/proto/doors"
)

// Lifetimes by default. A certificate is short-lived because there is no list of revoked ones: whoever loses a key is renewed by nobody.
const (
	CertificateLifetime = 30 * 24 * time.Hour
	AuthorityLifetime   = 2 * 365 * 24 * time.Hour
)

// early is how long before now a certificate begins, for clocks that differ.
const early = 5 * time.Minute

// Authority signs certificates of one ledger.
type Authority struct {
	ledger doors.Ledger
	cert   *x509.Certificate
	key    ed25519.PrivateKey
}

// New makes an authority with a key, good from now.
func New(ledger doors.Ledger, key ed25519.PrivateKey, now time.Time, lifetime time.Duration) (*Authority, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{"Comity ledger"}, CommonName: "authority of " + ledger.String()[:48]},
		NotBefore:    now.Add(-early), NotAfter: now.Add(lifetime),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, // it signs no other authority
		KeyUsage: x509.KeyUsageCertSign, URIs: []*url.URL{doors.AuthorityURI(ledger)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign the authority's certificate: %w", err)
	}
	return Open(PEM(der), key)
}

// ErrKeyMismatch: the certificate is of another key.
var ErrKeyMismatch = errors.New("the authority's certificate is of another key")

// Open takes up an authority from its certificate, as PEM, and its key.
func Open(certificate []byte, key ed25519.PrivateKey) (*Authority, error) {
	cert, err := Parse(certificate)
	if err != nil {
		return nil, fmt.Errorf("the authority's certificate: %w", err)
	}
	ledger, err := doors.AuthorityOf(cert)
	if err != nil {
		return nil, err
	}
	if public, ok := cert.PublicKey.(ed25519.PublicKey); !ok || !public.Equal(key.Public()) {
		return nil, ErrKeyMismatch
	}
	return &Authority{ledger, cert, key}, nil
}

// Ledger is whose authority it is.
func (a *Authority) Ledger() doors.Ledger { return a.ledger }

// Certificate gives the authority's own certificate as PEM.
func (a *Authority) Certificate() []byte { return PEM(a.cert.Raw) }

// Request is what a certificate is asked for. With host names or addresses it is for a server too; every certificate is for a caller.
type Request struct {
	Role     doors.Role
	Name     string
	DNSNames []string
	IPs      []net.IP
	Key      crypto.PublicKey
	Lifetime time.Duration
}

// Issue signs a certificate, good from now and never longer than the authority's own, and gives it as PEM.
func (a *Authority) Issue(r Request, now time.Time) ([]byte, error) {
	if _, err := doors.ParseRole(string(r.Role)); err != nil {
		return nil, err
	}
	if err := doors.CheckName(r.Name); err != nil {
		return nil, err
	}
	for _, host := range r.DNSNames {
		if err := doors.CheckName(host); err != nil {
			return nil, err
		}
	}
	until := now.Add(r.Lifetime)
	if until.After(a.cert.NotAfter) {
		until = a.cert.NotAfter
	}
	if !until.After(now) {
		return nil, &doors.Refusal{Code: doors.CertificateExpired, Detail: "the authority's own certificate has expired, or the lifetime is none"}
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	id := doors.Identity{Ledger: a.ledger, Role: r.Role, Name: r.Name}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{Organization: []string{"Comity ledger"}, CommonName: id.String()},
		NotBefore: now.Add(-early), NotAfter: until, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, DNSNames: r.DNSNames, IPAddresses: r.IPs, URIs: []*url.URL{id.URI()},
	}
	if len(r.DNSNames)+len(r.IPs) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, r.Key, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign a certificate: %w", err)
	}
	return PEM(der), nil
}

// newSerial draws 127 bits, so that a serial is positive, never repeats and tells nothing.
func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("draw a serial: %w", err)
	}
	return n.Add(n, big.NewInt(1)), nil
}

// NewKey makes a key and gives its private half as PEM (PKCS #8).
func NewKey() (crypto.PublicKey, []byte, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, fmt.Errorf("encode a key: %w", err)
	}
	return public, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// PEM is a certificate as text.
func PEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// Parse reads one certificate as text.
func Parse(text []byte) (*x509.Certificate, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("want one PEM block CERTIFICATE")
	}
	return x509.ParseCertificate(block.Bytes)
}

// LifetimeOf is how long a certificate was issued for.
func LifetimeOf(c *x509.Certificate) time.Duration { return c.NotAfter.Sub(c.NotBefore) - early }

// Lifetime is how long the authority's own certificate was issued for.
func (a *Authority) Lifetime() time.Duration { return LifetimeOf(a.cert) }
