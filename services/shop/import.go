package shop

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"syscall"

	"github.com/peterbourgon/ff/v3/ffcli"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/kiteshop/kiteshop/services/internal/config"
	"github.com/kiteshop/kiteshop/services/internal/discovery"
)

// importCommand sends a product file to a running shop.
func importCommand(stdout io.Writer) *ffcli.Command {
	fs := flag.NewFlagSet("import", flag.ContinueOnError)
	address := fs.String("gateway", "http://127.0.0.1:8889", "`URL` of the running shop")
	authority := fs.String("ca", "", "PEM `file` of the authorities whose certificates are trusted; empty: those of the system")
	var key discovery.Secret
	fs.Var(&key, "key", "API `key` with the scope admin, if the shop has keys; from the environment, as KITESHOP_KEY, or a file only")
	set := fs.Bool("set-stock", false, "make the stock what the file says, also of items imported before")
	return &ffcli.Command{
		Name:       "import",
		ShortUsage: "kiteshop import [flags] FILE",
		ShortHelp:  "sends a Shopify product CSV to a running shop",
		FlagSet:    fs,
		Options:    config.Options(),
		Exec: func(ctx context.Context, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("import takes one file after its flags, and was given %q", args)
			}
			client, err := shopClient(*authority, string(key))
			if err != nil {
				return err
			}
			return importFile(ctx, client, *address, args[0], *set, stdout)
		},
	}
}

// importReport is what POST /api/v1/imports answers, or a problem.
type importReport struct {
	Created, Unchanged, Updated, Rows int
	Errors                            []struct {
		Line   int
		Column string
		Field  string
		Reason string
	}
	MoreErrors int    `json:"more_errors"`
	Detail     string // of a problem
}

func importFile(ctx context.Context, client *http.Client, gateway, path string, set bool, stdout io.Writer) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	target, err := url.JoinPath(gateway, "/api/v1/imports")
	if err != nil {
		return fmt.Errorf("-gateway %q is no URL: %w", gateway, err)
	}
	body := progress(file, info)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("%s?set_stock=%t", target, set), body)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "text/csv")
	response, err := client.Do(request)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("no shop answers at %s; start it with \"go run .\", or name another with -gateway", gateway)
	}
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var report importReport
	if err := json.NewDecoder(response.Body).Decode(&report); err != nil {
		return fmt.Errorf("%s answered %s, and not as a shop does: %w", target, response.Status, err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the shop refused the file: %s", report.Detail)
	}
	printReport(stdout, report)
	return nil
}

// progress shows on a terminal how much of the file has been read.
func progress(file *os.File, info os.FileInfo) io.Reader {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return bufio.NewReader(file)
	}
	bar := progressbar.DefaultBytes(info.Size(), info.Name())
	return io.TeeReader(file, bar)
}

func printReport(stdout io.Writer, report importReport) {
	for _, e := range report.Errors {
		fmt.Fprintf(stdout, "line %d, %s: %s\n", e.Line, e.Column, e.Reason)
	}
	if report.MoreErrors > 0 {
		fmt.Fprintf(stdout, "and %d more errors\n", report.MoreErrors)
	}
	fmt.Fprintf(stdout, "%d rows: %d items created, %d updated, %d unchanged, %d errors\n",
		report.Rows, report.Created, report.Updated, report.Unchanged, len(report.Errors)+report.MoreErrors)
}
