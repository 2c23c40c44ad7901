package transport_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudwego/kitex/pkg/rpcinfo"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock/stockservice"
	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

// stocks answers three calls of the stock service; the others panic.
type stocks struct {
	stock.StockService
	get   func(ctx context.Context, id int64) (*stock.GetItemStockResp, error)
	watch func(ctx context.Context, req *stock.WatchStockReq, to stock.StockService_WatchStockServer) error
	sync  func(ctx context.Context, with stock.StockService_SyncStockServer) error
}

func (s *stocks) GetItemStock(ctx context.Context, req *stock.GetItemStockReq) (*stock.GetItemStockResp, error) {
	return s.get(ctx, req.GetItemId())
}

func (s *stocks) WatchStock(ctx context.Context, req *stock.WatchStockReq, to stock.StockService_WatchStockServer) error {
	return s.watch(ctx, req, to)
}

func (s *stocks) SyncStock(ctx context.Context, with stock.StockService_SyncStockServer) error {
	return s.sync(ctx, with)
}

// countUp sends the cursors up to that of the request.
func countUp(ctx context.Context, req *stock.WatchStockReq, to stock.StockService_WatchStockServer) error {
	for cursor := range req.GetCursor() {
		if err := to.Send(ctx, &stock.WatchStockResp{Cursor: cursor + 1}); err != nil {
			return err
		}
	}
	return nil
}

// watchUntilTheEnd sends one state and waits.
func watchUntilTheEnd(ctx context.Context, req *stock.WatchStockReq, to stock.StockService_WatchStockServer) error {
	if err := to.Send(ctx, &stock.WatchStockResp{Cursor: req.GetCursor() + 1}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// echo acknowledges each batch.
func echo(ctx context.Context, with stock.StockService_SyncStockServer) error {
	for {
		req, err := with.Recv(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := with.Send(ctx, &stock.SyncStockResp{Batch: req.GetBatch()}); err != nil {
			return err
		}
	}
}

func serveStock(t testing.TB, handler stocks) *running {
	t.Helper()
	return serveAny(t, handler.register, nil)
}

// serveStockWithin starts a server with other bounds of streams.
func serveStockWithin(t testing.TB, handler stocks, open int64, silence, unread time.Duration) *running {
	t.Helper()
	return serveMade(t, telemetry.Config{}, func(tel *telemetry.Telemetry) (*transport.Server, error) {
		return transport.NewServerWith("127.0.0.1:0", tel, open, silence, unread)
	}, handler.register, nil)
}

func (s *stocks) register(on *transport.Server) error { return stockservice.RegisterService(on, s) }

// dialStock makes a client as our services have it.
func dialStock(t testing.TB, address fmt.Stringer) stockservice.Client {
	t.Helper()
	client, err := stockservice.NewClient("stock", options(t, static(t, "stock="+address.String()))...)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

const (
	watchStock = "stock.StockService/WatchStock"
	syncStock  = "stock.StockService/SyncStock"
)

// foreignStream is a stream of a grpc-go client, with messages in JSON.
type foreignStream struct {
	grpc.ClientStream
	t      testing.TB
	method protoreflect.MethodDescriptor
}

func (f foreign) open(ctx context.Context, path string) foreignStream {
	f.t.Helper()
	method := f.method(path)
	stream, err := f.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/"+path)
	if err != nil {
		f.t.Fatal(err)
	}
	return foreignStream{stream, f.t, method}
}

// watch opens a stream of one request.
func (f foreign) watch(ctx context.Context, request string) foreignStream {
	f.t.Helper()
	stream := f.open(ctx, watchStock)
	stream.send(request)
	if err := stream.CloseSend(); err != nil {
		f.t.Fatal(err)
	}
	return stream
}

func (s foreignStream) send(message string) {
	s.t.Helper()
	out := dynamicpb.NewMessage(s.method.Input())
	if err := protojson.Unmarshal([]byte(message), out); err != nil {
		s.t.Fatal(err)
	}
	if err := s.SendMsg(out); err != nil && !errors.Is(err, io.EOF) { // then the server has ended the stream, and number says how
		s.t.Fatal(err)
	}
}

// number receives a message and gives one of its fields.
func (s foreignStream) number(field protoreflect.Name) (int64, error) {
	in := dynamicpb.NewMessage(s.method.Output())
	if err := s.RecvMsg(in); err != nil {
		return 0, err
	}
	return in.Get(s.method.Output().Fields().ByName(field)).Int(), nil
}

// numbers receives until the stream ends.
func (s foreignStream) numbers(field protoreflect.Name) (got []int64, err error) {
	for {
		number, err := s.number(field)
		if err != nil {
			return got, err
		}
		got = append(got, number)
	}
}

func upTo(n int64) (all []int64) {
	for i := range n {
		all = append(all, i+1)
	}
	return all
}

func TestAServerStreamArrivesInOrderAndEnds(t *testing.T) {
	t.Parallel()
	server := serveStock(t, stocks{watch: countUp})
	got, err := dialGRPC(t, server.Addr()).watch(t.Context(), `{"cursor":1000}`).numbers("cursor")
	if !errors.Is(err, io.EOF) || !slices.Equal(got, upTo(1000)) {
		t.Errorf("a foreign client got %v, %v", got, err)
	}
	stream, err := dialStock(t, server.Addr()).WatchStock(t.Context(), &stock.WatchStockReq{Cursor: 1000})
	if err != nil {
		t.Fatal(err)
	}
	got = nil
	for {
		state, err := stream.Recv(t.Context())
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			break
		}
		got = append(got, state.GetCursor())
	}
	if !slices.Equal(got, upTo(1000)) {
		t.Errorf("our client got %v", got)
	}
}

func TestABidirectionalStreamIsAnsweredMessageByMessageUntilTheClientHasSentAll(t *testing.T) {
	t.Parallel()
	server := serveStock(t, stocks{sync: echo})
	foreign := dialGRPC(t, server.Addr()).open(t.Context(), syncStock)
	ours, err := dialStock(t, server.Addr()).SyncStock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for batch := range int64(100) {
		foreign.send(fmt.Sprintf(`{"batch":%d}`, batch))
		if got, err := foreign.number("batch"); err != nil || got != batch {
			t.Fatalf("a foreign client got %d, %v; want %d", got, err, batch)
		}
		if err := ours.Send(t.Context(), &stock.SyncStockReq{Batch: batch}); err != nil {
			t.Fatal(err)
		}
		if got, err := ours.Recv(t.Context()); err != nil || got.GetBatch() != batch {
			t.Fatalf("our client got %v, %v; want %d", got, err, batch)
		}
	}
	if err := errors.Join(foreign.CloseSend(), ours.CloseSend(t.Context())); err != nil {
		t.Fatal(err)
	}
	if _, err := foreign.number("batch"); !errors.Is(err, io.EOF) {
		t.Errorf("a foreign client's stream ends with %v, want EOF", err)
	}
	if _, err := ours.Recv(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("our client's stream ends with %v, want EOF", err)
	}
}

func TestAStreamThatTheCallerCancelsEndsTheHandlersContext(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(ctx context.Context, server *running) (recv func() error){
		"server stream of a foreign client": func(ctx context.Context, server *running) func() error {
			stream := dialGRPC(t, server.Addr()).watch(ctx, `{}`)
			return func() error { _, err := stream.number("cursor"); return err }
		},
		"server stream of our client": func(ctx context.Context, server *running) func() error {
			stream, err := dialStock(t, server.Addr()).WatchStock(ctx, &stock.WatchStockReq{})
			if err != nil {
				t.Fatal(err)
			}
			return func() error { _, err := stream.Recv(ctx); return err }
		},
		"bidirectional stream of a foreign client": func(ctx context.Context, server *running) func() error {
			stream := dialGRPC(t, server.Addr()).open(ctx, syncStock)
			stream.send(`{}`)
			return func() error { _, err := stream.number("batch"); return err }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ended := make(chan error, 1)
			server := serveStock(t, stocks{
				watch: func(ctx context.Context, req *stock.WatchStockReq, to stock.StockService_WatchStockServer) error {
					err := watchUntilTheEnd(ctx, req, to)
					ended <- context.Cause(ctx)
					return err
				},
				sync: func(ctx context.Context, with stock.StockService_SyncStockServer) error {
					err := echo(ctx, with)
					ended <- context.Cause(ctx)
					return err
				},
			})
			ctx, cancel := context.WithCancel(t.Context())
			recv := open(ctx, server)
			if err := recv(); err != nil {
				t.Fatal(err)
			}
			cancel()
			if err := recv(); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("the caller got %v", err)
			}
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("the handler's context ended with %v", err)
			}
			await(t, func() bool {
				return metricSum(t, server, `rpc_server_streams_ended_total\{.*rpc_response_status_code="canceled".*\}`) == 1
			})
			if lines := server.log.lines(t); len(lines) != 0 {
				t.Errorf("log = %v, want nothing", lines)
			}
		})
	}
}

func TestTheCallersDeadlineEndsItsStream(t *testing.T) {
	t.Parallel()
	server := serveStock(t, stocks{watch: watchUntilTheEnd})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	ours, err := dialStock(t, server.Addr()).WatchStock(ctx, &stock.WatchStockReq{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dialGRPC(t, server.Addr()).watch(ctx, `{}`).numbers("cursor"); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a foreign client got %v, want DeadlineExceeded", err)
	}
	for err == nil {
		_, err = ours.Recv(ctx)
	}
	if fault.CodeOf(transport.ReadFault("stock", err)) != fault.Unavailable {
		t.Errorf("our client got %v", err)
	}
}

func TestTheDeadlineOfAStreamHoldsAlsoWhenTheClientDoesNotEndIt(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	server := serveStock(t, stocks{watch: func(ctx context.Context, req *stock.WatchStockReq, to stock.StockService_WatchStockServer) error {
		err := watchUntilTheEnd(ctx, req, to)
		ended <- err
		return err
	}})
	conn := connect(t, server)
	if _, err := conn.Write(http2Bytes(func(f *http2.Framer) {
		callPath(f, 1, watchStock, [2]string{"grpc-timeout", "300m"})
		_ = f.WriteData(1, true, emptyRequest)
	})); err != nil {
		t.Fatal(err)
	}
	if <-ended == nil {
		t.Error("the handler's context has not ended")
	}
}

func TestFaultsEndStreamsAsTheyEndCalls(t *testing.T) {
	t.Parallel()
	for code, want := range map[fault.Code]codes.Code{
		fault.NotFound: codes.NotFound, fault.InvalidArgument: codes.InvalidArgument, fault.Overloaded: codes.ResourceExhausted,
		fault.Unavailable: codes.Unavailable, fault.OutcomeUnknown: codes.DeadlineExceeded, fault.Internal: codes.Internal,
	} {
		t.Run(string(code), func(t *testing.T) {
			t.Parallel()
			sent := fault.New(code, `item 7 of "Größe", 100%%`).With("lines", []int{1, 2})
			sent.Fields = []fault.Field{{Field: "counts[0]", Reason: "is 0"}}
			server := serveStock(t, stocks{
				watch: func(ctx context.Context, req *stock.WatchStockReq, to stock.StockService_WatchStockServer) error {
					return errors.Join(to.Send(ctx, &stock.WatchStockResp{Cursor: 1}), sent)
				},
				sync: func(ctx context.Context, with stock.StockService_SyncStockServer) error {
					_, err := with.Recv(ctx)
					return errors.Join(err, sent)
				},
			})
			got, err := dialGRPC(t, server.Addr()).watch(t.Context(), `{}`).numbers("cursor")
			if end := status.Convert(err); end.Code() != want || end.Message() != sent.Message || len(end.Details()) != 2 || !slices.Equal(got, upTo(1)) {
				t.Errorf("a foreign client got %v, %v, %v; want %s", got, err, end.Details(), want)
			}
			client := dialStock(t, server.Addr())
			watch, err := client.WatchStock(t.Context(), &stock.WatchStockReq{})
			for err == nil {
				_, err = watch.Recv(t.Context())
			}
			wantFaults(t, err, toReaders(sent), *sent)
			sync, err := client.SyncStock(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := sync.Send(t.Context(), &stock.SyncStockReq{}); err != nil {
				t.Fatal(err)
			}
			_, err = sync.Recv(t.Context())
			wantFaults(t, err, toReaders(sent), *sent)
			if f := fault.From(transport.ReadFault("stock", err)); !reflect.DeepEqual(f.Members, sent.Members) {
				t.Errorf("members = %s, want %s", f.Members, sent.Members)
			}
		})
	}
}

func TestWhatIsOurFaultStaysInTheServersLogOfAStream(t *testing.T) {
	t.Parallel()
	for name, watch := range map[string]func() error{
		"a foreign error": func() error { return errors.New("no such table: secrets") },
		"a gRPC status":   func() error { return status.Error(codes.NotFound, "no such table: secrets") },
		"a panic":         func() error { panic("no such table: secrets") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := serveStock(t, stocks{watch: func(context.Context, *stock.WatchStockReq, stock.StockService_WatchStockServer) error { return watch() }})
			ctx := metadata.AppendToOutgoingContext(t.Context(), "x-request-id", "req-1")
			_, err := dialGRPC(t, server.Addr()).watch(ctx, `{}`).number("cursor")
			if got := status.Convert(err); got.Code() != codes.Internal || got.Message() != "an internal error" || strings.Contains(fmt.Sprint(got.Details()), "secrets") {
				t.Errorf("error = %v, %v", err, got.Details())
			}
			lines := server.log.lines(t)
			if len(lines) != 1 || lines[0]["request_id"] != "req-1" || !strings.Contains(fmt.Sprint(lines[0]["error"]), "secrets") {
				t.Errorf("log = %v, want one line with the cause and the request's id", lines)
			}
			if name == "a panic" && !strings.Contains(fmt.Sprint(lines[0]["stack"]), "streams_test.go") {
				t.Errorf("the log shows no stack: %v", lines)
			}
		})
	}
}

func TestStreamsCarryTheRequestIDAndTheCaller(t *testing.T) {
	t.Parallel()
	server := serveStock(t, stocks{watch: func(ctx context.Context, _ *stock.WatchStockReq, _ stock.StockService_WatchStockServer) error {
		deadline, ok := ctx.Deadline()
		return fault.New(fault.NotFound, "%s by %s, with %t", telemetry.RequestID(ctx), callerOf(ctx), ok && time.Until(deadline) <= time.Minute)
	}})
	ctx, cancel := context.WithTimeout(telemetry.WithRequestID(t.Context(), "req-1"), time.Minute)
	defer cancel()
	stream, err := dialStock(t, server.Addr()).WatchStock(ctx, &stock.WatchStockReq{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv(ctx)
	if got, want := fault.From(transport.ReadFault("stock", err)).Message, "req-1 by tests, with true"; got != want {
		t.Errorf("it was called as %q, want %q", got, want)
	}
}

func callerOf(ctx context.Context) string { return rpcinfo.GetRPCInfo(ctx).From().ServiceName() }

// emptyRequest is a message without fields.
var emptyRequest = make([]byte, 5)
