package bridgecmd

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
)

// What a provider owns is no business of payers, so the inventory is not part of its service. The provider's owner asks over a port and with a
// token that stand in a file of the data folder, which nobody else can read.

const controlName = "control.json"

type controlFile struct {
	URL   string `json:"url"`
	Token string `json:"token"`
}

// serveControl answers the owner until the returned function is called.
func (p *provider) serveControl(data string) (func(), error) {
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return nil, fmt.Errorf("draw a token: %w", err)
	}
	token := hex.EncodeToString(secret)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the owner: %w", err)
	}
	text, err := json.Marshal(controlFile{"http://" + listener.Addr().String(), token})
	if err != nil {
		return nil, err
	}
	path := filepath.Join(data, controlName)
	if err := cli.ReplaceFile(path, text, 0o600); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /inventory", func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+token)) != 1 {
			http.Error(w, "role_not_allowed", http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(p.inventory())
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, MaxHeaderBytes: 8 << 10,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	done := make(chan struct{})
	go func() {
		_ = server.Serve(listener)
		close(done)
	}()
	return func() {
		_ = server.Close()
		<-done
		_ = os.Remove(path)
	}, nil
}

// askInventory asks a running provider.
func askInventory(ctx context.Context, data string) ([]position, error) {
	down := func(err error) ([]position, error) {
		return nil, cli.Exit(cli.Unavailable, fmt.Errorf("no provider runs on %s: %w", data, err))
	}
	text, err := os.ReadFile(filepath.Join(data, controlName))
	if err != nil {
		return down(err)
	}
	var c controlFile
	if err := json.Unmarshal(text, &c); err != nil {
		return down(err)
	}
	url, err := cli.LedgerURL(c.URL)
	if err != nil {
		return down(err)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/inventory", nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+c.Token)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		return down(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil || resp.StatusCode != http.StatusOK {
		return down(fmt.Errorf("it answers %s: %v", resp.Status, err))
	}
	var rows []position
	if err := json.Unmarshal(body, &rows); err != nil {
		return down(err)
	}
	return rows, nil
}

func inventoryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inventory",
		Short: "Print what a running provider owns and owes",
		Long: `Print what a running provider owns and owes on each ledger: its stock, what is quoted, promised and waiting for a decision, what would come in, and
what it paid and received in all. Only who can read the provider's data folder can ask.`,
		Example: "  comity bridge inventory --data desk",
		Args:    cobra.NoArgs,
	}
	data := cmd.Flags().String("data", "", "the provider's data folder (required)")
	_ = cmd.MarkFlagRequired("data")
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		rows, err := askInventory(cmd.Context(), *data)
		if err != nil {
			return err
		}
		return cli.Print(cmd, *asJSON, map[string]any{"inventory": rows}, func(out io.Writer) {
			t := tabwriter.NewWriter(out, 2, 8, 2, ' ', tabwriter.AlignRight)
			fmt.Fprintln(t, "LEDGER\tSTOCK\tQUOTED\tPROMISED\tWAITING\tINCOMING\tPAID\tRECEIVED\t")
			for _, r := range rows {
				stock := "unknown"
				if r.Known {
					stock = r.money(r.Stock)
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", r.Ledger, stock, r.money(r.Quoted), r.money(r.Promised), r.money(r.Waiting), r.money(r.Incoming),
					r.money(r.Paid), r.money(r.Received))
			}
			t.Flush()
		})
	}
	return cmd
}

// money prints minor units of the row's currency.
func (r position) money(minor string) string {
	n, ok := new(big.Int).SetString(minor, 10)
	if !ok || !n.IsUint64() {
		return minor
	}
	return cli.Money(n.Uint64(), int(r.Decimals), r.Asset)
}
