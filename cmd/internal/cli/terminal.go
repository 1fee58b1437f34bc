package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// PassphraseEnv names the environment variable that holds the path of a passphrase file.
const PassphraseEnv = "COMITY_PASSPHRASE_FILE"

// maxPassphrase bounds a passphrase file, so that a wrong path is an error and not a slow key derivation.
const maxPassphrase = 4096

// Passphrase reads the passphrase of a key file: from --passphrase-file, else from the file named by
// COMITY_PASSPHRASE_FILE, else from the terminal. Never from the command line, where every process can read it.
type Passphrase struct{ file *string }

// PassphraseFlag adds --passphrase-file to cmd.
func PassphraseFlag(cmd *cobra.Command) Passphrase {
	return Passphrase{cmd.Flags().String("passphrase-file", "",
		"file whose first line is the passphrase (default: $"+PassphraseEnv+", else the terminal)")}
}

// Read returns the passphrase. With confirm the terminal asks twice, as for a new key file. An empty passphrase is a usage
// error. The caller may overwrite the returned bytes after use.
func (p Passphrase) Read(cmd *cobra.Command, prompt string, confirm bool) ([]byte, error) {
	path := ""
	if p.file != nil {
		path = *p.file
	}
	if path == "" {
		path = os.Getenv(PassphraseEnv)
	}
	if path != "" {
		return passphraseFile(path)
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return nil, Usagef("a passphrase is needed: give --passphrase-file or set %s", PassphraseEnv)
	}
	first, err := ask(cmd.ErrOrStderr(), prompt)
	if err != nil {
		return nil, err
	}
	if confirm {
		second, err := ask(cmd.ErrOrStderr(), prompt+" (again)")
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(first, second) {
			return nil, Usagef("the two passphrases differ")
		}
	}
	return first, nil
}

func passphraseFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, Exit(Usage, fmt.Errorf("open passphrase file: %w", err))
	}
	defer f.Close()
	all, err := io.ReadAll(io.LimitReader(f, maxPassphrase+1))
	if err != nil {
		return nil, fmt.Errorf("read passphrase file: %w", err)
	}
	if len(all) > maxPassphrase {
		return nil, Usagef("passphrase file %s is longer than %d bytes", path, maxPassphrase)
	}
	line, _, _ := bytes.Cut(all, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) == 0 {
		return nil, Usagef("passphrase file %s has an empty first line", path)
	}
	return line, nil
}

func ask(w io.Writer, prompt string) ([]byte, error) {
	fmt.Fprintf(w, "%s: ", prompt)
	line, err := term.ReadPassword(int(os.Stdin.Fd()))
	fmt.Fprintln(w)
	if err != nil {
		return nil, fmt.Errorf("read passphrase: %w", err)
	}
	if len(line) == 0 {
		return nil, Usagef("an empty passphrase is not accepted")
	}
	return line, nil
}

// Confirm asks a yes/no question on the command's input and returns nil for yes. With yes set it does not ask.
// Without a terminal, where nobody can answer, it is a usage error that names --yes.
func Confirm(cmd *cobra.Command, question string, yes bool) error {
	if yes {
		return nil
	}
	in := cmd.InOrStdin()
	if f, ok := in.(*os.File); ok && !term.IsTerminal(int(f.Fd())) {
		return Usagef("%s: nobody to ask here, pass --yes to agree", question)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s [y/N] ", question)
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return Exit(Failure, errors.New("not confirmed, nothing was done"))
}

// Progress is a progress bar on stderr, shown only when stderr is a terminal. A nil Progress shows nothing.
type Progress struct{ bar *progressbar.ProgressBar }

// NewProgress starts a bar. total counts the steps; a negative total shows a spinner.
func NewProgress(cmd *cobra.Command, title string, total int) *Progress {
	w := cmd.ErrOrStderr()
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return &Progress{progressbar.NewOptions(total,
		progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(title),
		progressbar.OptionClearOnFinish(), progressbar.OptionShowCount(), progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(100_000_000))}
}

// Set moves the bar to done of total; a change of total is taken over.
func (p *Progress) Set(done, total int) {
	if p == nil {
		return
	}
	if total != p.bar.GetMax() {
		p.bar.ChangeMax(total)
	}
	_ = p.bar.Set(done)
}

// Describe changes the title.
func (p *Progress) Describe(title string) {
	if p != nil {
		p.bar.Describe(title)
	}
}

// Done removes the bar.
func (p *Progress) Done() {
	if p != nil {
		_ = p.bar.Finish()
	}
}
