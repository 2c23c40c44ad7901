package shop

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/item"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item/itemservice"
	"github.com/kiteshop/kiteshop/services/internal/config"
	"github.com/kiteshop/kiteshop/services/internal/discovery"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

// clientCommand is the tutorial's client: it asks for an item once a second.
func clientCommand(stdout io.Writer) *ffcli.Command {
	fs := flag.NewFlagSet("client", flag.ContinueOnError)
	address := fs.String("item", "127.0.0.1:8888", "`address` of the item service")
	id := fs.Int64("id", 1024, "`id` of the item to ask for")
	count := fs.Int("count", 0, "how `often` to ask; 0 until Ctrl-C")
	interval := fs.Duration("interval", time.Second, "`time` between two questions")
	keys := operatorFlags(fs)
	return &ffcli.Command{
		Name:       "client",
		ShortUsage: "kiteshop client [flags]",
		ShortHelp:  "asks a running shop for an item, by Kitex, once a second",
		FlagSet:    fs,
		Options:    config.Options(),
		Exec: func(ctx context.Context, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("client takes flags only, and was given %q", args)
			}
			registry, err := discovery.Open(discovery.Config{URL: "static://item=" + *address}, slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			defer registry.Close()
			tel, err := telemetry.New("client", telemetry.Config{})
			if err != nil {
				return err
			}
			options, err := operatorOptions("client", registry, keys, tel)
			if err != nil {
				return err
			}
			items, err := itemservice.NewClient("item", options...)
			if err != nil {
				return err
			}
			return ask(ctx, items, *id, *count, *interval, stdout)
		},
	}
}

func ask(ctx context.Context, items itemservice.Client, id int64, count int, interval time.Duration, stdout io.Writer) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for asked := 1; ; asked++ {
		resp, err := items.GetItem(ctx, &item.GetItemReq{Id: id})
		if err != nil {
			return transport.ReadFault("item", err)
		}
		fmt.Fprintf(stdout, "%s\n", describe(resp.GetItem()))
		if asked == count {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func describe(i *item.Item) string {
	stock := "unknown"
	if i.Stock != nil {
		stock = strconv.FormatInt(*i.Stock, 10)
	}
	return fmt.Sprintf("item:{id:%d title:%q description:%q stock:%s}", i.GetId(), i.GetTitle(), i.GetDescription(), stock)
}
