// Package bridgecmd is the command group "comity bridge": it runs providers and relayers, and pays from one ledger to another. What a
// provider, a payer or a relayer decides is in package bridge; what a ledger accepts is in package settlement. Here are wallets, disks and
// the network.
package bridgecmd

import (
	"encoding/json"

	"github.com/spf13/cobra"
)

// Command is the group "bridge".
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bridge",
		Short: "Pay from one ledger to another, provide liquidity, relay",
		Long: `Pay from one ledger to another, provide liquidity, relay.

A payment between ledgers settles on both sides or on neither, and no currency leaves its ledger: a provider with wallets on both pays the
payee when the payer's money is locked for it. One of the two ledgers decides, and the other follows its log. Nobody in between is trusted:
not the provider, not whoever relays, and neither ledger with the other's money.`,
	}
	cmd.AddCommand(providerCommand(), inventoryCommand(), relayCommand(), quoteCommand(), payCommand(), statusCommand(), exportCommand(), importCommand(), overrideCommand())
	return cmd
}

// jsonLine is a JSON object on one line.
func jsonLine(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	return append(b, '\n'), err
}
