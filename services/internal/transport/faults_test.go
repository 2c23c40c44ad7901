package transport_test

import (
	"context"
	"errors"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cloudwego/kitex/client"
	"github.com/cloudwego/kitex/client/callopt"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/item"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item/itemservice"
	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

// wantFaults compares what a reader and what a writer make of the error of a call.
func wantFaults(t *testing.T, err error, read, write fault.Error) {
	t.Helper()
	for name, c := range map[string]struct {
		got  error
		want fault.Error
	}{
		"ReadFault":  {transport.ReadFault("item", err), read},
		"WriteFault": {transport.WriteFault("item", err), write},
	} {
		var got *fault.Error
		if !errors.As(c.got, &got) {
			t.Errorf("%s = %v, want a fault", name, c.got)
			continue
		}
		if got.Code != c.want.Code || got.Message != c.want.Message || !reflect.DeepEqual(got.Fields, c.want.Fields) {
			t.Errorf("%s = %+v, want %+v", name, *got, c.want)
		}
	}
}

// toReaders is what a service's fault is to who only reads: nothing was to be changed.
func toReaders(sent *fault.Error) fault.Error {
	read := *sent
	if read.Code == fault.OutcomeUnknown {
		read.Code = fault.Unavailable
	}
	return read
}

func TestFaultsArriveAsTheyAre(t *testing.T) {
	t.Parallel()
	for _, sent := range []*fault.Error{
		fault.Invalid("limit", "must be %d to %d", 1, 100),
		fault.InvalidFields(
			fault.Field{Field: "title", Reason: `is "<b>"; 100% wrong, {"a":1}`},
			fault.Field{Field: "lines[0].quantity", Reason: "ist größer als 10⁹\n(zu groß)"}),
		fault.New(fault.NotFound, "item 7 does not exist"),
		fault.New(fault.Conflict, "%s", "the SKU \"kite\" is taken, 100%d; ü\nend"),
		fault.New(fault.VersionMismatch, "it has version 3"),
		fault.New(fault.KeyReused, "the key came before"),
		fault.New(fault.Unavailable, "the stock service cannot be reached"),
		fault.New(fault.OutcomeUnknown, "the stock service did not answer in time"),
		fault.New(fault.Internal, "an internal error"),
		fault.New("code_of_a_newer_service", "something new"),
	} {
		t.Run(string(sent.Code), func(t *testing.T) {
			t.Parallel()
			server := serve(t, items{get: failing(sent.Because(errors.New("the cause stays behind")))})
			_, err := dial(t, server.Addr()).GetItem(t.Context(), &item.GetItemReq{Id: 7})
			wantFaults(t, err, toReaders(sent), *sent)
			if err != nil && strings.Contains(err.Error(), "stays behind") {
				t.Errorf("the caller gets the cause: %v", err)
			}
		})
	}
}

func TestNoErrorIsNoFault(t *testing.T) {
	t.Parallel()
	server := serve(t, items{get: titled("kite")})
	resp, err := dial(t, server.Addr()).GetItem(t.Context(), &item.GetItemReq{Id: 7})
	if transport.ReadFault("item", err) != nil || transport.WriteFault("item", err) != nil {
		t.Errorf("error = %v, want nil", err)
	}
	if got := resp.GetItem(); got.GetId() != 7 || got.GetTitle() != "kite" {
		t.Errorf("item = %v, want 7 kite", got)
	}
}

func TestWhatIsOurFaultStaysInTheServersLog(t *testing.T) {
	t.Parallel()
	for name, get := range map[string]func(context.Context, int64) (*item.GetItemResp, error){
		"a foreign error": failing(errors.New("no such table: secrets")),
		"a panic":         func(context.Context, int64) (*item.GetItemResp, error) { panic("no such table: secrets") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := serve(t, items{get: get})
			plain, err := itemservice.NewClient("x", client.WithHostPorts(server.Addr().String()))
			if err != nil {
				t.Fatal(err)
			}
			want := fault.Error{Code: fault.Internal, Message: "an internal error"}
			ctx := telemetry.WithRequestID(t.Context(), "req-1")

			_, err = dial(t, server.Addr()).GetItem(ctx, &item.GetItemReq{Id: 7})
			wantFaults(t, err, want, want)
			_, plainErr := plain.GetItem(ctx, &item.GetItemReq{Id: 7})
			for _, err := range []error{err, plainErr} {
				if err == nil || strings.Contains(err.Error(), "secrets") {
					t.Errorf("error = %v, want one without the cause", err)
				}
			}
			lines := server.log.lines(t)
			if len(lines) != 2 {
				t.Fatalf("log = %v, want a line for each call", lines)
			}
			for key, value := range map[string]any{"level": "ERROR", "msg": "call failed", "method": "GetItem", "request_id": "req-1"} {
				if lines[0][key] != value {
					t.Errorf("%s = %v, want %v", key, lines[0][key], value)
				}
			}
			if text, _ := lines[0]["error"].(string); !strings.Contains(text, "no such table: secrets") {
				t.Errorf("error = %q, want the cause", text)
			}
		})
	}
}

func TestWhatIsTheCallersFaultIsNotLogged(t *testing.T) {
	t.Parallel()
	server := serve(t, items{get: failing(fault.New(fault.NotFound, "item 7 does not exist"))})
	if _, err := dial(t, server.Addr()).GetItem(t.Context(), &item.GetItemReq{Id: 7}); err == nil {
		t.Error("there is no error")
	}
	if lines := server.log.lines(t); len(lines) != 0 {
		t.Errorf("log = %v, want nothing", lines)
	}
}

func TestAClientThatReadsNoBusinessStatusGetsAnErrorToo(t *testing.T) {
	t.Parallel()
	server := serve(t, items{get: failing(fault.New(fault.NotFound, "item 7 does not exist"))})
	plain, err := itemservice.NewClient("x", client.WithHostPorts(server.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := plain.GetItem(t.Context(), &item.GetItemReq{Id: 7})
	if err == nil || !strings.Contains(err.Error(), "not_found: item 7 does not exist") {
		t.Errorf("GetItem = %v, %v; want not_found and its message", resp, err)
	}
}

func TestAServiceThatCannotBeReachedIsUnavailable(t *testing.T) {
	t.Parallel()
	const deaf = "127.0.0.1:1" // tcpmux, which nobody serves and no other test is given
	want := fault.Error{Code: fault.Unavailable, Message: "the item service cannot be reached"}
	for name, items := range map[string]itemservice.Client{
		"nobody listens":                dialIn(t, static(t, "item="+deaf)),
		"nobody is registered":          dialIn(t, memory(t)),
		"the registry has another name": dialIn(t, static(t, "stock="+deaf)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := items.GetItem(t.Context(), &item.GetItemReq{Id: 7})
			wantFaults(t, err, want, want)
			if got := transport.ReadFault("item", err); !errors.Is(got, err) {
				t.Errorf("ReadFault = %v, which does not wrap %v for the log", got, err)
			}
		})
	}
}

func TestACallWithoutAnAnswerIsUnavailableToReadersAndUnknownToWriters(t *testing.T) {
	t.Parallel()
	const message = "the item service did not answer in time"
	read, write := fault.Error{Code: fault.Unavailable, Message: message}, fault.Error{Code: fault.OutcomeUnknown, Message: message}

	t.Run("the handler is slow", func(t *testing.T) {
		t.Parallel()
		released := make(chan struct{})
		server := serve(t, items{get: func(ctx context.Context, id int64) (*item.GetItemResp, error) {
			<-released
			return titled("late")(ctx, id)
		}})
		_, err := dial(t, server.Addr()).GetItem(t.Context(), &item.GetItemReq{Id: 7}, callopt.WithRPCTimeout(100*time.Millisecond))
		wantFaults(t, err, read, write)
		close(released)
	})
	t.Run("the caller gives up", func(t *testing.T) {
		t.Parallel()
		began, released := make(chan struct{}), make(chan struct{})
		server := serve(t, items{get: func(ctx context.Context, id int64) (*item.GetItemResp, error) {
			close(began)
			<-released
			return titled("late")(ctx, id)
		}})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-began
			cancel()
		}()
		_, err := dial(t, server.Addr()).GetItem(ctx, &item.GetItemReq{Id: 7})
		wantFaults(t, err, read, write)
		close(released)
	})
	t.Run("the connection breaks", func(t *testing.T) {
		t.Parallel()
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ln.Close() })
		go func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				_, _ = conn.Read(make([]byte, 1)) // the request arrives
				_ = conn.Close()
			}
		}()
		_, err = dial(t, ln.Addr()).GetItem(t.Context(), &item.GetItemReq{Id: 7})
		wantFaults(t, err, read, write)
	})
}
