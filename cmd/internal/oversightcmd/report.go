package oversightcmd

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/wallets/oversight"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

func reportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Total what was issued, paid, received and redeemed",
		Long: `Open every payment that the keys allow and total them by programme, asset, wallet or UTC day.

A payment is an output with value for somebody else than its sender. By programme, what is paid counts for the programme of the money spent and
what is received for that of the money received: the two differ where a vendor releases an earmark. By wallet, rows are owners; --names is a CSV
file of owner or address and a label. Amounts in JSON are strings of minor units.

The report names the range of the log that it covers, from entry 0, with the log's root. Entries after the last cosigned checkpoint are in the
totals, and named as not final. Openings are not logged in this release.`,
		Example: `  comity oversight report --ledger http://127.0.0.1:7001 --genesis HASH --key auditor.key --by programme --passphrase-file pass
  comity oversight report --log log --key epoch1.key --key epoch2.key --by wallet --names names.csv --format csv > wallets.csv`,
		Args: cobra.NoArgs,
	}
	by := cmd.Flags().String("by", string(oversight.ByProgramme), "rows: programme, asset, wallet or day")
	format := cmd.Flags().String("format", "table", "table, csv or json")
	names := cmd.Flags().String("names", "", "CSV file of owner or address and label, for rows by wallet")
	src := addSource(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		rows, err := oversight.ParseBy(*by)
		if err != nil {
			return cli.Usagef("--by: %w", err)
		}
		if *src.asJSON {
			*format = "json"
		}
		if *format != "table" && *format != "csv" && *format != "json" {
			return cli.Usagef("--format %q: want table, csv or json", *format)
		}
		if *names != "" && rows != oversight.ByWallet {
			return cli.Usagef("--names goes with --by wallet")
		}
		a, err := src.audit(cmd)
		if err != nil {
			return err
		}
		r := a.Report(rows)
		if *names != "" {
			if err := label(r, *names, a.Genesis); err != nil {
				return err
			}
		}
		if *format == "csv" {
			if err := writeCSV(cmd.OutOrStdout(), r); err != nil {
				return fmt.Errorf("write the report: %w", err)
			}
			rangeLines(cmd.ErrOrStderr(), r)
			return found(r.Mismatches)
		}
		if err := cli.Print(cmd, *format == "json", r, func(w io.Writer) { writeTable(w, r) }); err != nil {
			return err
		}
		return found(r.Mismatches)
	}
	return cmd
}

var heads = map[oversight.By]string{oversight.ByProgramme: "programme", oversight.ByAsset: "asset", oversight.ByWallet: "wallet", oversight.ByDay: "day"}

func writeTable(w io.Writer, r *oversight.Report) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s\tname\tasset\tissued\tredeemed\tpaid\tpayments\treceived\treceipts\n", heads[r.By])
	for _, x := range r.Rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%d\n", x.Key, x.Label, x.Asset, x.Issued.Format(x.Decimals), x.Redeemed.Format(x.Decimals),
			x.Paid.Format(x.Decimals), x.Payments, x.Received.Format(x.Decimals), x.Receipts)
	}
	_ = t.Flush()
	fmt.Fprintln(w)
	rangeLines(w, r)
}

func rangeLines(w io.Writer, r *oversight.Report) {
	fmt.Fprintf(w, "%s: entries %d to %d (block %d), log root %s\n", r.Ledger, r.From, r.Size-1, r.Height, r.Root)
	notFinal(w, r.Size, r.FinalSize)
	fmt.Fprintf(w, "%d transactions, %d legs: %d opened, %d not readable with these keys; %d payments\n", r.Transactions, r.Legs, r.Opened, r.Unreadable, r.Payments)
	for _, m := range r.Mismatches {
		fmt.Fprintf(w, "MISMATCH %s\n", m)
	}
}

func notFinal(w io.Writer, size, final uint64) {
	if final < size {
		fmt.Fprintf(w, "NOT FINAL: entries %d to %d are under no cosigned checkpoint yet\n", final, size-1)
		return
	}
	fmt.Fprintln(w, "all of it is under a cosigned checkpoint")
}

// writeCSV writes the rows alone; amounts have the currency's decimals and no separators.
func writeCSV(w io.Writer, r *oversight.Report) error {
	c := csv.NewWriter(w)
	rows := [][]string{{heads[r.By], "name", "currency", "issued", "redeemed", "paid", "payments", "received", "receipts"}}
	for _, x := range r.Rows {
		rows = append(rows, []string{x.Key, plain(x.Label), x.Asset, x.Issued.Format(x.Decimals), x.Redeemed.Format(x.Decimals), x.Paid.Format(x.Decimals),
			strconv.Itoa(x.Payments), x.Received.Format(x.Decimals), strconv.Itoa(x.Receipts)})
	}
	return c.WriteAll(rows)
}

// plain keeps a name that others chose from being a formula in the auditor's spreadsheet.
func plain(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

// label names the wallets of a report.
func label(r *oversight.Report, path string, g *entry.Genesis) error {
	f, err := os.Open(path)
	if err != nil {
		return cli.Usagef("--names: %w", err)
	}
	defer f.Close()
	c := csv.NewReader(f)
	c.FieldsPerRecord = 2
	c.TrimLeadingSpace = true
	labels := map[string]string{}
	for line := 1; ; line++ {
		fields, err := c.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return cli.Usagef("--names %s: %w", path, err)
		}
		if line == 1 && (fields[0] == "address" || fields[0] == "owner") {
			continue
		}
		owner, err := parseOwner(fields[0], g)
		if err != nil {
			return cli.Usagef("--names %s, line %d: %w", path, line, err)
		}
		labels[owner.String()] = fields[1]
	}
	for i := range r.Rows {
		r.Rows[i].Label = labels[r.Rows[i].Key]
	}
	return nil
}

// parseOwner reads an owner in hexadecimal or an address of the ledger.
func parseOwner(text string, g *entry.Genesis) (zk.Owner, error) {
	var owner zk.Owner
	if err := owner.UnmarshalText([]byte(text)); err == nil {
		return owner, nil
	}
	a, err := keys.ParseAddress(text)
	if err != nil {
		return zk.Owner{}, wallets.Refuse(wallets.AddressInvalid, "%q is neither an owner nor an address: %v", text, err)
	}
	hash := g.Hash()
	if a.Prefix != g.Prefix || a.Ledger != [8]byte(hash[:8]) {
		return zk.Owner{}, wallets.Refuse(wallets.AddressOther, "%s is an address of another ledger", text)
	}
	return a.Owner, nil
}
