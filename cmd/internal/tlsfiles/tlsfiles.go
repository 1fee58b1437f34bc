// Package tlsfiles gives commands the flags that name certificates, keys and authorities. What they mean is in package doors.
package tlsfiles

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/proto/doors"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/rpc"
)

// The environment stands in for flags that are not given; several files are separated as in PATH.
const (
	envCert     = "COMITY_TLS_CERT"
	envKey      = "COMITY_TLS_KEY"
	envCA       = "COMITY_TLS_CA"
	envClientCA = "COMITY_TLS_CLIENT_CA"
)

type clientKey struct{}

// Flags adds --tls-cert, --tls-key and --tls-ca to a group of commands. From gives what they name to a command of it.
func Flags(group *cobra.Command) {
	f := group.PersistentFlags()
	f.StringArray("tls-cert", nil, "certificate by which this process is known, PEM; repeat for several ledgers (or $"+envCert+")")
	f.StringArray("tls-key", nil, "its key, PEM, readable by the owner alone (or $"+envKey+")")
	f.StringArray("tls-ca", nil, "certificate of the authority of the servers to speak to, PEM; repeat for several ledgers (or $"+envCA+")")
	before := group.PersistentPreRunE
	group.PersistentPreRunE = func(cmd *cobra.Command, args []string) error {
		if cas := given(cmd, "tls-ca", envCA); len(cas) > 0 {
			c, err := doors.NewClient(doors.ClientConfig{Certs: given(cmd, "tls-cert", envCert), Keys: given(cmd, "tls-key", envKey), CAs: cas,
				Log: slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))})
			if err != nil {
				return err
			}
			cmd.SetContext(context.WithValue(cmd.Context(), clientKey{}, c))
		}
		if before != nil {
			return before(cmd, args)
		}
		return nil
	}
}

// given reads a repeatable flag, or the environment where the flag is not given.
func given(cmd *cobra.Command, flag, env string) []string {
	if out, err := cmd.Flags().GetStringArray(flag); err == nil && len(out) > 0 {
		return out
	}
	return filepath.SplitList(os.Getenv(env))
}

// From gives the client's end of mutual TLS that the command was given, or nil: then only this machine is spoken to.
func From(ctx context.Context) *doors.Client {
	c, _ := ctx.Value(clientKey{}).(*doors.Client)
	return c
}

// ServerFlag adds --tls-client-ca to a command that serves.
func ServerFlag(cmd *cobra.Command) {
	cmd.Flags().StringArray("tls-client-ca", nil,
		"serve over mutual TLS, with --tls-cert and --tls-key, to callers whose certificates this authority signed, PEM; repeat for several (or $"+envClientCA+")")
}

// CheckListen refuses an address to listen on: without --tls-client-ca any that is not a loopback address.
func CheckListen(cmd *cobra.Command, address string) error {
	err := rpc.CheckListen(address)
	if errors.Is(err, rpc.ErrNotLoopback) {
		if len(given(cmd, "tls-client-ca", envClientCA)) > 0 {
			return nil
		}
		return cli.RefusedAs("not_loopback", err)
	}
	if err != nil {
		return cli.Usagef("%w: want 127.0.0.1:PORT", err)
	}
	return nil
}

// Server gives the server's end of mutual TLS that a command was given, for certificates of these ledgers; nil without --tls-client-ca.
func Server(cmd *cobra.Command, log *slog.Logger, ledgers ...entry.GenesisHash) (*doors.Server, error) {
	cas := given(cmd, "tls-client-ca", envClientCA)
	if len(cas) == 0 {
		return nil, nil
	}
	certs, keys := given(cmd, "tls-cert", envCert), given(cmd, "tls-key", envKey)
	if len(certs) == 0 || len(keys) == 0 {
		return nil, cli.Usagef("--tls-client-ca wants --tls-cert and --tls-key, the server's own")
	}
	cfg := doors.ServerConfig{Cert: certs[0], Key: keys[0], ClientCAs: cas, Log: log}
	for _, l := range ledgers {
		cfg.Ledgers = append(cfg.Ledgers, doors.Ledger(l))
	}
	return doors.NewServer(cfg)
}

// Scheme is that of a server's own URL.
func Scheme(d *doors.Server) string {
	if d == nil {
		return "http://"
	}
	return "https://"
}
