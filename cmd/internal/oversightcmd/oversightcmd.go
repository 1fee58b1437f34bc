// Package oversightcmd is the command group "comity oversight": keys of oversight bodies and of programme readers, and what they open on the
// auditor's own machine. What a log shows is decided in wallets/oversight; here files are read, ledgers asked and tables printed.
package oversightcmd

import (
	"github.com/spf13/cobra"
)

// Command is the group "oversight".
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "oversight",
		Short: "Read, total, trace and count payments with a view key",
		Long: `Read, total, trace and count the payments of a ledger with a view key, on the auditor's own machine.

An oversight key opens every payment of its epoch; the key of a programme's reader opens that programme's payments to the last hop and nothing
else. Keys never leave this machine: the ledger is asked for its public log alone, or an exported log is read without asking anybody.

Everything read is checked against a checkpoint cosigned as the ledger's genesis asks, and every commitment is recomputed: a payment that does
not open is reported by its entry, never skipped, and ends the command with exit code 5. Zero-knowledge proofs are not checked here:
'comity ledger verify' does that.

This release does not log openings: nobody but you knows what you read. Keep your own record of it, as your mandate asks.`,
	}
	cmd.AddCommand(keygenCommand(), possessionCommand(), reportCommand(), traceCommand(), supplyCommand(), openCommand(), crossCommand(), reconcileCommand())
	return cmd
}
