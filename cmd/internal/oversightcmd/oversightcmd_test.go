package oversightcmd

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/proto/gen/comity/ledger/v1/ledgerv1connect"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/logdir"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

func TestMain(m *testing.M) {
	WorkFactor = 8
	os.Exit(m.Run())
}

func run(t *testing.T, args ...string) (out, errOut string, code cli.Code) {
	t.Helper()
	root := &cobra.Command{Use: "comity"}
	root.AddCommand(Command())
	var stdout, stderr bytes.Buffer
	code = cli.Code(cli.Run(t.Context(), root, append([]string{"oversight"}, args...), &stdout, &stderr))
	return stdout.String(), stderr.String(), code
}

func ok(t *testing.T, args ...string) string {
	t.Helper()
	out, errOut, code := run(t, args...)
	if code != cli.OK {
		t.Fatalf("%v: exit %d: %s", args, code, errOut)
	}
	return out
}

// ends runs a command that must end with this exit code and name its reason.
func ends(t *testing.T, want cli.Code, name string, args ...string) (out string) {
	t.Helper()
	out, errOut, code := run(t, args...)
	if code != want || !strings.Contains(errOut, name) {
		t.Errorf("%v: exit %d, %q; want exit %d and %q", args, code, errOut, want, name)
	}
	return out
}

func parsed(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// bench is a ledger's real core that believes every proof, with one programme: an issue of 100,000 to a treasury, which pays 40,000 to an
// agency, which pays 700 to a supplier.
type bench struct {
	t                              *testing.T
	dir                            string
	rand                           *rand.ChaCha8
	genesis                        *entry.Genesis
	signers                        []ed25519.PrivateKey
	log                            *proof.LogSigner
	witness                        *proof.Cosigner
	state                          *settlement.State
	blocks                         []*settlement.Block
	now                            uint64
	oversight, reader              zk.Scalar
	at                             map[zk.Commitment]zk.Position
	treasury, agency, supplier     zk.Owner
	last                           zk.Note
	oversightKey, readerKey, clear string   // key files, and the passphrase's
	asked                          []uint64 // heights from which the log was read
}

type trusting struct{}

func (trusting) VerifyBatch(jobs []settlement.Job) []error { return make([]error, len(jobs)) }

const (
	programme zk.ProgrammeID = 7
	phrase                   = "correct horse battery staple"
)

func newBench(t *testing.T, seed string) *bench {
	b := &bench{t: t, dir: t.TempDir(), rand: rand.NewChaCha8(sha256.Sum256([]byte(seed))), at: map[zk.Commitment]zk.Position{}, now: 1_767_225_600_000}
	b.clear = b.path("passphrase")
	if err := os.WriteFile(b.clear, []byte(phrase+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.oversight, b.reader = must(zk.NewScalar(b.rand)), must(zk.NewScalar(b.rand))
	b.oversightKey, b.readerKey = b.keyFile("auditor.key", b.oversight), b.keyFile("donor.key", b.reader)
	key := func() (ed25519.PrivateKey, entry.SignerKey) {
		k := ed25519.NewKeyFromSeed(b.bytes(32))
		return k, must(entry.SignerKeyOf(k.Public().(ed25519.PublicKey)))
	}
	g := &entry.Genesis{Name: "Aurelia", Prefix: "aur", Origin: "ledger.aurelia.example/log", CreatedMillis: b.now, Network: entry.Development,
		Assets: []entry.Asset{{ID: 1, Code: "AUR", Decimals: 2}}, RegistryWindowMillis: 60_000, MaxExpiryMillis: 3_600_000, OversightKey: b.oversight.Base()}
	for range 2 {
		k, public := key()
		b.signers, g.Policy.Signers = append(b.signers, k), append(g.Policy.Signers, public)
	}
	g.Policy.Threshold = 2
	logKey, public := key()
	g.LogKey = public
	witnessKey, public := key()
	g.Witnesses = entry.WitnessPolicy{Quorum: 1, Members: []entry.Witness{{Name: "w1.example", Key: public, Kind: entry.ValidatingWitness}}}
	g.Circuits = []entry.Circuit{{ID: zk.Transfer, Version: zk.CircuitVersion, Fingerprint: [32]byte{1}}}
	g.OversightPossession = entry.ProvePossession(b.oversight, entry.OversightPossession(g.DraftHash(), 1), b.rand)
	b.genesis, b.log, b.witness = g, must(proof.NewLogSigner(g.Origin, logKey)), must(proof.NewCosigner("w1.example", witnessKey))
	state, block, err := settlement.Begin(g)
	if err != nil {
		t.Fatal(err)
	}
	b.state, b.blocks = state, []*settlement.Block{block}
	b.treasury, b.agency, b.supplier = zk.Owner(b.field()), zk.Owner(b.field()), zk.Owner(b.field())
	b.settle(&entry.Programme{Header: b.header(), Programme: programme, Name: "=Flood relief", Status: entry.StatusOpen, Reader: b.reader.Base(),
		Possession: entry.ProvePossession(b.reader, entry.ReaderPossession(g.Hash(), programme), b.rand)})
	issued := b.move(b.treasury, nil, 100_000, nil, zk.Note{Value: 100_000, Owner: b.treasury, Programme: programme})
	aid := b.move(b.treasury, []zk.Note{issued}, 0, nil, zk.Note{Value: 40_000, Owner: b.agency, Programme: programme}, zk.Note{Value: 60_000, Owner: b.treasury, Programme: programme})
	b.last = b.move(b.agency, []zk.Note{aid}, 0, nil, zk.Note{Value: 700, Owner: b.supplier, Programme: programme}, zk.Note{Value: 39_300, Owner: b.agency, Programme: programme})
	return b
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

func (b *bench) bytes(n int) []byte {
	out := make([]byte, n)
	_, _ = b.rand.Read(out)
	return out
}

func (b *bench) field() zk.Field { return zk.FieldFromWide([64]byte(b.bytes(64))) }

func (b *bench) keyFile(name string, secret zk.Scalar) string {
	if err := writeKeyFile(b.path(name), secret, []byte(phrase)); err != nil {
		b.t.Fatal(err)
	}
	return b.path(name)
}

func (b *bench) header() entry.Header {
	return entry.Header{Ledger: b.genesis.Hash(), ExpiryMillis: b.now + 60_000}
}

func (b *bench) settle(e entry.Entry, segments ...[]byte) {
	b.t.Helper()
	if e.Kind().Privileged() {
		e.Head().Sequence = b.state.NextSequence()
		id := entry.IDOf(e)
		for _, k := range b.signers {
			e.Head().Signatures = append(e.Head().Signatures, must(b.genesis.Policy.SignAuthorisation(k, id)))
		}
	}
	sub := must(settlement.Decode(entry.Encode(e), segments))
	c := must(b.state.Admit(sub, b.now, func(h uint64) (settlement.Anchor, bool) { return b.blocks[h].Anchor, true }))
	if err := settlement.Prove(trusting{}, []*settlement.Candidate{c})[0]; err != nil {
		b.t.Fatal(err)
	}
	b.now += 1000
	p := must(b.state.Sequence([]*settlement.Candidate{c}, b.now, settlement.NewSettled(), nil))
	if p.Accepted != 1 {
		b.t.Fatal(p.Results[0].Refusal)
	}
	b.state, b.blocks = p.Next(), append(b.blocks, p.Block)
	for _, cm := range p.Block.Commitments {
		b.at[cm.Commitment] = cm.Position
	}
}

// move settles a leg of the programme's money and returns its first output.
func (b *bench) move(sender zk.Owner, inputs []zk.Note, issued zk.Amount, tamper func(*entry.Leg), outputs ...zk.Note) zk.Note {
	b.t.Helper()
	public := zk.LegPublic{Circuit: zk.Transfer, OversightKey: b.genesis.OversightKey, Nullifiers: []zk.Nullifier{zk.Nullifier(b.field()), zk.Nullifier(b.field())}}
	slots := make([]uint32, 2)
	for i, n := range inputs {
		slots[i] = b.at[n.Commitment()].Index + 1
	}
	for len(outputs) < 2 {
		outputs = append(outputs, zk.Note{Owner: sender, Programme: programme})
	}
	for i := range outputs {
		outputs[i].Asset = 1
	}
	if err := keys.SealLeg(&public, must(zk.NewScalar(b.rand)), b.reader.Base(), sender, slots, outputs); err != nil {
		b.t.Fatal(err)
	}
	leg := entry.Leg{Circuit: zk.Transfer, CircuitVersion: zk.CircuitVersion, OversightEpoch: 1, Issued: issued, Epk: public.Epk, Wrap: public.Wrap, Sender: public.Sender,
		Nullifiers: public.Nullifiers, Commitments: public.Commitments, Cipher: public.Cipher, SegmentHash: entry.SegmentHash(nil), Anchor: b.state.Height()}
	tx := &entry.Transaction{Type: entry.KindTransfer, Header: b.header()}
	if issued != 0 {
		tx.Type, leg.Asset, leg.Programme = entry.KindIssue, 1, programme
	}
	if tamper != nil {
		tamper(&leg)
	}
	tx.Legs = []entry.Leg{leg}
	b.settle(tx, []byte{})
	return outputs[0]
}

func (b *bench) checkpoint(at *settlement.Block, cosigned bool) []byte {
	head := proof.Head{Size: at.Size(), Root: at.Root}
	signed := b.log.Sign(head)
	if cosigned {
		line := must(b.witness.Sign(proof.Checkpoint{Origin: b.genesis.Origin, Head: head}, b.now/1000))
		signed, _, _ = must(wallets.PolicyOf(b.genesis)).AddCosignatures(signed, line)
	}
	return signed
}

func (b *bench) head() *settlement.Block { return b.blocks[len(b.blocks)-1] }

func (b *bench) sequence() iter.Seq2[*settlement.Block, error] {
	return func(yield func(*settlement.Block, error) bool) {
		for _, block := range b.blocks {
			if !yield(block, nil) {
				return
			}
		}
	}
}

// export writes the log into a folder, as `comity ledger export` does.
func (b *bench) export(name string, cosigned bool) string {
	dir := b.path(name)
	if err := logdir.Create(context.Background(), dir, b.checkpoint(b.head(), cosigned), b.sequence(), false, nil); err != nil {
		b.t.Fatal(err)
	}
	return dir
}

// serve is the bench as a running ledger, final up to a block.
func (b *bench) serve(final *settlement.Block) string {
	_, handler := ledgerv1connect.NewLedgerServiceHandler(&served{bench: b, final: final})
	s := httptest.NewServer(handler)
	b.t.Cleanup(s.Close)
	return s.URL
}

type served struct {
	ledgerv1connect.UnimplementedLedgerServiceHandler
	*bench
	final *settlement.Block
}

func (s *served) GetGenesis(context.Context, *ledgerv1.GetGenesisRequest) (*ledgerv1.GetGenesisResponse, error) {
	hash := s.genesis.Hash()
	return &ledgerv1.GetGenesisResponse{Genesis: entry.Encode(s.genesis), Hash: hash[:]}, nil
}

func (s *served) GetStatus(context.Context, *ledgerv1.GetStatusRequest) (*ledgerv1.GetStatusResponse, error) {
	return &ledgerv1.GetStatusResponse{Height: s.state.Height(), Size: s.bench.head().Size()}, nil
}

func (s *served) GetCheckpoint(context.Context, *ledgerv1.GetCheckpointRequest) (*ledgerv1.GetCheckpointResponse, error) {
	if s.final == nil {
		return &ledgerv1.GetCheckpointResponse{}, nil
	}
	return &ledgerv1.GetCheckpointResponse{Checkpoint: s.checkpoint(s.final, true)}, nil
}

func (s *served) StreamBlocks(_ context.Context, r *ledgerv1.StreamBlocksRequest, out *connect.ServerStream[ledgerv1.StreamBlocksResponse]) error {
	s.asked = append(s.asked, r.GetFromHeight())
	for _, b := range s.blocks[min(r.GetFromHeight(), uint64(len(s.blocks))):] {
		if err := out.Send(&ledgerv1.StreamBlocksResponse{Block: &ledgerv1.Block{Height: b.Height, TimeMillis: b.Time, FirstIndex: b.FirstIndex, Entries: b.Entries,
			Segments: b.Segments}}); err != nil {
			return err
		}
	}
	return nil
}

// with adds what every reading command takes.
func (b *bench) with(log, key string, args ...string) []string {
	return append(args, "--log", log, "--key", key, "--passphrase-file", b.clear)
}

func TestKeygenMakesAKeyThatALedgerRegisters(t *testing.T) {
	b := newBench(t, "keygen")
	hash := b.genesis.Hash()
	var made struct{ Public, Possession, File string }
	parsed(t, ok(t, "keygen", "--out", b.path("new.key"), "--programme", "9", "--genesis", hash.String(), "--passphrase-file", b.clear, "--json"), &made)
	public := must(zk.ParsePoint(must(hex.DecodeString(made.Public))))
	signature := must(zk.ParseSignature(must(hex.DecodeString(made.Possession))))
	if !entry.CheckPossession(public, entry.ReaderPossession(hash, 9), signature) || made.File != b.path("new.key") {
		t.Fatalf("the possession does not hold: %+v", made)
	}
	if entry.CheckPossession(public, entry.ReaderPossession(hash, 10), signature) || entry.CheckPossession(public, entry.OversightPossession(hash, 1), signature) {
		t.Fatal("the possession holds for something else")
	}
	info := must(os.Stat(made.File))
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the key file has mode %v", info.Mode())
	}
	if text := must(os.ReadFile(made.File)); bytes.Contains(text, []byte(purpose)) {
		t.Error("the key file is not encrypted")
	}
	ends(t, cli.Usage, "exists already", "keygen", "--out", made.File, "--passphrase-file", b.clear)

	parsed(t, ok(t, "possession", "--key", made.File, "--genesis", hash.String(), "--epoch", "2", "--passphrase-file", b.clear, "--json"), &made)
	if !entry.CheckPossession(public, entry.OversightPossession(hash, 2), must(zk.ParseSignature(must(hex.DecodeString(made.Possession))))) {
		t.Error("the possession of epoch 2 does not hold")
	}
	plain := ok(t, "keygen", "--out", b.path("plain.key"), "--passphrase-file", b.clear)
	if _, err := zk.ParsePoint(must(hex.DecodeString(strings.TrimSpace(plain)))); err != nil {
		t.Errorf("without --json the public key alone is printed: %q", plain)
	}
	var bare map[string]string
	parsed(t, ok(t, "keygen", "--out", b.path("bare.key"), "--passphrase-file", b.clear, "--json"), &bare)
	if len(bare) != 3 || bare["possession"] != "" {
		t.Errorf("got %v", bare)
	}
}

func TestKeyCommandsRefuse(t *testing.T) {
	b := newBench(t, "refuse")
	other := b.path("other")
	if err := os.WriteFile(other, []byte("another\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := b.path("damaged.key")
	text := must(os.ReadFile(b.oversightKey))
	text[len(text)/2] ^= 1
	if err := os.WriteFile(damaged, text, 0o600); err != nil {
		t.Fatal(err)
	}
	hash := b.genesis.Hash().String()
	for name, tc := range map[string]struct {
		code cli.Code
		text string
		args []string
	}{
		"wrong passphrase":     {cli.Refused, "passphrase_wrong", []string{"possession", "--key", b.readerKey, "--genesis", hash, "--epoch", "1", "--passphrase-file", other}},
		"damaged file":         {cli.Usage, "key file", []string{"possession", "--key", damaged, "--genesis", hash, "--epoch", "1", "--passphrase-file", b.clear}},
		"no file":              {cli.Usage, "open key file", []string{"possession", "--key", b.path("none"), "--genesis", hash, "--epoch", "1", "--passphrase-file", b.clear}},
		"no key file at all":   {cli.Usage, "key file", []string{"possession", "--key", other, "--genesis", hash, "--epoch", "1", "--passphrase-file", b.clear}},
		"genesis":              {cli.Usage, "--genesis", []string{"possession", "--key", b.readerKey, "--genesis", "xyz", "--epoch", "1", "--passphrase-file", b.clear}},
		"both purposes":        {cli.Usage, "not both", []string{"possession", "--key", b.readerKey, "--genesis", hash, "--epoch", "1", "--programme", "3", "--passphrase-file", b.clear}},
		"no purpose":           {cli.Usage, "--epoch or --programme", []string{"possession", "--key", b.readerKey, "--genesis", hash, "--passphrase-file", b.clear}},
		"programme 0":          {cli.Usage, "programme 0", []string{"keygen", "--out", b.path("x.key"), "--genesis", hash, "--programme", "0", "--passphrase-file", b.clear}},
		"epoch 0":              {cli.Usage, "--epoch", []string{"keygen", "--out", b.path("x.key"), "--genesis", hash, "--epoch", "0", "--passphrase-file", b.clear}},
		"purpose, no ledger":   {cli.Usage, "--genesis", []string{"keygen", "--out", b.path("x.key"), "--programme", "7", "--passphrase-file", b.clear}},
		"no passphrase at all": {cli.Usage, "passphrase", []string{"keygen", "--out", b.path("x.key"), "--passphrase-file", b.path("none")}},
	} {
		t.Run(name, func(t *testing.T) { ends(t, tc.code, tc.text, tc.args...) })
	}
	if _, err := os.Stat(b.path("x.key")); !os.IsNotExist(err) {
		t.Error("a refused keygen left a file")
	}
}

type reportJSON struct {
	From, Size                   uint64
	Root                         string
	FinalSize                    uint64 `json:"final_size"`
	Transactions, Legs, Payments int
	Opened, Unreadable           int
	Mismatches                   []struct{ Problem string }
	Rows                         []struct {
		Key, Label, Asset, Issued, Redeemed, Paid, Received string
		Payments                                            int
	}
}

func TestReportTotalsAnExportedLog(t *testing.T) {
	b := newBench(t, "report")
	log := b.export("log", true)
	var r reportJSON
	parsed(t, ok(t, b.with(log, b.oversightKey, "report", "--by", "programme", "--json", "--genesis", b.genesis.Hash().String())...), &r)
	if r.Size != b.head().Size() || r.FinalSize != r.Size || r.Root != fmt.Sprintf("%x", b.head().Root) || r.Transactions != 3 || r.Legs != 3 || r.Payments != 2 ||
		r.Opened != 3 || r.Unreadable != 0 || r.Mismatches == nil || len(r.Rows) != 1 {
		t.Fatalf("%+v", r)
	}
	row := r.Rows[0]
	if row.Key != "7" || row.Asset != "AUR" || row.Issued != "100000" || row.Redeemed != "0" || row.Paid != "40700" || row.Payments != 2 || row.Received != "40700" {
		t.Fatalf("%+v", row)
	}
	table := ok(t, b.with(log, b.readerKey, "report")...)
	for _, want := range []string{"Flood relief", "1000.00", "407.00", "2 payments", "all of it is under a cosigned checkpoint", r.Root} {
		if !strings.Contains(table, want) {
			t.Errorf("the table lacks %q:\n%s", want, table)
		}
	}
	names := b.path("names.csv")
	address := keys.Address{Prefix: "aur", Ledger: [8]byte(must(hex.DecodeString(b.genesis.Hash().String()[:16]))), Owner: b.agency, ViewKey: keys.ViewKey{9}}
	if err := os.WriteFile(names, fmt.Appendf(nil, "owner,label\n%s,Treasury\n%s,=Agency\n", b.treasury, address), 0o600); err != nil {
		t.Fatal(err)
	}
	rows := must(csv.NewReader(strings.NewReader(ok(t, b.with(log, b.oversightKey, "report", "--by", "wallet", "--names", names, "--format", "csv")...))).ReadAll())
	if len(rows) != 4 {
		t.Fatalf("%v", rows)
	}
	for _, row := range rows[1:] {
		want := map[string]string{b.treasury.String(): "Treasury AUR 1000.00 0.00 400.00 1 0.00 0", b.agency.String(): "'=Agency AUR 0.00 0.00 7.00 1 400.00 1",
			b.supplier.String(): " AUR 0.00 0.00 0.00 0 7.00 1"}[row[0]]
		if got := strings.Join(row[1:], " "); got != want {
			t.Errorf("%s: %q, want %q", row[0], got, want)
		}
	}
	ends(t, cli.Usage, "--by", b.with(log, b.oversightKey, "report", "--by", "moon")...)
	ends(t, cli.Usage, "--format", b.with(log, b.oversightKey, "report", "--format", "xml")...)
	ends(t, cli.Usage, "--names", b.with(log, b.oversightKey, "report", "--names", names)...)
}

func TestTheSourceMustHold(t *testing.T) {
	b, other := newBench(t, "source"), newBench(t, "other")
	log := b.export("log", true)
	torn := b.export("torn", true)
	files := must(filepath.Glob(filepath.Join(torn, "tile", "entries", "*", "*")))
	if len(files) == 0 {
		files = must(filepath.Glob(filepath.Join(torn, "tile", "entries", "*")))
	}
	if err := os.Truncate(files[0], must(os.Stat(files[0])).Size()-10); err != nil {
		t.Fatal(err)
	}
	changed := b.export("changed", true)
	bundle := strings.Replace(files[0], torn, changed, 1)
	text := must(os.ReadFile(bundle))
	at := bytes.LastIndex(text, []byte{1, byte(entry.KindTransfer)}) + 400 // inside a transfer
	text[at] ^= 1
	if err := os.WriteFile(bundle, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		code cli.Code
		text string
		args []string
	}{
		"another ledger":     {cli.Unverified, "wrong_ledger", b.with(log, b.oversightKey, "report", "--genesis", other.genesis.Hash().String())},
		"another's key":      {cli.Refused, "key_unknown", b.with(log, other.oversightKey, "report")},
		"a torn export":      {cli.Unverified, "damaged", b.with(torn, b.oversightKey, "report")},
		"a changed export":   {cli.Unverified, "", b.with(changed, b.oversightKey, "report")},
		"no cosignature":     {cli.Unverified, "quorum_missing", b.with(b.export("alone", false), b.oversightKey, "report")},
		"no log folder":      {cli.Usage, "not a log folder", b.with(b.dir, b.oversightKey, "report")},
		"no source":          {cli.Usage, "--ledger or --log", []string{"report", "--key", b.oversightKey, "--passphrase-file", b.clear}},
		"two sources":        {cli.Usage, "not both", b.with(log, b.oversightKey, "report", "--ledger", "http://127.0.0.1:1")},
		"no loopback":        {cli.Refused, "not_loopback", []string{"report", "--ledger", "http://192.0.2.1:7001", "--key", b.oversightKey, "--passphrase-file", b.clear}},
		"nobody listens":     {cli.Unavailable, "", []string{"report", "--ledger", "http://127.0.0.1:1", "--key", b.oversightKey, "--passphrase-file", b.clear}},
		"supply by a reader": {cli.Refused, "oversight_keys_missing", b.with(log, b.readerKey, "supply")},
	} {
		t.Run(name, func(t *testing.T) { ends(t, tc.code, tc.text, tc.args...) })
	}
}

func TestMismatchEndsWithCode5AfterTheAnswer(t *testing.T) {
	b := newBench(t, "mismatch")
	b.move(b.supplier, []zk.Note{b.last}, 0, func(l *entry.Leg) { l.Cipher[0][0] = zk.Field{31: 7} }, zk.Note{Value: 700, Owner: b.agency, Programme: programme})
	log := b.export("log", true)
	var r reportJSON
	parsed(t, ends(t, cli.Unverified, "cipher_unreadable", b.with(log, b.oversightKey, "report", "--json")...), &r)
	if len(r.Mismatches) != 1 || r.Opened != 3 {
		t.Fatalf("%+v", r)
	}
	if csv := ends(t, cli.Unverified, "MISMATCH", b.with(log, b.oversightKey, "report", "--format", "csv")...); !strings.Contains(csv, "1000.00") {
		t.Errorf("the rows are missing: %s", csv)
	}
}

func TestPlantedInflationIsNamed(t *testing.T) {
	b := newBench(t, "inflation")
	if out := ok(t, b.with(b.export("clean", true), b.oversightKey, "supply")...); !strings.Contains(out, "holds") || !strings.Contains(out, "1000.00") {
		t.Fatalf("%s", out)
	}
	index := b.head().Size()
	b.move(b.supplier, []zk.Note{b.last}, 0, nil, zk.Note{Value: 70_000, Owner: b.supplier, Programme: programme})
	log := b.export("log", true)
	var s struct {
		Assets     []struct{ Issued, Redeemed, Unspent string }
		Mismatches []struct {
			Problem string
			Entry   uint64
		}
	}
	parsed(t, ends(t, cli.Unverified, "unbalanced", b.with(log, b.oversightKey, "supply", "--json")...), &s)
	if len(s.Mismatches) != 2 || s.Mismatches[0].Entry != index || s.Assets[0].Issued != "100000" || s.Assets[0].Unspent != "169300" {
		t.Fatalf("%+v", s)
	}
	if out := ends(t, cli.Unverified, "unbalanced", b.with(log, b.oversightKey, "supply")...); !strings.Contains(out, "MISMATCH") || strings.Contains(out, "holds") {
		t.Fatalf("%s", out)
	}
}

func TestTraceAndOpenFollowTheMoney(t *testing.T) {
	b := newBench(t, "trace")
	log := b.export("log", true)
	for _, key := range []string{b.oversightKey, b.readerKey} {
		var trace struct {
			Complete bool
			Issues   []uint64
			Steps    int
			Chain    []struct{ Amount string }
		}
		parsed(t, ok(t, b.with(log, key, "trace", "--to", b.supplier.String(), "--json")...), &trace)
		if !trace.Complete || trace.Steps != 3 || len(trace.Issues) != 1 || trace.Chain[2].Amount != "100000" {
			t.Fatalf("%+v", trace)
		}
	}
	text := ok(t, b.with(log, b.oversightKey, "trace", "--commitment", b.last.Commitment().String())...)
	for _, want := range []string{"2026-01-01  7.00 AUR", "  2026-01-01  400.00 AUR", "    2026-01-01  1,000.00 AUR", "ISSUED 1,000.00 AUR", "complete"} {
		if !strings.Contains(text, want) {
			t.Errorf("the trace lacks %q:\n%s", want, text)
		}
	}
	entryIndex := fmt.Sprint(b.head().FirstIndex)
	opened := ok(t, b.with(log, b.oversightKey, "open", "--entry", entryIndex)...)
	for _, want := range []string{"spends  400.00 AUR", "pays    7.00 AUR", "change  393.00 AUR", b.supplier.String(), "final"} {
		if !strings.Contains(opened, want) {
			t.Errorf("the entry lacks %q:\n%s", want, opened)
		}
	}
	var e struct{ ID string }
	parsed(t, ok(t, b.with(log, b.oversightKey, "open", "--entry", entryIndex, "--json")...), &e)
	ok(t, b.with(log, b.oversightKey, "open", "--id", e.ID)...)
	ends(t, cli.Refused, "not_in_log", b.with(log, b.oversightKey, "open", "--entry", "0")...)
	ends(t, cli.Usage, "--entry or --id", b.with(log, b.oversightKey, "open")...)
	ends(t, cli.Usage, "--to or --commitment", b.with(log, b.oversightKey, "trace")...)
	ends(t, cli.Usage, "address_invalid", b.with(log, b.oversightKey, "trace", "--to", "aur1nonsense")...)
	stranger := keys.Address{Prefix: "bor", Ledger: [8]byte{1}, Owner: b.agency, ViewKey: keys.ViewKey{9}}
	ends(t, cli.Usage, "address_of_another_ledger", b.with(log, b.oversightKey, "trace", "--to", stranger.String())...)
	ends(t, cli.Refused, "not_in_log", b.with(log, b.oversightKey, "trace", "--to", zk.Owner{31: 5}.String())...)
}

func TestRunningLedgerIsRead(t *testing.T) {
	b := newBench(t, "ledger")
	from := func(final *settlement.Block) []string {
		return []string{"report", "--json", "--ledger", b.serve(final), "--genesis", b.genesis.Hash().String(), "--key", b.oversightKey, "--passphrase-file", b.clear}
	}
	var r reportJSON
	parsed(t, ok(t, from(b.head())...), &r)
	if r.FinalSize != r.Size || r.Payments != 2 {
		t.Fatalf("%+v", r)
	}
	parsed(t, ok(t, from(b.blocks[2])...), &r)
	if r.FinalSize != b.blocks[2].Size() || r.Size != b.head().Size() || r.Payments != 2 {
		t.Fatalf("%+v", r)
	}
	out, errOut, code := run(t, from(nil)...)
	parsed(t, out, &r)
	if code != cli.OK || r.FinalSize != 0 || !strings.Contains(errOut, "no cosigned checkpoint") {
		t.Fatalf("exit %d, %s, %+v", code, errOut, r)
	}
	// A ledger that shows other blocks than were cosigned.
	final := *b.head()
	final.Root[0] ^= 1
	ends(t, cli.Unverified, "ledger_lied", from(&final)...)
}

func FuzzKeyText(f *testing.F) {
	secret := must(zk.NewScalar(rand.NewChaCha8([32]byte{1})))
	f.Add(keyText(secret))
	f.Add([]byte(purpose + " 00\n"))
	f.Add([]byte("comity-signer-key-v1 " + strings.Repeat("0", 64) + "\n"))
	f.Add(bytes.ToUpper(keyText(secret)))
	f.Add(fmt.Appendf(nil, "%s %x\n", purpose, zk.ScalarOrder().Bytes()))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := parseKeyText(text)
		if err != nil {
			if !got.IsZero() {
				t.Fatal("an error with a key")
			}
			return
		}
		if !bytes.Equal(keyText(got), text) {
			t.Fatalf("two forms of one key: %q", text)
		}
	})
}
