package upstream

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/item"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item/itemservice"
	"github.com/kiteshop/kiteshop/services/gateway/internal/domain"
	"github.com/kiteshop/kiteshop/services/internal/discovery"
	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

// catalogue answers what answer says, or with an item that has five units.
type catalogue struct {
	item.ItemService
	answer atomic.Pointer[fault.Error]
}

func (c *catalogue) GetItem(_ context.Context, req *item.GetItemReq) (*item.GetItemResp, error) {
	if problem := c.answer.Load(); problem != nil {
		return nil, problem
	}
	units := int64(5)
	return &item.GetItemResp{Item: &item.Item{Id: req.GetId(), Title: "kite", Stock: &units}}, nil
}

// reach gives the items of a server that runs, and what stops it.
func reach(t *testing.T, handler *catalogue, last *Last[int64, domain.Item]) (Items, func()) {
	t.Helper()
	tel, err1 := telemetry.New("tests", telemetry.Config{})
	server, err2 := transport.NewServer("127.0.0.1:0", nil, tel)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if err := itemservice.RegisterService(server, handler); err != nil {
		t.Fatal(err)
	}
	part := server.Part()
	ended := make(chan struct{})
	go func() {
		_ = part.Serve()
		close(ended)
	}()
	registry, err1 := discovery.Open(discovery.Config{URL: "static://item=" + server.Addr().String()}, slog.New(slog.DiscardHandler))
	options, err2 := transport.ClientOptions("tests", registry, nil, tel)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	client, err := itemservice.NewClient("item", options...)
	if err != nil {
		t.Fatal(err)
	}
	return Items{Client: client, Last: last}, func() {
		_ = part.Stop(context.Background())
		<-ended
		registry.Close()
	}
}

func TestAnItemIsShownAsItWasWhenItsServiceIsAway(t *testing.T) {
	t.Parallel()
	var maxAge atomic.Int64
	maxAge.Store(int64(time.Hour))
	told := 0
	last, err := NewLast[int64](func() time.Duration { return time.Duration(maxAge.Load()) }, func(domain.Item) int { return 1 }, func() { told++ })
	if err != nil {
		t.Fatal(err)
	}
	handler := &catalogue{}
	items, stop := reach(t, handler, last)
	for _, id := range []int64{7, 8} {
		if found, err := items.Get(t.Context(), id); err != nil || found.Stale || *found.Stock != 5 {
			t.Fatalf("%+v, %v", found, err)
		}
	}
	for _, code := range []fault.Code{fault.Internal, fault.Overloaded, fault.NotFound} { // the last one is the end of item 8
		handler.answer.Store(fault.New(code, "no"))
		if found, err := items.Get(t.Context(), 8); fault.CodeOf(err) != code {
			t.Errorf("%s: %+v, %v", code, found, err)
		}
	}
	stop()
	if found, err := items.Get(t.Context(), 7); err != nil || !found.Stale || found.Age <= 0 || found.Stock != nil || found.Title != "kite" {
		t.Errorf("%+v, %v", found, err)
	}
	if found, err := items.Get(t.Context(), 8); fault.CodeOf(err) != fault.Unavailable {
		t.Errorf("an item that is no more: %+v, %v", found, err)
	}
	maxAge.Store(1)
	if found, err := items.Get(t.Context(), 7); fault.CodeOf(err) != fault.Unavailable {
		t.Errorf("an item that was seen too long ago: %+v, %v", found, err)
	}
	if told != 1 {
		t.Errorf("%d old answers were counted", told)
	}
}
