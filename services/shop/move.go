package shop

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/kiteshop/kiteshop/services/internal/config"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
)

// moveCommand brings the data of a stopped shop from SQLite to PostgreSQL.
func moveCommand(stdout io.Writer) *ffcli.Command {
	fs := flag.NewFlagSet("move", flag.ContinueOnError)
	var store sqldb.Config
	store.Flags(fs)
	return &ffcli.Command{
		Name:       "move",
		ShortUsage: "kiteshop move -store URL [-data DIRECTORY]",
		ShortHelp:  "brings the data of a stopped shop from SQLite to a new PostgreSQL database",
		FlagSet:    fs,
		Options:    config.Options(),
		Exec: func(ctx context.Context, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("move takes flags only, and was given %q", args)
			}
			if store.Store == "" {
				return errors.New("move needs the URL of a PostgreSQL database to move to: give it with -store")
			}
			schemas, err := schemas()
			if err != nil {
				return err
			}
			moved, err := sqldb.Move(ctx, store, schemas...)
			if errors.Is(err, sqldb.ErrOutcomeUnknown) {
				return fmt.Errorf("%w; if a second run says that a table has rows, all was moved", err)
			}
			if err != nil {
				return err
			}
			return printMoved(stdout, store, moved)
		},
	}
}

func printMoved(stdout io.Writer, store sqldb.Config, moved []sqldb.Moved) error {
	w := tabwriter.NewWriter(stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "SCHEMA\tTABLE\tROWS\tCHECKSUM ON BOTH SIDES")
	for _, m := range moved {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", m.Schema, m.Table, m.Rows, m.Checksum)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(stdout, "all of %s is in %s; start the shop with that -store, and put the directory away\n", store.Data, store.Store)
	return err
}
