package rig

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/comity-ledger/comity/proto/doors"
	"github.com/comity-ledger/comity/proto/doors/authority"
)

// Certificates are the files of a ledger's mutual TLS: those of its authority, of the server, and of callers.
type Certificates struct {
	dir       string
	authority *authority.Authority
}

// Certify makes an authority and the server's certificate.
func Certify(ledger doors.Ledger, dir string) (*Certificates, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	a, err := authority.New(ledger, key, time.Now(), authority.AuthorityLifetime)
	if err != nil {
		return nil, err
	}
	c := &Certificates{dir, a}
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(c.CA(), a.Certificate(), 0o600)); err != nil {
		return nil, err
	}
	return c, c.issue(doors.Operator, "node", net.IPv4(127, 0, 0, 1))
}

// CA names the file of the authority.
func (c *Certificates) CA() string { return filepath.Join(c.dir, "ca.pem") }

// Pair names the files of a certificate and its key.
func (c *Certificates) Pair(name string) (cert, key string) {
	return filepath.Join(c.dir, name+".pem"), filepath.Join(c.dir, name+".key")
}

func (c *Certificates) issue(role doors.Role, name string, ips ...net.IP) error {
	public, private, err := authority.NewKey()
	if err != nil {
		return err
	}
	cert, err := c.authority.Issue(authority.Request{Role: role, Name: name, IPs: ips, Key: public, Lifetime: authority.CertificateLifetime}, time.Now())
	if err != nil {
		return err
	}
	certPath, keyPath := c.Pair(name)
	return errors.Join(os.WriteFile(certPath, cert, 0o600), os.WriteFile(keyPath, private, 0o600))
}

// client is a caller with a certificate of its own.
func (c *Certificates) client(role doors.Role, name string) (*doors.Client, error) {
	if err := c.issue(role, name); err != nil {
		return nil, err
	}
	cert, key := c.Pair(name)
	return doors.NewClient(doors.ClientConfig{Certs: []string{cert}, Keys: []string{key}, CAs: []string{c.CA()}})
}
