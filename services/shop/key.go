package shop

import (
	"cmp"
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/kiteshop/kiteshop/services/internal/apikey"
	"github.com/kiteshop/kiteshop/services/internal/config"
)

// keysFile is the name of the keys' file, beside the data.
const keysFile = "api-keys.yaml"

// keyCommand makes, lists and revokes the keys of a shop, which may run.
func keyCommand(stdout io.Writer) *ffcli.Command {
	key := &ffcli.Command{
		Name:        "key",
		ShortUsage:  "kiteshop key create -name NAME -scopes read,write,admin | list | revoke ID",
		ShortHelp:   "makes, lists and revokes the API keys of a shop, also while it runs",
		FlagSet:     flag.NewFlagSet("key", flag.ContinueOnError),
		Options:     config.Options(),
		Subcommands: []*ffcli.Command{keyCreate(stdout), keyList(stdout), keyRevoke(stdout)},
	}
	key.Exec = func(_ context.Context, args []string) error {
		return fmt.Errorf("key takes create, list or revoke, and was given %q", args)
	}
	return key
}

// keyFlags says which file is meant.
func keyFlags(name string) (fs *flag.FlagSet, file func() apikey.File) {
	fs = flag.NewFlagSet("key "+name, flag.ContinueOnError)
	keys := fs.String("api-keys", "", "`file` of the keys; empty: "+keysFile+" in the directory of -data")
	data := fs.String("data", "data", "`directory` of the shop's data")
	return fs, func() apikey.File { return apikey.File(cmp.Or(*keys, filepath.Join(*data, keysFile))) }
}

func keyCreate(stdout io.Writer) *ffcli.Command {
	fs, file := keyFlags("create")
	name := fs.String("name", "", "whose key it is, for people: 1 to 100 characters")
	scopes := fs.String("scopes", "", "what it is good for: read, write, admin, separated by commas; each has those before it in it")
	return &ffcli.Command{
		Name: "create", ShortUsage: "kiteshop key create -name NAME -scopes read,write [flags]",
		ShortHelp: "makes a key and prints it, once", FlagSet: fs, Options: config.Options(),
		Exec: func(ctx context.Context, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("key create takes flags only, and was given %q", args)
			}
			before, err := file().List()
			if err != nil {
				return err
			}
			var wanted []string
			if *scopes != "" {
				wanted = strings.Split(*scopes, ",")
			}
			text, made, err := file().Create(ctx, *name, wanted, time.Now(), rand.Reader)
			if err != nil {
				return err
			}
			printCreated(stdout, file(), text, made, len(before) == 0)
			return nil
		},
	}
}

func printCreated(stdout io.Writer, file apikey.File, text string, made apikey.Key, first bool) {
	fmt.Fprintf(stdout, `%s

This is the key of %s, for %s. It is shown this once: %s has a hash of it only.

  curl -H 'Authorization: Bearer %s' …

`, text, made.Name, strings.Join(made.Scopes, ", "), file, text)
	if first {
		fmt.Fprintln(stdout, "It is the first one: from now on writes need a key, and reads stay open.")
	}
	fmt.Fprintln(stdout, "A shop that runs with this file knows the key within a second.")
}

func keyList(stdout io.Writer) *ffcli.Command {
	fs, file := keyFlags("list")
	return &ffcli.Command{
		Name: "list", ShortUsage: "kiteshop key list [flags]",
		ShortHelp: "lists the keys, without their secrets", FlagSet: fs, Options: config.Options(),
		Exec: func(_ context.Context, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("key list takes flags only, and was given %q", args)
			}
			keys, err := file().List()
			if err != nil {
				return err
			}
			return printKeys(stdout, keys)
		},
	}
}

func printKeys(stdout io.Writer, keys []apikey.Key) error {
	w := tabwriter.NewWriter(stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "ID\tNAME\tSCOPES\tCREATED\tREVOKED")
	for _, key := range keys {
		revoked := "-"
		if key.RevokedAt != nil {
			revoked = key.RevokedAt.Format(time.RFC3339)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", key.ID, key.Name, strings.Join(key.Scopes, ","), key.CreatedAt.Format(time.RFC3339), revoked)
	}
	return w.Flush()
}

func keyRevoke(stdout io.Writer) *ffcli.Command {
	fs, file := keyFlags("revoke")
	return &ffcli.Command{
		Name: "revoke", ShortUsage: "kiteshop key revoke [flags] ID",
		ShortHelp: "makes a key invalid for ever", FlagSet: fs, Options: config.Options(),
		Exec: func(ctx context.Context, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("key revoke takes one id after its flags, which key list shows, and was given %d", len(args))
			}
			if apikey.Index(args[0]) >= 0 {
				return fmt.Errorf("key revoke takes the id alone, which is between the two _ of a key")
			}
			revoked, err := file().Revoke(ctx, args[0], time.Now())
			if err != nil {
				return err
			}
			fmt.Fprintf(stdout, "the key %s of %s is revoked; a shop that runs with %s refuses it within a second\n", revoked.ID, revoked.Name, file())
			return nil
		},
	}
}
