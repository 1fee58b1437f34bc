package oversightcmd

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
)

// from is a report on the ledger as it stands, final up to a block, with more flags.
func (b *bench) from(final *settlement.Block, more ...string) []string {
	return append([]string{"report", "--json", "--ledger", b.serve(final), "--genesis", b.genesis.Hash().String(), "--key", b.oversightKey, "--passphrase-file", b.clear}, more...)
}

// stateFile is the one file of a folder.
func (b *bench) stateFile(folder string) string {
	b.t.Helper()
	files := must(filepath.Glob(filepath.Join(b.path(folder), "*.state")))
	if len(files) != 1 {
		b.t.Fatal(files)
	}
	return files[0]
}

func TestASecondReportReadsWhatIsNew(t *testing.T) {
	b := newBench(t, "state")
	all := b.blocks
	b.blocks = all[:4]
	ok(t, b.from(all[2], "--state", b.path("state"))...) // the last block is not final: it is read again
	b.blocks = all
	var whole, second, third string
	whole = ok(t, b.from(b.head())...)
	b.asked = nil
	second = ok(t, b.from(b.head(), "--state", b.path("state"))...)
	third = ok(t, b.from(b.head(), "--state", b.path("state"))...)
	if second != whole || third != whole || !slices.Equal(b.asked, []uint64{3, uint64(len(all))}) {
		t.Errorf("read from %v\n%s\n%s\n%s", b.asked, whole, second, third)
	}
	// Every other answer goes on from there too, and so does an exported log.
	if got := ok(t, append(b.from(b.head(), "--state", b.path("state")), "--by", "wallet")...); got != ok(t, append(b.from(b.head()), "--by", "wallet")...) {
		t.Error(got)
	}
	log := b.export("log", true)
	if got := ok(t, b.with(log, b.oversightKey, "supply", "--json", "--state", b.path("state"))...); got != ok(t, b.with(log, b.oversightKey, "supply", "--json")...) {
		t.Error(got)
	}
	// Another key has another file.
	donor := ok(t, b.with(log, b.readerKey, "report", "--json", "--state", b.path("state"))...)
	if files := must(os.ReadDir(b.path("state"))); len(files) != 2 || donor != ok(t, b.with(log, b.readerKey, "report", "--json")...) {
		t.Errorf("%d files", len(files))
	}
	// Without a checkpoint nothing is kept.
	ok(t, b.from(nil, "--state", b.path("early"))...)
	if files := must(os.ReadDir(b.path("early"))); len(files) != 0 {
		t.Error(files)
	}
}

func TestTheStateIsSecretAndCannotBeChanged(t *testing.T) {
	b := newBench(t, "tamper")
	args := b.from(b.head(), "--state", b.path("state"))
	ok(t, args...)
	path := b.stateFile("state")
	data := must(os.ReadFile(path))
	if info := must(os.Stat(path)); info.Mode().Perm() != 0o600 {
		t.Error(info.Mode())
	}
	for _, secret := range [][]byte{b.treasury[:], b.supplier[:], b.last.Rho[:], []byte("Flood relief")} {
		if bytes.Contains(data, secret) {
			t.Errorf("%x stands in the file", secret)
		}
	}
	put := func(d []byte) {
		if err := os.WriteFile(path, d, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, at := range []int{0, len(keptHeader) - 2, len(keptHeader), len(keptHeader) + keptSalt, len(data) / 2, len(data) - 1} {
		changed := bytes.Clone(data)
		changed[at] ^= 1
		put(changed)
		ends(t, cli.Unverified, "oversight_state_invalid", args...)
	}
	for _, size := range []int{0, len(keptHeader), len(keptHeader) + keptSalt + 3, len(data) - 1} {
		put(data[:size])
		ends(t, cli.Unverified, "oversight_state_invalid", args...)
	}
	put(append(bytes.Clone(data), 0))
	ends(t, cli.Unverified, "oversight_state_invalid", args...)
	put(data)
	ok(t, args...)
	// The file of other keys, or of another ledger, under this one's name.
	log := b.export("log", true)
	ok(t, b.with(log, b.readerKey, "report", "--state", b.path("donor"))...)
	put(must(os.ReadFile(b.stateFile("donor"))))
	ends(t, cli.Unverified, "oversight_state_invalid", args...)
	other := newBench(t, "another")
	ok(t, other.from(other.head(), "--state", other.path("state"))...)
	put(must(os.ReadFile(other.stateFile("state"))))
	ends(t, cli.Unverified, "oversight_state_invalid", args...)
}

func TestARolledBackOrForkedLogIsRefusedByName(t *testing.T) {
	b := newBench(t, "fork")
	all := b.blocks
	args := func(final *settlement.Block) []string { return b.from(final, "--state", b.path("state")) }
	ok(t, args(all[3])...)
	before := must(os.ReadFile(b.stateFile("state")))
	b.blocks = all[:3]
	ends(t, cli.Unverified, "log_rolled_back", args(all[2])...)
	ends(t, cli.Unverified, "log_rolled_back", args(nil)...)
	// Another history from block 3 on, signed and cosigned like the true one.
	b.blocks = slices.Clone(all)
	var log proof.Range
	for i, block := range b.blocks {
		c := *block
		c.Entries = slices.Clone(c.Entries)
		if i == 3 {
			s := must(entry.DecodeState(c.Entries[len(c.Entries)-1]))
			s.TimeMillis++
			c.Entries[len(c.Entries)-1] = entry.Encode(s)
		}
		for _, e := range c.Entries {
			log.Append(proof.LeafHash(e))
		}
		c.Root = log.Root()
		b.blocks[i] = &c
	}
	ends(t, cli.Unverified, "history_differs", args(b.blocks[3])...)
	ends(t, cli.Unverified, "history_differs", args(b.head())...)
	if out := ok(t, b.from(b.head())...); !strings.Contains(out, `"mismatches"`) { // who reads it whole cannot know
		t.Error(out)
	}
	// Nothing of it was kept, and the true log goes on.
	if !bytes.Equal(before, must(os.ReadFile(b.stateFile("state")))) {
		t.Error("the state changed")
	}
	b.blocks = all
	ok(t, args(b.head())...)
}
