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
	"github.com/kiteshop/kiteshop/services/item"
	"github.com/kiteshop/kiteshop/services/stock"
)

// schemas are the databases of the shop. Stock is copied at an earlier moment
// than item, so that an item's id which the copy of stock has is never given again.
func schemas() ([]sqldb.Schema, error) {
	stocks, err1 := stock.Schema()
	items, err2 := item.Schema()
	return []sqldb.Schema{stocks, items}, errors.Join(err1, err2)
}

// backupCommand copies the data of a shop, which may be running.
func backupCommand(stdout io.Writer) *ffcli.Command {
	fs := flag.NewFlagSet("backup", flag.ContinueOnError)
	var store sqldb.Config
	store.Flags(fs)
	return &ffcli.Command{
		Name:       "backup",
		ShortUsage: "kiteshop backup [-data DIRECTORY] NEW-DIRECTORY",
		ShortHelp:  "copies the SQLite databases of a shop, which may be running",
		FlagSet:    fs,
		Options:    config.Options(),
		Exec: func(ctx context.Context, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("backup takes one new directory after its flags, and was given %q", args)
			}
			if store.Store != "" {
				return fmt.Errorf("the data is in %s: use pg_dump, as deploy/runbooks/restore.md says", store.Store)
			}
			return copyData(ctx, store.Data, args[0], stdout)
		},
	}
}

// restoreCommand makes the data of a shop from a backup.
func restoreCommand(stdout io.Writer) *ffcli.Command {
	fs := flag.NewFlagSet("restore", flag.ContinueOnError)
	var store sqldb.Config
	store.Flags(fs)
	return &ffcli.Command{
		Name:       "restore",
		ShortUsage: "kiteshop restore [-data NEW-DIRECTORY] BACKUP",
		ShortHelp:  "makes a shop's directory, which must not exist, from a backup",
		FlagSet:    fs,
		Options:    config.Options(),
		Exec: func(ctx context.Context, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("restore takes the directory of one backup after its flags, and was given %q", args)
			}
			if store.Store != "" {
				return fmt.Errorf("the data is to be in %s: use pg_restore, as deploy/runbooks/restore.md says", store.Store)
			}
			return copyData(ctx, args[0], store.Data, stdout)
		},
	}
}

// copyData fails when numbers do not add up, and leaves the copy all the same:
// it is as good as the original.
func copyData(ctx context.Context, from, to string, stdout io.Writer) error {
	schemas, err := schemas()
	if err != nil {
		return err
	}
	copied, err := sqldb.Copy(ctx, from, to, schemas...)
	if err != nil {
		return err
	}
	var drifts int64
	w := tabwriter.NewWriter(stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "FILE\tBYTES\tSCHEMA\tCHECKED")
	for _, c := range copied {
		checked := "whole"
		if c.Compared {
			checked = fmt.Sprintf("whole, %d numbers do not add up", c.Drifts)
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\n", c.Name, c.Bytes, c.Version, checked)
		drifts += c.Drifts
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s is a copy of %s\n", to, from)
	if drifts > 0 {
		return fmt.Errorf("%d numbers are not what the ledger and the reservations add up to, in the copy as in the original", drifts)
	}
	return nil
}
