// Command comity is the one binary of the project: it runs ledgers and witnesses, pays and is paid, and checks.
package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/bridgecmd"
	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/corridorcmd"
	"github.com/comity-ledger/comity/cmd/internal/demo"
	"github.com/comity-ledger/comity/cmd/internal/escrowcmd"
	"github.com/comity-ledger/comity/cmd/internal/ledgercmd"
	"github.com/comity-ledger/comity/cmd/internal/oversightcmd"
	"github.com/comity-ledger/comity/cmd/internal/setupcmd"
	"github.com/comity-ledger/comity/cmd/internal/telemetry"
	"github.com/comity-ledger/comity/cmd/internal/tlsfiles"
	"github.com/comity-ledger/comity/cmd/internal/verifycmd"
	"github.com/comity-ledger/comity/cmd/internal/walletcmd"
	"github.com/comity-ledger/comity/cmd/internal/witnesscmd"
)

// version is set when a release is built: -ldflags "-X main.version=v1.2.3".
var version = "development"

func main() { os.Exit(cli.Main(root())) }

// root puts the command groups together; each is a package of its own under cmd/internal.
func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "comity",
		Short: "A settlement ledger for allied nations",
		Long: `Comity is a settlement ledger for allied nations: amounts, parties and the payment graph stay hidden from everyone who
runs or copies a ledger, and zero-knowledge proofs keep it honest all the same.

Exit codes: 0 done, 1 failed, 2 wrong use or input, 3 refused by name, 4 not reachable or "try later", 5 a check failed.`,
		Version: version,
	}
	cmd.CompletionOptions.HiddenDefaultCmd = true
	cmd.AddCommand(demo.Command(), ledgercmd.Command(version), corridorcmd.Command(), walletcmd.Command(), escrowcmd.Command(), bridgecmd.Command(), oversightcmd.Command(), witnesscmd.Command(),
		verifycmd.Command(), setupcmd.Command())
	for _, group := range cmd.Commands() {
		switch group.Name() {
		case "ledger", "corridor", "wallet", "escrow", "bridge", "oversight", "witness":
			tlsfiles.Flags(group)
		}
	}
	telemetry.Commands(cmd, version)
	return cmd
}
