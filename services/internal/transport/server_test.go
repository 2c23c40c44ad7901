package transport_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cloudwego/kitex/client/callopt"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/item"
	"github.com/kiteshop/kiteshop/services/internal/discovery"
	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

func TestTheRequestIDReachesTheHandlerAndTheServiceBehindIt(t *testing.T) {
	t.Parallel()
	echo := func(ctx context.Context, _ int64) (*item.GetItemResp, error) {
		return titled(telemetry.RequestID(ctx))(ctx, 0)
	}
	behind := dial(t, serve(t, items{get: echo}).Addr())
	front := dial(t, serve(t, items{get: func(ctx context.Context, id int64) (*item.GetItemResp, error) {
		resp, err := behind.GetItem(ctx, &item.GetItemReq{Id: id})
		if err != nil {
			return nil, err
		}
		resp.Item.Description = telemetry.RequestID(ctx)
		return resp, nil
	}}).Addr())
	for _, id := range []string{"req-1", "", "a b\"ü"} {
		ctx := t.Context()
		if id != "" {
			ctx = telemetry.WithRequestID(ctx, id)
		}
		resp, err := front.GetItem(ctx, &item.GetItemReq{Id: 7})
		if err != nil {
			t.Fatal(err)
		}
		if got := resp.GetItem(); got.GetDescription() != id || got.GetTitle() != id {
			t.Errorf("request ids = %q and %q, want %q", got.GetDescription(), got.GetTitle(), id)
		}
	}
}

func TestTheCallersDeadlineBoundsTheHandler(t *testing.T) {
	t.Parallel()
	remaining := make(chan time.Duration, 1)
	server := serve(t, items{get: func(ctx context.Context, id int64) (*item.GetItemResp, error) {
		deadline, _ := ctx.Deadline()
		remaining <- time.Until(deadline)
		return titled("kite")(ctx, id)
	}})
	items := dial(t, server.Addr())
	for _, c := range []struct {
		name    string
		options []callopt.Option
		want    time.Duration
	}{
		{"of the call", []callopt.Option{callopt.WithRPCTimeout(time.Hour)}, time.Hour},
		{"of the client", nil, 3 * time.Second},
	} {
		if _, err := items.GetItem(t.Context(), &item.GetItemReq{Id: 7}, c.options...); err != nil {
			t.Fatal(err)
		}
		if got := <-remaining; got > c.want || got < c.want-time.Second { // the way there takes less than a second
			t.Errorf("deadline %s: %s remain, want just below %s", c.name, got, c.want)
		}
	}
}

func TestTheHandlersContextEndsWithTheCallersDeadline(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	server := serve(t, items{get: func(ctx context.Context, _ int64) (*item.GetItemResp, error) {
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	}})
	_, err := dial(t, server.Addr()).GetItem(t.Context(), &item.GetItemReq{Id: 7}, callopt.WithRPCTimeout(100*time.Millisecond))
	if err == nil {
		t.Error("there is no error")
	}
	if got := <-ended; !errors.Is(got, context.DeadlineExceeded) {
		t.Errorf("the handler's context ended with %v, want context.DeadlineExceeded", got)
	}
}

func TestClientsOfOneServiceInTwoRegistriesDoNotMixThemUp(t *testing.T) {
	t.Parallel()
	for _, title := range []string{"one", "other"} {
		server := serve(t, items{get: titled(title)})
		memory := memory(t)
		announcement := memory.Announce(server.Addr(), "item")
		await(t, func() bool { return announcement.Registered() == nil })
		for kind, registry := range map[string]*discovery.Registry{"memory": memory, "static": static(t, "item="+server.Addr().String())} {
			resp, err := dialIn(t, registry).GetItem(t.Context(), &item.GetItemReq{Id: 7})
			if err != nil || resp.GetItem().GetTitle() != title {
				t.Errorf("the client of the %s registry of %s got %v, %v", kind, title, resp, err)
			}
		}
	}
}

func TestCallsAreCountedByMethodAndCode(t *testing.T) {
	t.Parallel()
	server := serve(t, items{get: func(ctx context.Context, id int64) (*item.GetItemResp, error) {
		if id == 0 {
			return nil, fault.New(fault.NotFound, "item 0 does not exist")
		}
		return titled("kite")(ctx, id)
	}})
	items := dial(t, server.Addr())
	for id := range int64(4) {
		_, _ = items.GetItem(t.Context(), &item.GetItemReq{Id: id})
	}
	recorder := httptest.NewRecorder()
	server.tel.Metrics.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	counted := map[string]string{}
	for _, line := range regexp.MustCompile(`(?m)^rpc_server_call_duration_seconds_count\{(.*)\} (\d+)$`).FindAllStringSubmatch(recorder.Body.String(), -1) {
		code := regexp.MustCompile(`rpc_response_status_code="(\w+)"`).FindStringSubmatch(line[1])
		if code == nil || !strings.Contains(line[1], `rpc_method="ItemService/GetItem"`) || !strings.Contains(line[1], `rpc_system_name="kitex"`) {
			t.Fatalf("labels = %s, want the system, the method and the code", line[1])
		}
		counted[code[1]] = line[2]
	}
	if len(counted) != 2 || counted["ok"] != "3" || counted["not_found"] != "1" {
		t.Errorf("calls = %v, want 3 ok and 1 not_found", counted)
	}
}
