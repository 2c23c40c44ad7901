// Package config reads a program's settings: defaults, then a file, then the
// environment, then flags, each of which overrides the one before. What nobody
// has defined is refused by name.
package config

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/peterbourgon/ff/v3"
	"github.com/peterbourgon/ff/v3/ffyaml"
)

// Prefix begins the name of every setting in the environment: the flag
// -log-level is KITESHOP_LOG_LEVEL there.
const Prefix = "KITESHOP"

// Settings declares its fields as flags, with the current values as defaults.
type Settings interface {
	Flags(fs *flag.FlagSet)
}

// Parse fills settings for the program called name. It returns flag.ErrHelp
// when help was asked for and printed.
func Parse(name string, settings Settings, args []string) error {
	fs := FlagSet(name, settings)
	if err := errors.Join(CheckEnvironment(os.Environ(), fs), CheckArguments(args, fs)); err != nil {
		return err
	}
	if err := ff.Parse(fs, args, Options()...); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("%s takes flags only, and was given %q", name, fs.Args())
	}
	return nil
}

// FlagSet holds the flags of settings, and -config, which names the file.
func FlagSet(name string, settings Settings) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.String("config", "", "YAML `file` of settings, one \"flag: value\" a line")
	settings.Flags(fs)
	return fs
}

// Options say where a command's flags are read from.
func Options() []ff.Option {
	return []ff.Option{
		ff.WithEnvVarPrefix(Prefix),
		ff.WithConfigFileFlag("config"),
		ff.WithConfigFileParser(ffyaml.Parser),
	}
}

// CheckEnvironment refuses variables that begin with Prefix and set no flag of
// any of the sets.
func CheckEnvironment(environ []string, sets ...*flag.FlagSet) error {
	var known []string
	for _, fs := range sets {
		fs.VisitAll(func(f *flag.Flag) {
			known = append(known, variable(f))
		})
	}
	slices.Sort(known)
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, Prefix+"_") && !slices.Contains(known, name) {
			return fmt.Errorf("the environment sets %s, which is no setting of this program; it knows %s",
				name, strings.Join(slices.Compact(known), ", "))
		}
	}
	return nil
}

// CheckArguments refuses secrets on the command line, where other users of the
// machine can read them. A secret's flag.Value has a method IsSecret, that of a
// setting which may have one in it, as a URL a password, a method SecretIn.
func CheckArguments(args []string, sets ...*flag.FlagSet) error {
	for _, fs := range sets {
		var err error
		fs.VisitAll(func(f *flag.Flag) {
			for i, arg := range args {
				name, text, inOne := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-"), "=")
				if !strings.HasPrefix(arg, "-") || name != f.Name {
					continue
				}
				if !inOne && i+1 < len(args) {
					text = args[i+1]
				}
				if what := secret(f.Value, text); what != "" {
					err = fmt.Errorf("-%s %s; give it in the environment, as %s, or in the file of -config", f.Name, what, variable(f))
				}
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// secret says what is secret about a setting that is given as text, or nothing.
func secret(value flag.Value, text string) string {
	if value, ok := value.(interface{ IsSecret() bool }); ok && value.IsSecret() {
		return "is a secret"
	}
	if value, ok := value.(interface{ SecretIn(text string) bool }); ok && value.SecretIn(text) {
		return "has a secret in it"
	}
	return ""
}

// variable is the name of a flag in the environment.
func variable(f *flag.Flag) string {
	return Prefix + "_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
}

// Effective lists the values in force, for the log.
func Effective(settings Settings) slog.Attr {
	var values []any
	FlagSet("", settings).VisitAll(func(f *flag.Flag) {
		if f.Name != "config" {
			values = append(values, slog.String(f.Name, f.Value.String()))
		}
	})
	return slog.Group("settings", values...)
}
