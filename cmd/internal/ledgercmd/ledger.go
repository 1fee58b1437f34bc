// Package ledgercmd is the operator's side of the comity binary: creating and running a ledger, looking at it, exporting and
// checking its log, and the proposals by which its policy signers act.
package ledgercmd

import (
	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/pkicmd"
)

// Command returns the group "ledger". version is shown by the status of a running ledger.
func Command(version string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ledger",
		Short: "Create, run, watch and check a settlement ledger",
		Long: `Create, run, watch and check a settlement ledger, and act for it under its policy: a proposal is made by one person, signed by as
many as the policy asks for, each on their own machine, and submitted by anybody.`,
	}
	cmd.AddCommand(initCommand(), runCommand(version), statusCommand(), replayCommand(), copyCommand(), backupCommand(), restoreCommand(), balanceCommand(), dayCommand(), verifyCommand(), exportCommand(),
		proposeCommand(), pkicmd.Command(), signCommand(), submitCommand(), signerKeygen(), receiptCommand(), anchorCommand(), verifyDocumentCommand())
	return cmd
}
