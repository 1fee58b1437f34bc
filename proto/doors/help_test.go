package doors_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/comity-ledger/comity/proto/doors"
)

func logTo(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func copyFile(t *testing.T, from, to string) { t.Helper(); write(t, to, mustRead(t, from)) }

// shown gives the serial number of the certificate that a server shows now.
func shown(t *testing.T, address string) string {
	t.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(address, "https://"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

type forged struct {
	ca        []byte
	cert, key string
}

// forge is an authority of one ledger that signs what package authority would not: a caller with any name.
func forge(t *testing.T, l doors.Ledger, name *url.URL) forged {
	t.Helper()
	dir := t.TempDir()
	sign := func(template, parent *x509.Certificate, public ed25519.PublicKey, by ed25519.PrivateKey) []byte {
		der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	caPublic, caKey, _ := ed25519.GenerateKey(rand.Reader)
	public, key, _ := ed25519.GenerateKey(rand.Reader)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "forger"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, URIs: []*url.URL{doors.AuthorityURI(l)}}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, URIs: []*url.URL{name}}
	caDER := sign(ca, ca, caPublic, caKey)
	parent, err := x509.ParseCertificate(caDER)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	return forged{
		ca: block("CERTIFICATE", caDER), cert: write(t, filepath.Join(dir, "cert.pem"), block("CERTIFICATE", sign(leaf, parent, public, caKey))),
		key: write(t, filepath.Join(dir, "key.pem"), block("PRIVATE KEY", keyDER)),
	}
}
