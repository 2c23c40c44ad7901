package shop

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/cloudwego/kitex/client"
	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/kiteshop/kiteshop/services/internal/config"
	"github.com/kiteshop/kiteshop/services/internal/discovery"
	"github.com/kiteshop/kiteshop/services/internal/identity"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

// operator is who the commands are that call services.
const operator = "operator"

// operatorFlags declares the settings of the operator's key.
func operatorFlags(fs *flag.FlagSet) *identity.Config {
	var keys identity.Config
	fs.StringVar(&keys.Key, "identity-key", "", "PEM `file` of the operator's private key, or a directory that has it as operator.key; for services that ask who calls")
	fs.StringVar(&keys.Trust, "identity-trust", "", "PEM `file` of the services' certificates, or a directory of such files (.crt, .pem)")
	return &keys
}

// operatorOptions make a command's client, which says that it is the operator if it has a key.
func operatorOptions(command string, registry *discovery.Registry, keys *identity.Config, tel *telemetry.Telemetry) ([]client.Option, error) {
	id, err := identity.Open(operator, *keys, time.Now)
	if err != nil {
		return nil, err
	}
	options, err := transport.ClientOptions(command, registry, nil, tel)
	return append(options, transport.Identified(id)), err
}

// identityCommand makes the keys by which the services know each other.
func identityCommand(stdout io.Writer) *ffcli.Command {
	fs := flag.NewFlagSet("identity", flag.ContinueOnError)
	dir := fs.String("keys", "keys", "`directory` to write to")
	days := fs.Int("days", 365, "how many days the certificates are valid, 1 to 3650")
	return &ffcli.Command{
		Name:       "identity",
		ShortUsage: "kiteshop identity [flags] NAME...",
		ShortHelp:  "makes a key and a certificate for each service named: NAME.key and NAME.crt",
		FlagSet:    fs,
		Options:    config.Options(),
		Exec: func(_ context.Context, names []string) error {
			if len(names) == 0 {
				return errors.New("identity takes the names of services, as gateway item stock activity operator")
			}
			return writeKeys(stdout, *dir, names, time.Now(), *days)
		},
	}
}

// writeKeys writes no file if one of them is there already.
func writeKeys(stdout io.Writer, dir string, names []string, now time.Time, days int) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	contents := map[string][]byte{}
	var paths []string
	for _, name := range names {
		key, certificate, err := identity.Make(name, now, days)
		if err != nil {
			return err
		}
		for path, content := range map[string][]byte{filepath.Join(dir, name+".key"): key, filepath.Join(dir, name+".crt"): certificate} {
			if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("%s is there already; give another directory with -keys, or move it away", path)
			}
			if contents[path] == nil {
				paths = append(paths, path)
			}
			contents[path] = content
		}
	}
	for _, path := range paths {
		if err := writeNew(path, contents[path]); err != nil {
			return err
		}
	}
	fmt.Fprintf(stdout, "%d keys and certificates are in %s; the certificates end at %s\n", len(paths)/2, dir, now.AddDate(0, 0, days).UTC().Format(time.RFC3339))
	return nil
}

// writeNew writes a file for its owner alone, and fails if it is there.
func writeNew(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	return errors.Join(err, file.Close())
}
