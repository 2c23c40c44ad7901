package transport_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cloudwego/kitex/client"
	"github.com/cloudwego/kitex/client/callopt"
	"github.com/cloudwego/kitex/server"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/item"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item/itemservice"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

// serveUnbounded starts a Kitex server as it is by default.
func serveUnbounded(t *testing.T, handler items) net.Addr {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	exit, ended := make(chan error), make(chan struct{})
	plain := itemservice.NewServer(&handler, server.WithListener(ln), server.WithExitSignal(func() <-chan error { return exit }))
	go func() {
		_ = plain.Run()
		close(ended)
	}()
	t.Cleanup(func() {
		close(exit)
		<-ended
	})
	return ln.Addr()
}

// Not parallel: what it sends must arrive within the server's 5 s.
func TestMessagesAreBounded(t *testing.T) {
	const below = transport.MaxMessageBytes - 1<<10 // with room for what goes with a title
	handler := items{
		create: func(_ context.Context, fields *item.ItemFields) (*item.CreateItemResp, error) {
			if size := len(fields.GetTitle()); size != below {
				t.Errorf("a request of %d bytes reached the handler", size)
			}
			return &item.CreateItemResp{}, nil
		},
		get: func(ctx context.Context, id int64) (*item.GetItemResp, error) {
			return titled(strings.Repeat("x", int(id)))(ctx, id)
		},
	}
	unboundedClient, err := itemservice.NewClient("item", client.WithHostPorts(serve(t, handler).Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	boundedClient := dial(t, serveUnbounded(t, handler))
	for name, items := range map[string]itemservice.Client{"by the client": boundedClient, "by the server": unboundedClient} {
		t.Run(name, func(t *testing.T) {
			patient := callopt.WithRPCTimeout(time.Minute)
			create := func(size int) error {
				title := strings.Repeat("x", size)
				_, err := items.CreateItem(t.Context(), &item.CreateItemReq{Fields: &item.ItemFields{Title: &title}}, patient)
				return err
			}
			if err := create(below); err != nil {
				t.Errorf("a request below the bound: %v", err)
			}
			if create(transport.MaxMessageBytes) == nil {
				t.Error("a request above the bound is taken")
			}
			resp, err := items.GetItem(t.Context(), &item.GetItemReq{Id: below}, patient)
			if err != nil || len(resp.GetItem().GetTitle()) != below {
				t.Errorf("an answer below the bound arrives with %d bytes, %v", len(resp.GetItem().GetTitle()), err)
			}
			if _, err := items.GetItem(t.Context(), &item.GetItemReq{Id: transport.MaxMessageBytes}, patient); err == nil {
				t.Error("an answer above the bound arrives")
			}
		})
	}
}
