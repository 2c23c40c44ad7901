package shop

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"
	"time"

	"github.com/cloudwego/kitex/client/callopt"
	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock/stockservice"
	"github.com/kiteshop/kiteshop/services/internal/config"
	"github.com/kiteshop/kiteshop/services/internal/discovery"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

// reconcileTimeout bounds the command: the whole ledger is read.
const reconcileTimeout = 5 * time.Minute

// reconcileCommand compares the stock of a running shop with its ledger and
// its reservations, and fails when they differ.
func reconcileCommand(stdout io.Writer) *ffcli.Command {
	fs := flag.NewFlagSet("reconcile", flag.ContinueOnError)
	address := fs.String("stock", "127.0.0.1:8890", "`address` of the stock service")
	keys := operatorFlags(fs)
	return &ffcli.Command{
		Name:       "reconcile",
		ShortUsage: "kiteshop reconcile [flags]",
		ShortHelp:  "compares a running shop's stock with its ledger and its reservations",
		FlagSet:    fs,
		Options:    config.Options(),
		Exec: func(ctx context.Context, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("reconcile takes flags only, and was given %q", args)
			}
			registry, err := discovery.Open(discovery.Config{URL: "static://stock=" + *address}, slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			defer registry.Close()
			tel, err := telemetry.New("reconcile", telemetry.Config{})
			if err != nil {
				return err
			}
			options, err := operatorOptions("reconcile", registry, keys, tel)
			if err != nil {
				return err
			}
			stocks, err := stockservice.NewClient("stock", options...)
			if err != nil {
				return err
			}
			result, err := stocks.Reconcile(ctx, &stock.ReconcileReq{}, callopt.WithRPCTimeout(reconcileTimeout))
			if err != nil {
				return transport.ReadFault("stock", err)
			}
			return printReconciliation(stdout, result)
		},
	}
}

// printReconciliation returns an error when there is drift.
func printReconciliation(stdout io.Writer, result *stock.ReconcileResp) error {
	fmt.Fprintf(stdout, "%d balances compared, %d items low on stock\n", result.GetBalances(), result.GetLow())
	drifts := result.GetDrifts()
	if len(drifts) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "ITEM\tLOCATION\tFIELD\tRECORDED\tCOUNTED")
	for _, d := range drifts {
		fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%d\n", d.GetItemId(), d.GetLocation(), d.GetField(), d.GetRecorded(), d.GetCounted())
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return fmt.Errorf("%d numbers are not what the ledger and the reservations add up to", len(drifts))
}
