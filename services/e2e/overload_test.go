package e2e

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	kitexstock "github.com/kiteshop/kiteshop/idl/kitex_gen/stock"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock/stockservice"
	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

// overloaded is a stock service that has no time, and counts who asks.
type overloaded struct {
	kitexstock.StockService
	asked atomic.Int64
}

func (o *overloaded) Reserve(context.Context, *kitexstock.ReserveReq) (*kitexstock.ReservationResp, error) {
	o.asked.Add(1)
	return nil, fault.New(fault.Overloaded, "8192 calls wait already; try again later")
}

func TestAnOverloadIsToldToTheCallerAfterTheAttemptsOfThePolicy(t *testing.T) {
	t.Parallel()
	tel, err := telemetry.New("stock", telemetry.Config{})
	if err != nil {
		t.Fatal(err)
	}
	server, err := transport.NewServer("127.0.0.1:0", nil, tel)
	if err != nil {
		t.Fatal(err)
	}
	stocks := &overloaded{}
	if err := stockservice.RegisterService(server, stocks); err != nil {
		t.Fatal(err)
	}
	part := server.Part()
	go func() { _ = part.Serve() }()
	t.Cleanup(func() { _ = part.Stop(context.Background()) })

	cfg := config(t.TempDir())
	cfg.Gateway.Discovery.URL = fmt.Sprintf("static://item=%s,stock=%s", freePort(t), server.Addr())
	s := open(t, cfg)
	var refused problem
	got := s.send("POST", reservations, `{"lines":[{"item_id":1024,"quantity":1}]}`, "Idempotency-Key: cart-7").want(t, http.StatusServiceUnavailable, &refused)
	if refused.Code != "overloaded" || refused.Detail != "8192 calls wait already; try again later" ||
		got.header.Get("Retry-After") != "1" || got.header.Get("Idempotency-Key") != "cart-7" {
		t.Errorf("refused with %+v and the headers %v", refused, got.header)
	}
	if asked := stocks.asked.Load(); asked != 2 {
		t.Errorf("stock was asked %d times, want 2", asked)
	}
}
