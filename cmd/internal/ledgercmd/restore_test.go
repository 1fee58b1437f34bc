package ledgercmd

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/comity-ledger/comity/bench/dataset"
	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement/pebblestore"
	"github.com/comity-ledger/comity/settlement/pgstore/pgtest"
	"github.com/comity-ledger/comity/wallets/client"
)

// pay submits payments, all of which must settle.
func pay(t *testing.T, url string, items []dataset.Item) {
	t.Helper()
	c, err := client.New(url)
	if err != nil {
		t.Fatal(err)
	}
	var batch []client.BatchItem
	for i := range items {
		batch = append(batch, client.BatchItem{Entry: items[i].Entry, Segments: items[i].Segments})
	}
	results, err := c.SubmitBatch(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if r.Err != nil {
			t.Fatalf("payment %d: %v", i, r.Err)
		}
	}
}

// TestBackupsMoveBetweenStores: of a ledger in a folder and of one in a database, running and standing still, into a folder and a database.
func TestBackupsMoveBetweenStores(t *testing.T) {
	l, p, server := newLoaded(t, 60), newPlace(t), pgtest.Shared(t)
	database := func(name string) string {
		write(t, p.path(name), server.URL("postgres")+"&search_path="+name+"\n")
		return "@" + p.path(name)
	}
	genesis := l.genesis.Hash().String()
	witness := []string{"--witness", l.genesis.Witnesses.Members[0].Name + "=" + l.witness}
	running := func(args ...string) testLedger {
		t.Helper()
		return serve(t, p, append(args, witness...)...)
	}
	backupOf := func(name string, args ...string) (string, ended) {
		t.Helper()
		out := p.path(name)
		made := ends(t, append([]string{"backup", "--out", out, "--genesis", genesis}, args...)...)
		must(t, "backup", "--verify", out, "--genesis", genesis)
		return out, made
	}
	restored := func(want ended, from, name string, store ...string) string {
		t.Helper()
		data := p.path(name)
		if got := ends(t, append([]string{"restore", "--from", from, "--data", data, "--genesis", genesis}, store...)...); got != want {
			t.Fatalf("%s: restored %+v, want %+v", name, got, want)
		}
		if got := ends(t, append([]string{"replay", "--data", data}, store...)...); got != want {
			t.Fatalf("%s: replayed %+v, want %+v", name, got, want)
		}
		return data
	}
	home := l.folder(t, p, "home")
	opener, err := pebblestore.New(pebblestore.Config{Dir: folder(home).store()})
	if err != nil {
		t.Fatal(err)
	}
	l.create(t, opener)

	// A folder's, running and at rest.
	r := running("--data", home)
	l.begin(t, r.url)
	pay(t, r.url, l.set.Items[:20])
	final(t, r.url)
	old, oldEnd := backupOf("old", "--ledger", r.url, "--log-key", home+"/log.key")
	pay(t, r.url, l.set.Items[20:40])
	final(t, r.url)
	r.stop()
	rest, restEnd := backupOf("rest", "--data", home, "--log-key", home+"/log.key")
	if restEnd.Entries <= oldEnd.Entries {
		t.Fatalf("%+v after %+v", restEnd, oldEnd)
	}

	// Into a database, where it goes on under its witness; then that one's, running and at rest, into both kinds.
	one := database("one")
	first := restored(restEnd, rest, "first", "--store", one)
	r = running("--data", first, "--store", one)
	pay(t, r.url, l.set.Items[40:])
	final(t, r.url)
	live, liveEnd := backupOf("live", "--ledger", r.url)
	r.stop()
	still, stillEnd := backupOf("still", "--data", first, "--store", one, "--log-key", first+"/log.key")
	restored(liveEnd, live, "second")
	restored(liveEnd, live, "third", "--store", database("three"))
	restored(stillEnd, still, "fourth", "--store", database("four"))
	fifth := restored(stillEnd, still, "fifth")
	r = running("--data", fifth)
	if log := where(t, r.url); len(log) != 60 {
		t.Errorf("%d payments after four moves, want 60", len(log))
	}
	verified(t, "--ledger", r.url, "--genesis", genesis)
	r.stop()

	// The old one is behind its witness, wherever it is put.
	behind := database("behind")
	data := restored(oldEnd, old, "behind-data", "--store", behind)
	refused(t, cli.Refused, "log_behind_witnesses", append([]string{"run", "--listen", "127.0.0.1:0", "--data", data, "--store", behind}, witness...)...)
	refused(t, cli.Refused, "log_behind_witnesses", append([]string{"run", "--listen", "127.0.0.1:0", "--data", data, "--store", behind, "--node-name", "one"}, witness...)...)

	// A database that holds a ledger is not overwritten, not even by starting over; nor is a folder.
	for _, extra := range [][]string{nil, {"--start-over"}} {
		refused(t, cli.Refused, "already_exists", append([]string{"restore", "--from", old, "--data", p.path("nowhere"), "--store", one}, extra...)...)
		refused(t, cli.Refused, "already_exists", append([]string{"restore", "--from", old, "--data", first, "--store", database("free")}, extra...)...)
		refused(t, cli.Refused, "already_exists", append([]string{"copy", "--from", home, "--to", one}, extra...)...)
	}
	if exists(p.path("nowhere")) || exists(p.path("nowhere.partial")) {
		t.Error("a refused restore left a folder")
	}
	if got := ends(t, "replay", "--data", first, "--store", one); got != stillEnd {
		t.Errorf("the ledger that was not overwritten is %+v, want %+v", got, stillEnd)
	}
	refused(t, cli.Refused, "no_ledger", "replay", "--data", first, "--store", database("free"))
}

// stall is a way to a server on which nothing more goes up after so many bytes.
type stall struct {
	left    atomic.Int64
	stalled chan struct{}
	once    sync.Once
}

func newStall(t *testing.T, target string, bytes int64) (*stall, string) {
	t.Helper()
	s := &stall{stalled: make(chan struct{})}
	s.left.Store(bytes)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	ctx := t.Context()
	t.Cleanup(func() {
		_ = l.Close()
		wait.Wait()
	})
	wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", target)
			if err != nil {
				_ = c.Close()
				continue
			}
			wait.Go(func() { _, _ = io.Copy(c, up); _ = c.Close() })
			wait.Go(func() {
				defer up.Close()
				buffer := make([]byte, 4096)
				for {
					n, err := c.Read(buffer)
					if s.left.Add(int64(-n)) < 0 {
						s.once.Do(func() { close(s.stalled) })
						<-ctx.Done()
						return
					}
					if _, err2 := up.Write(buffer[:n]); errors.Join(err, err2) != nil {
						return
					}
				}
			})
		}
	})
	return s, l.Addr().String()
}

// TestRestoreThatIsKilledSaysSo: by name, in a folder and in a database, and can be begun anew; so does a copy.
func TestRestoreThatIsKilledSaysSo(t *testing.T) {
	l, p, server := newLoaded(t, 150), newPlace(t), pgtest.Shared(t)
	home := l.folder(t, p, "home")
	opener, err := pebblestore.New(pebblestore.Config{Dir: folder(home).store()})
	if err != nil {
		t.Fatal(err)
	}
	l.create(t, opener)
	r := serve(t, p, "--data", home, "--witness", l.genesis.Witnesses.Members[0].Name+"="+l.witness)
	l.begin(t, r.url)
	for i := range l.set.Items {
		pay(t, r.url, l.set.Items[i:i+1])
	}
	final(t, r.url)
	r.stop()
	from := p.path("backup")
	want := ends(t, "backup", "--data", home, "--out", from, "--log-key", home+"/log.key")

	for _, command := range []string{"restore", "copy"} {
		name := "killed_" + command
		s, address := newStall(t, server.Address(), 150_000)
		write(t, p.path(name+".slow"), server.TCP("postgres", address)+"&search_path="+name)
		write(t, p.path(name), server.URL("postgres")+"&search_path="+name)
		at := "@" + p.path(name)
		args := []string{"restore", "--from", from, "--data", p.path(name + "-data"), "--store", at + ".slow"}
		again := []string{"restore", "--from", from, "--data", p.path(name + "-data"), "--store", at}
		if command == "copy" {
			args, again = []string{"copy", "--from", home, "--to", at + ".slow"}, []string{"copy", "--from", home, "--to", at}
		}
		killed := start(t, "test", args...)
		select {
		case <-s.stalled:
		case <-killed.gone:
			t.Fatalf("%s ended before it could be killed: %s", command, killed.text())
		}
		if err := killed.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-killed.gone
		if exists(p.path(name + "-data")) {
			t.Errorf("%s: the data folder is there", command)
		}
		refused(t, cli.Refused, "half_created", "run", "--data", home, "--store", at, "--listen", "127.0.0.1:0")
		refused(t, cli.Refused, "cut short", "run", "--data", home, "--store", at, "--listen", "127.0.0.1:0", "--node-name", "one", "--store-migrate")
		refused(t, cli.Refused, "half_created", "replay", "--data", home, "--store", at)
		refused(t, cli.Refused, "half_created", "backup", "--data", home, "--store", at, "--out", p.path("none"))
		refused(t, cli.Refused, "half_created", "copy", "--from", at, "--to", p.path("none"))
		refused(t, cli.Refused, "half_created", again...)
		if got := ends(t, append(again, "--start-over")...); got != want {
			t.Errorf("%s begun anew: %+v, want %+v", command, got, want)
		}
		if got := ends(t, "replay", "--data", home, "--store", at); got != want {
			t.Errorf("%s: replayed %+v, want %+v", command, got, want)
		}
	}

	// Killed between its last row and the name of the folder: the next one only gives the name.
	data := p.path("killed_restore-data")
	if err := os.Rename(data, data+".partial"); err != nil {
		t.Fatal(err)
	}
	if got := ends(t, "restore", "--from", from, "--data", data, "--store", "@"+p.path("killed_restore")); got != want || !exists(folder(data).logKey()) || exists(data+".partial") {
		t.Errorf("a restore that was all but whole: %+v, want %+v", got, want)
	}

	// In a folder: whichever moment the signal meets, there is a whole ledger, or something that is called partial and is refused.
	for try := 0; ; try++ {
		data := p.path("folder")
		killed := start(t, "test", "restore", "--from", from, "--data", data)
		for !exists(folder(data+".partial").store()) && !exists(data) {
			time.Sleep(200 * time.Microsecond)
			select {
			case <-killed.gone:
				if !exists(data) {
					t.Fatal(killed.text())
				}
			default:
			}
		}
		_ = killed.cmd.Process.Kill()
		<-killed.gone
		if exists(data) && try < 20 {
			if err := os.RemoveAll(data); err != nil {
				t.Fatal(err)
			}
			continue
		}
		refused(t, cli.Refused, "no_ledger", "run", "--data", data, "--listen", "127.0.0.1:0")
		refused(t, cli.Refused, "half_created", "run", "--data", data+".partial", "--listen", "127.0.0.1:0")
		if got := ends(t, "restore", "--from", from, "--data", data); got != want || exists(data+".partial") {
			t.Errorf("begun anew: %+v, want %+v", got, want)
		}
		break
	}
}
