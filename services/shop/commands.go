package shop

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/kiteshop/kiteshop/services/internal/config"
	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
)

// Main is the program: the shop, or a command for a running one or its data.
func Main() {
	lifecycle.Main(func(ctx context.Context, args []string) error { return command(ctx, args, os.Stdout) })
}

func command(ctx context.Context, args []string, stdout io.Writer) error {
	cfg := DefaultConfig()
	open := &ffcli.Command{
		Name:       "kiteshop",
		ShortUsage: "kiteshop [flags] | import FILE | client | registry | reconcile | identity NAME... | key | backup DIRECTORY | restore BACKUP | move",
		ShortHelp:  "runs the whole shop in one process",
		FlagSet:    config.FlagSet("kiteshop", &cfg),
		Options:    config.Options(),
		Exec: func(ctx context.Context, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("there is no command %q; there are import, client, registry, reconcile, identity, key, backup, restore and move, and no command runs the shop", args[0])
			}
			return run(ctx, cfg, stdout)
		},
	}
	open.Subcommands = []*ffcli.Command{
		importCommand(stdout), clientCommand(stdout), registryCommand(stdout), reconcileCommand(stdout), identityCommand(stdout), keyCommand(stdout),
		backupCommand(stdout), restoreCommand(stdout), moveCommand(stdout),
	}

	sets := flagSets(open)
	if err := errors.Join(config.CheckEnvironment(os.Environ(), sets...), config.CheckArguments(args, sets...)); err != nil {
		return err
	}
	return open.ParseAndRun(ctx, args)
}

// flagSets are those of a command and of all below it.
func flagSets(command *ffcli.Command) []*flag.FlagSet {
	sets := []*flag.FlagSet{command.FlagSet}
	for _, sub := range command.Subcommands {
		sets = append(sets, flagSets(sub)...)
	}
	return sets
}

func run(ctx context.Context, cfg Config, stdout io.Writer) error {
	s, err := New(ctx, cfg)
	if err != nil {
		return err
	}
	return s.Run(ctx, func() { fmt.Fprint(stdout, s.Banner()) })
}
