package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/comity-ledger/comity/cmd/internal/keyfile"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/wallets/client"
)

// fork lets Cordelia's operator sign a second history, and shows what follows.
func (s *story) fork() error {
	s.chapter("Cordelia's operator signs a second history")
	evidence := ""
	witness := s.cordelia.own(s.aurelia)
	err := s.step("Aurelia's witness of Cordelia keeps the evidence", func() (string, error) {
		key, _, err := keyfile.Read(s.file("cordelia/log.key"), "comity-log-key-v1", []byte(passphrase))
		if err != nil {
			return "", err
		}
		operator, err := proof.NewLogSigner(s.cordelia.origin, key)
		if err != nil {
			return "", err
		}
		var size uint64
		err = s.waitFor("the evidence", func(ctx context.Context) (bool, error) {
			raw, err := s.cordelia.client.Checkpoint(ctx)
			if err != nil {
				return false, err
			}
			c, err := proof.OpenLog(s.cordelia.origin, operator.Public(), raw)
			if err != nil {
				return false, err
			}
			size = c.Size
			c.Root[0] ^= 1 // another history of the same length
			if err := s.offer(witness, size, operator.Sign(c.Head)); err != nil {
				return false, err
			}
			found, err := filepath.Glob(filepath.Join(s.file(witness.name), "evidence", "fork-*.txt"))
			if err != nil || len(found) == 0 {
				return false, err
			}
			evidence = found[0]
			return true, nil
		})
		if err != nil {
			return "", err
		}
		info, err := os.Stat(evidence)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("two roots for %d entries under Cordelia's own key: a file of %d bytes; the witness cosigned one of them only", size, info.Size()), nil
	})
	if err != nil {
		return err
	}
	err = s.step("anybody verifies the file offline, with the genesis alone", func() (string, error) {
		if err := s.command(nil, "verify", "evidence", evidence, "--genesis-file", s.cordelia.genesisFile()); err != nil {
			return "", err
		}
		words, err := s.refused("the same evidence against another ledger", "command", s.command(&struct{}{}, "verify", "evidence", evidence, "--genesis-file", s.borealis.genesisFile()),
			string(entry.EvidenceInvalid))
		return "it holds against Cordelia\nagainst Borealis it is " + words, err
	})
	if err != nil {
		return err
	}
	peer := s.cordelia.genesis.Hash().String()
	err = s.step("shown to Aurelia, it freezes the corridor at once", func() (string, error) {
		var shown struct {
			Index uint64 `json:"entry_index"`
		}
		if err := s.command(&shown, "corridor", "accuse", evidence, "--ledger", s.aurelia.url(), "--peer", peer); err != nil {
			return "", err
		}
		c, err := s.corridor(s.cordelia)
		if err == nil && c.State != client.CorridorFrozen {
			err = fmt.Errorf("the corridor is %s", c.State)
		}
		if err != nil {
			return "", err
		}
		other, err := s.corridor(s.borealis)
		return fmt.Sprintf("entry %d, without anybody's signature; to Cordelia: %s (%s), to Borealis: %s", shown.Index, c.State, c.Why, other.State), err
	})
	if err != nil {
		return err
	}
	err = s.step("a frozen corridor takes no new hold", func() (string, error) {
		byLedger, err := s.refused("a new hold over a frozen corridor", "ledger", s.holdFor(s.cordelia), string(entry.CorridorFrozen))
		if err != nil {
			return "", err
		}
		var byProvider string
		err = s.waitFor("the provider's notice", func(context.Context) (bool, error) {
			err := s.quoteCordelia()
			if err == nil {
				return false, errors.New("it still quotes")
			}
			byProvider, err = s.refused("a quote over a frozen corridor", "provider", err, "no_quote", "ledger_unknown")
			return err == nil, err
		})
		return byLedger + "\n" + byProvider, err
	})
	if err != nil {
		return err
	}
	return s.step("two signatures thaw it, and providers quote again", func() (string, error) {
		out := s.file("thaw.proposal")
		if err := s.command(nil, "corridor", "thaw", "--ledger", s.aurelia.url(), "--peer", peer, "--expires-in", "1m", "--out", out); err != nil {
			return "", err
		}
		at, err := s.aurelia.signFile(out)
		if err != nil {
			return "", err
		}
		c, err := s.corridor(s.cordelia)
		if err == nil && c.State != client.CorridorActive {
			err = fmt.Errorf("the corridor is %s", c.State)
		}
		if err != nil {
			return "", err
		}
		err = s.waitFor("a quote", func(context.Context) (bool, error) {
			err := s.quoteCordelia()
			return err == nil, err
		})
		return fmt.Sprintf("entry %d: %s again. For real the treasury sets a new log key of its peer first, or the same file freezes it again", at.EntryIndex, c.State), err
	})
}

// offer gives a witness a checkpoint to cosign, as a log does (C2SP tlog-witness). It must not be cosigned.
func (s *story) offer(w *watcher, old uint64, signed []byte) error {
	body := append([]byte(fmt.Sprintf("old %d\n\n", old)), signed...)
	ctx, cancel := context.WithTimeout(s.ctx, 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://127.0.0.1:"+strconv.Itoa(w.port)+"/add-checkpoint", bytes.NewReader(body))
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusConflict {
		return fmt.Errorf("the witness answered %s", answer.Status)
	}
	return nil
}

// corridor is what Aurelia keeps about a peer.
func (s *story) corridor(peer *nation) (client.Corridor, error) {
	list, err := s.aurelia.client.Corridors(s.ctx)
	if err != nil {
		return client.Corridor{}, err
	}
	for _, c := range list {
		if c.Peer == peer.genesis.Hash() {
			return c, nil
		}
	}
	return client.Corridor{}, fmt.Errorf("no corridor to %s", peer.land)
}

// holdFor sends Aurelia a true transaction with a hold that a peer's ledger would follow. It is journalled nowhere: it is to be refused.
func (s *story) holdFor(peer *nation) error {
	a := s.wallets[agency]
	if err := a.open(); err != nil {
		return err
	}
	defer a.shut()
	if err := a.Sync(s.ctx, nil); err != nil {
		return err
	}
	o := s.order("demo/frozen", supplier, 100*crowns, 0, "over a frozen corridor")
	o.Held = true
	h, merge, err := a.Builder().ReserveHold(a.Outbox(), o)
	if err == nil && len(merge) != 0 {
		err = errors.New("the hold needs preparation")
	}
	if err != nil {
		return err
	}
	until := uint64(time.Now().Add(time.Minute).UnixMilli())
	condition := &entry.DecidedHere{Until: until, Followers: []entry.Follower{{Ledger: peer.genesis.Hash(), Commitment: h.Commitment()}}}
	d, err := a.Builder().BuildHold(h, condition.Condition(), 1_000_000, until)
	if err != nil {
		return err
	}
	if err := d.Prove(s.ctx, a.Prover, nil); err != nil {
		return err
	}
	_, err = s.aurelia.client.Submit(s.ctx, d.Tx.Encode(), d.Segments)
	return err
}

// quoteCordelia asks the provider for a payment to Cordelia.
func (s *story) quoteCordelia() error {
	c := crossing{from: s.aurelia, to: s.cordelia, payee: harbour, amount: 500 * cor, providers: []string{meridian}}
	return s.command(&struct{}{}, append([]string{"bridge", "quote"}, s.route(c)...)...)
}
