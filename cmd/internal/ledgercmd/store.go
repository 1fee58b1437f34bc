package ledgercmd

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/pgstore"
)

// StoreEnv names the store where --store does not.
const StoreEnv = "COMITY_STORE"

// storeFlags say where the log of a ledger is kept, if not in its data folder.
type storeFlags struct {
	address string
	unsafe  bool
	migrate bool
	idle    time.Duration // after which the database ends a session that stands still in a transaction; 0 for its default
}

func (s *storeFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.address, "store", "", "the PostgreSQL database that holds the log, as postgres://USER@HOST/DATABASE?search_path=SCHEMA, or @FILE that holds such a line; "+
		StoreEnv+" does the same (default: the data folder)")
	cmd.Flags().BoolVar(&s.unsafe, "store-unsafe", false, "use a database whose settings may lose what it acknowledged")
	cmd.Flags().BoolVar(&s.migrate, "store-migrate", false, "bring an older layout of the database up to this program's; older programs refuse it from then on")
}

// opener gives the store of a ledger: a database if one is named, the data folder otherwise.
func (s storeFlags) opener(cmd *cobra.Command, f folder, progress func(done, total uint64)) (settlement.Opener, error) {
	address, err := storeAddress(s.address, true)
	if err != nil {
		return nil, err
	}
	if address == "" {
		return f.opener(progress)
	}
	opener, err := s.database(cmd, address, progress)
	if err != nil {
		return nil, err
	}
	if s.migrate {
		// Nothing there: whoever opens it says so, and whoever creates it goes on.
		if err := opener.Migrate(cmd.Context()); err != nil && !errors.Is(err, settlement.ErrStoreNotFound) {
			return nil, named(err)
		}
	}
	return opener, nil
}

func (s storeFlags) database(cmd *cobra.Command, address string, progress func(done, total uint64)) (*pgstore.Opener, error) {
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	opener, err := pgstore.New(pgstore.Config{URL: address, AllowUnsafe: s.unsafe, Progress: progress, Log: log, IdleTimeout: s.idle})
	if err != nil {
		return nil, addressError(err)
	}
	return opener, nil
}

// addressError: what is wrong with an address is a usage error, unless its words are right and its meaning is refused.
func addressError(err error) error {
	if errors.Is(err, pgstore.ErrPlaintext) {
		return named(err)
	}
	return cli.Exit(cli.Usage, err)
}

// storeAddress reads an address of a database from an argument: the address itself, which then must hold no password, because
// everybody on the machine can read arguments; or @FILE. An empty argument stands for the environment, if that may be asked.
func storeAddress(argument string, environment bool) (string, error) {
	where := "--store"
	if argument == "" && environment {
		argument = os.Getenv(StoreEnv)
		where = StoreEnv
	}
	if argument == "" {
		return "", nil
	}
	if path, ok := strings.CutPrefix(argument, "@"); ok {
		text, err := readFile(path)
		if err != nil {
			return "", err
		}
		argument, where = strings.TrimSpace(string(text)), path
	} else if where != StoreEnv && pgstore.HasPassword(argument) {
		return "", cli.Usagef("an argument shows the password to everybody on this machine: put the address into a file and give @FILE, or use %s, PGPASSWORD or a password file", StoreEnv)
	}
	if !pgstore.IsURL(argument) {
		return "", cli.Exit(cli.Usage, fmt.Errorf("%s does not begin with postgres://", where))
	}
	return argument, nil
}
