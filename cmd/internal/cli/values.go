package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/comity-ledger/comity/proto/doors"
	"github.com/comity-ledger/comity/settlement/entry"
)

// Money prints an amount of minor units with its decimals, thousands grouped, and the currency code: "12,345.60 AUR".
// Money is only for people: a program reads minor units as a string in JSON, see MinorUnits.
func Money[A ~uint64](minor A, decimals int, code string) string {
	digits := strconv.FormatUint(uint64(minor), 10)
	if pad := decimals + 1 - len(digits); pad > 0 {
		digits = strings.Repeat("0", pad) + digits
	}
	whole, frac := digits[:len(digits)-decimals], digits[len(digits)-decimals:]
	var b strings.Builder
	for i, d := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	if frac != "" {
		b.WriteByte('.')
		b.WriteString(frac)
	}
	if code != "" {
		b.WriteByte(' ')
		b.WriteString(code)
	}
	return b.String()
}

// MinorUnits is the JSON form of an amount: a decimal string of minor units, because a JSON number above 2^53 loses digits in
// most programs that read it.
func MinorUnits[A ~uint64](minor A) string { return strconv.FormatUint(uint64(minor), 10) }

// LedgerURL checks the address of a ledger, a witness or a provider and returns it without a trailing slash. Plain http is accepted for a
// loopback address alone: anything else would send payments over an open network. https wants certificates, which package tlsfiles brings.
func LedgerURL(text string) (string, error) {
	u, err := doors.CheckURL(text)
	if doors.CodeOf(err) == doors.NotLoopback {
		return "", RefusedAs("not_loopback", err)
	}
	return u, Exit(Usage, err)
}

// IsLoopbackHost reports whether host is "localhost" or an address in 127.0.0.0/8 or ::1.
func IsLoopbackHost(host string) bool { return doors.IsLoopback(host) }

// WriteNewFile writes a file that must not exist yet, and makes it durable before it returns. A secret file gets mode 0600,
// any other 0644. A file that exists is a usage error: nothing is ever overwritten, least of all a key.
func WriteNewFile(path string, data []byte, secret bool) (err error) {
	mode := os.FileMode(0o644)
	if secret {
		mode = 0o600
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if os.IsExist(err) {
		return Usagef("%s exists already and is not overwritten", path)
	}
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(path)
		}
	}()
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

// ReplaceFile writes data to path through a temporary file and a rename, so that a reader sees the old or the new content.
func ReplaceFile(path string, data []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("create beside %s: %w", path, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open folder %s: %w", dir, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	return nil
}

// maxGenesis bounds a genesis file: JSON of the largest genesis is far smaller.
const maxGenesis = 1 << 20

// ReadGenesis reads a ledger's genesis from a file, as JSON or in its binary form. A file that holds neither is a usage error.
func ReadGenesis(path string) (*entry.Genesis, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, Usagef("open genesis: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxGenesis+1))
	if err != nil {
		return nil, fmt.Errorf("read genesis: %w", err)
	}
	if len(b) > maxGenesis {
		return nil, Usagef("genesis file %s is longer than %d bytes", path, maxGenesis)
	}
	decode := entry.DecodeGenesis
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte("{")) {
		decode = entry.ParseGenesisJSON
	}
	g, err := decode(b)
	if err != nil {
		return nil, fmt.Errorf("genesis file %s: %w", path, err)
	}
	return g, nil
}
