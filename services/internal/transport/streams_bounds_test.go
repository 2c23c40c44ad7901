package transport_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock"
	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

func TestTheServersStopEndsAServerStreamAsUnavailable(t *testing.T) {
	t.Parallel()
	for name, watch := range map[string]func(context.Context, *stock.WatchStockReq, stock.StockService_WatchStockServer) error{
		"the handler returns its context's error": watchUntilTheEnd,
		"the handler returns nothing": func(ctx context.Context, req *stock.WatchStockReq, to stock.StockService_WatchStockServer) error {
			_ = watchUntilTheEnd(ctx, req, to)
			return nil
		},
		"the handler returns what it made of the error": func(ctx context.Context, req *stock.WatchStockReq, to stock.StockService_WatchStockServer) error {
			return fault.New(fault.Internal, "the store failed").Because(watchUntilTheEnd(ctx, req, to))
		},
		"the handler sends without a pause": func(ctx context.Context, _ *stock.WatchStockReq, to stock.StockService_WatchStockServer) error {
			for {
				if err := to.Send(ctx, &stock.WatchStockResp{}); err != nil {
					return err
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := serveStock(t, stocks{watch: watch})
			foreign := dialGRPC(t, server.Addr()).watch(t.Context(), `{}`)
			ours, err := dialStock(t, server.Addr()).WatchStock(t.Context(), &stock.WatchStockReq{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := foreign.number("cursor"); err != nil {
				t.Fatal(err)
			}
			if _, err := ours.Recv(t.Context()); err != nil {
				t.Fatal(err)
			}
			ends := make(chan error, 2)
			go func() { _, err := foreign.numbers("cursor"); ends <- err }()
			go func() {
				var err error
				for err == nil {
					_, err = ours.Recv(t.Context())
				}
				ends <- transport.ReadFault("stock", err)
			}()
			start := time.Now()
			if err := server.stop(); err != nil {
				t.Error(err)
			}
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("stopping took %s", took)
			}
			for range 2 {
				err := <-ends
				end, isStatus := status.FromError(err)
				if f := fault.From(err); (!isStatus || end.Code() != codes.Unavailable || end.Message() != "the server is stopping") &&
					(f.Code != fault.Unavailable || f.Message != "the server is stopping") {
					t.Errorf("a client got %v", err)
				}
			}
			if lines := server.log.lines(t); len(lines) != 0 {
				t.Errorf("log = %v, want nothing", lines)
			}
		})
	}
}

func TestTheServersStopLetsABidirectionalStreamAcknowledgeTheMessageUnderWay(t *testing.T) {
	t.Parallel()
	began, goOn := make(chan struct{}), make(chan struct{})
	whole := make(chan error, 1)
	server := serveStock(t, stocks{sync: func(ctx context.Context, with stock.StockService_SyncStockServer) error {
		req, err := with.Recv(ctx)
		if err != nil {
			return err
		}
		close(began)
		<-goOn
		whole <- ctx.Err()
		if err := with.Send(ctx, &stock.SyncStockResp{Batch: req.GetBatch()}); err != nil {
			return err
		}
		return echo(ctx, with)
	}})
	stream, err := dialStock(t, server.Addr()).SyncStock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for batch := range int64(2) {
		if err := stream.Send(t.Context(), &stock.SyncStockReq{Batch: batch + 1}); err != nil {
			t.Fatal(err)
		}
	}
	<-began
	stopped := make(chan error, 1)
	go func() { stopped <- server.stop() }()
	refused(t, server.Addr())
	close(goOn)
	if err := <-whole; err != nil {
		t.Errorf("the context of what was under way: %v", err)
	}
	if got, err := stream.Recv(t.Context()); err != nil || got.GetBatch() != 1 {
		t.Errorf("the message under way was answered with %v, %v", got, err)
	}
	got, err := stream.Recv(t.Context())
	if err == nil && got.GetBatch() == 2 { // it came before the streams were told
		got, err = stream.Recv(t.Context())
	}
	if f := fault.From(transport.WriteFault("stock", err)); err == nil || f.Code != fault.Unavailable || f.Message != "the server is stopping" {
		t.Errorf("then came %v, %v", got, err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Stop: %v", err)
	}
}

func TestTheServersStopEndsABidirectionalStreamThatWaits(t *testing.T) {
	t.Parallel()
	server := serveStock(t, stocks{sync: echo})
	stream := dialGRPC(t, server.Addr()).open(t.Context(), syncStock)
	stream.send(`{"batch":1}`)
	if _, err := stream.number("batch"); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := server.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("stopping took %s", took)
	}
	if _, err := stream.number("batch"); status.Code(err) != codes.Unavailable || status.Convert(err).Message() != "the server is stopping" {
		t.Errorf("the client got %v", err)
	}
}

func TestAStreamThatNobodyReadsEnds(t *testing.T) {
	t.Parallel()
	const count = 100
	ended := make(chan error, count)
	server := serveStockWithin(t, stocks{watch: func(ctx context.Context, req *stock.WatchStockReq, to stock.StockService_WatchStockServer) error {
		if req.GetCursor() > 0 {
			return countUp(ctx, req, to)
		}
		for {
			if err := to.Send(ctx, &stock.WatchStockResp{Stock: &stock.Stock{DefaultLocation: strings.Repeat("x", 1000)}}); err != nil {
				ended <- err
				return err
			}
		}
	}}, count+1, time.Minute, time.Second)
	conn := connect(t, server)
	if _, err := conn.Write(http2Bytes(func(f *http2.Framer) {
		for i := range uint32(count) {
			callPath(f, 2*i+1, watchStock)
			_ = f.WriteData(2*i+1, true, emptyRequest)
		}
	})); err != nil {
		t.Fatal(err)
	}
	if got, err := dialGRPC(t, server.Addr()).watch(t.Context(), `{"cursor":10}`).numbers("cursor"); !errors.Is(err, io.EOF) || len(got) != 10 {
		t.Errorf("a client that reads got %v, %v", got, err)
	}
	for range count {
		if err := <-ended; status.Code(err) != codes.DeadlineExceeded || status.Convert(err).Message() != "a message was not taken within 1s" {
			t.Errorf("Send = %v", err)
		}
	}
	await(t, func() bool {
		return metricSum(t, server, `rpc_server_streams_ended_total\{.*rpc_response_status_code="deadline_exceeded".*\}`) == count
	})
	if lines := server.log.lines(t); len(lines) != 0 {
		t.Errorf("log = %v, want nothing", lines)
	}
}

func TestAStreamThatNobodyReadsHoldsUpTheStopNoLongerThanItsGrace(t *testing.T) {
	t.Parallel()
	began, ended := make(chan struct{}), make(chan error, 1)
	server := serveStock(t, stocks{watch: func(ctx context.Context, _ *stock.WatchStockReq, to stock.StockService_WatchStockServer) error {
		close(began)
		for {
			if err := to.Send(ctx, &stock.WatchStockResp{Stock: &stock.Stock{DefaultLocation: strings.Repeat("x", 1000)}}); err != nil {
				ended <- err
				return err
			}
		}
	}})
	conn := connect(t, server)
	if _, err := conn.Write(http2Bytes(func(f *http2.Framer) {
		callPath(f, 1, watchStock)
		_ = f.WriteData(1, true, emptyRequest)
	})); err != nil {
		t.Fatal(err)
	}
	<-began
	start := time.Now()
	if err := server.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("stopping took %s, and the grace is 5 s", took)
	}
	if err := <-ended; fault.CodeOf(err) != fault.Unavailable {
		t.Errorf("Send = %v", err)
	}
}

func TestABidirectionalStreamOnWhichNothingComesEnds(t *testing.T) {
	t.Parallel()
	server := serveStockWithin(t, stocks{sync: echo, watch: watchUntilTheEnd}, 10, 100*time.Millisecond, time.Minute)
	f := dialGRPC(t, server.Addr())
	watch := f.watch(t.Context(), `{}`)
	if _, err := watch.number("cursor"); err != nil {
		t.Fatal(err)
	}
	silent := f.open(t.Context(), syncStock)
	silent.send(`{"batch":7}`)
	if got, err := silent.number("batch"); err != nil || got != 7 {
		t.Errorf("it was answered with %d, %v", got, err)
	}
	if _, err := silent.number("batch"); status.Code(err) != codes.DeadlineExceeded || status.Convert(err).Message() != "no message came within 100ms" {
		t.Errorf("it ended with %v", err)
	}
	nothing := f.open(t.Context(), syncStock)
	if _, err := nothing.number("batch"); status.Code(err) != codes.DeadlineExceeded || status.Convert(err).Message() != "no message came within 5s" {
		t.Errorf("without a first message it ended with %v", err)
	}
	if open := metricSum(t, server, `rpc_server_streams_open\{.*rpc_method="StockService/WatchStock".*\}`); open != 1 {
		t.Errorf("%v server streams are open, want the one to which nothing was sent", open)
	}
}

func TestTheStreamsOfOneConnectionAreBounded(t *testing.T) {
	t.Parallel()
	const more = 72
	server := serveStock(t, stocks{watch: watchUntilTheEnd})
	conn := connect(t, server)
	if _, err := conn.Write(http2Bytes(func(f *http2.Framer) {
		for i := range uint32(streams + more) {
			callPath(f, 2*i+1, watchStock)
			_ = f.WriteData(2*i+1, true, emptyRequest)
		}
	})); err != nil {
		t.Fatal(err)
	}
	for _, end := range readTrailers(t, conn, more) {
		if end != "refused" {
			t.Errorf("a stream beyond the bound ended with %s", end)
		}
	}
	await(t, func() bool { return metricSum(t, server, `rpc_server_streams_open\{.*\}`) == streams })
}

func TestTheStreamsOfAllConnectionsTogetherAreBounded(t *testing.T) {
	t.Parallel()
	const bound = 3
	server := serveStockWithin(t, stocks{watch: watchUntilTheEnd}, bound, time.Minute, time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range bound {
		if _, err := dialGRPC(t, server.Addr()).watch(ctx, `{}`).number("cursor"); err != nil {
			t.Fatal(err)
		}
	}
	f := dialGRPC(t, server.Addr())
	if _, err := f.watch(t.Context(), `{}`).number("cursor"); status.Code(err) != codes.ResourceExhausted ||
		status.Convert(err).Message() != "3 streams are open, and there may be no more" {
		t.Errorf("one more: %v", err)
	}
	stream, err := dialStock(t, server.Addr()).WatchStock(t.Context(), &stock.WatchStockReq{})
	if err == nil {
		_, err = stream.Recv(t.Context())
	}
	if got := fault.CodeOf(transport.ReadFault("stock", err)); got != fault.Overloaded {
		t.Errorf("to our client it is %s: %v", got, err)
	}
	cancel()
	await(t, func() bool {
		_, err := f.watch(t.Context(), `{}`).number("cursor")
		return err == nil
	})
}

func TestMessagesThatCannotBeReadEndTheirStream(t *testing.T) {
	t.Parallel()
	server := serveStock(t, stocks{watch: watchUntilTheEnd, sync: echo})
	for name, c := range map[string]struct {
		sent string
		last bool
		want string
	}{
		"malformed":         {"\x00\x00\x00\x00\x01\x08", true, "3"},      // InvalidArgument
		"of an alien type":  {"\x00\x00\x00\x00\x02\x0a\x7f", true, "3"},  // InvalidArgument
		"of 2 GB":           {"\x00\x7f\xff\xff\xff", false, "8"},         // ResourceExhausted
		"compressed":        {"\x01\x00\x00\x00\x02\x08\x07", true, "13"}, // Internal: it names no compression
		"cut":               {"\x00\x00\x00\x00\x02\x08", true, "13"},     // Internal
		"with half a frame": {"\x00\x00", true, "13"},                     // Internal
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, path := range []string{watchStock, syncStock} {
				conn := connect(t, server)
				if _, err := conn.Write(http2Bytes(func(f *http2.Framer) {
					callPath(f, 1, path)
					_ = f.WriteData(1, c.last, []byte(c.sent))
				})); err != nil {
					t.Fatal(err)
				}
				if got := readTrailers(t, conn, 1)[0]; got != c.want {
					t.Errorf("%s: grpc-status = %s, want %s", path, got, c.want)
				}
			}
		})
	}
	t.Run("not sent at all", func(t *testing.T) {
		t.Parallel()
		stream := dialGRPC(t, server.Addr()).open(t.Context(), watchStock)
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.number("cursor"); status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != "the request is missing" {
			t.Errorf("it ended with %v", err)
		}
	})
	t.Cleanup(func() {
		if lines := server.log.lines(t); len(lines) != 0 {
			t.Errorf("log = %v, want nothing", lines)
		}
	})
}

// Not parallel: what it sends must arrive within the server's 5 s.
func TestMessagesOfStreamsAreBounded(t *testing.T) {
	const below = transport.MaxMessageBytes - 1<<10
	server := serveStock(t, stocks{
		sync: echo,
		watch: func(ctx context.Context, req *stock.WatchStockReq, to stock.StockService_WatchStockServer) error {
			return to.Send(ctx, &stock.WatchStockResp{Stock: &stock.Stock{DefaultLocation: strings.Repeat("x", int(req.GetCursor()))}})
		},
	})
	f := dialGRPC(t, server.Addr())
	for size, want := range map[int]codes.Code{below: codes.OK, transport.MaxMessageBytes: codes.ResourceExhausted} {
		if _, err := f.watch(t.Context(), fmt.Sprintf(`{"cursor":%d}`, size)).number("cursor"); status.Code(err) != want {
			t.Errorf("an answer of %d bytes: %v, want %s", size, err, want)
		}
		stream := f.open(t.Context(), syncStock)
		stream.send(`{}`) // what comes first must come within 5 s
		if _, err := stream.number("batch"); err != nil {
			t.Fatal(err)
		}
		stream.send(fmt.Sprintf(`{"actor":%q}`, strings.Repeat("x", size)))
		if _, err := stream.number("batch"); status.Code(err) != want {
			t.Errorf("a request of %d bytes: %v, want %s", size, err, want)
		}
	}
}

func TestStreamsAreCountedAndTheirLifetimesAreNotTakenForCalls(t *testing.T) {
	t.Parallel()
	server := serveStock(t, stocks{watch: countUp, sync: echo})
	f := dialGRPC(t, server.Addr())
	if _, err := f.watch(t.Context(), `{"cursor":1}`).numbers("cursor"); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	open := f.open(t.Context(), syncStock)
	open.send(`{}`)
	if _, err := open.number("batch"); err != nil {
		t.Fatal(err)
	}
	for pattern, want := range map[string]float64{
		`rpc_server_streams_ended_total\{.*rpc_method="StockService/WatchStock".*rpc_response_status_code="ok".*\}`: 1,
		`rpc_server_streams_ended_total\{.*rpc_method="StockService/SyncStock".*\}`:                                 0,
		`rpc_server_streams_open\{.*rpc_method="StockService/WatchStock".*\}`:                                       0,
		`rpc_server_streams_open\{.*rpc_method="StockService/SyncStock".*\}`:                                        1,
		`rpc_server_call_duration_seconds_count\{.*\}`:                                                              0,
	} {
		if got := metricSum(t, server, pattern); got != want {
			t.Errorf("%s = %v, want %v", pattern, got, want)
		}
	}
}
