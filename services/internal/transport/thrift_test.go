package transport_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
	"github.com/cloudwego/kitex/client"
	"github.com/cloudwego/kitex/client/callopt"
	"github.com/cloudwego/kitex/pkg/remote"
	"github.com/cloudwego/kitex/pkg/rpcinfo"
	"github.com/cloudwego/kitex/pkg/transmeta"
	kitextransport "github.com/cloudwego/kitex/transport"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity/activityservice"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock/stockservice"
	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

// trends answers the activity service's calls.
type trends struct {
	activity.ActivityService
	get    func(ctx context.Context, limit int32) (*activity.GetTrendingResp, error)
	viewed chan []*activity.Record
}

func (s *trends) GetTrending(ctx context.Context, req *activity.GetTrendingReq) (*activity.GetTrendingResp, error) {
	return s.get(ctx, req.GetLimit())
}

func (s *trends) RecordView(_ context.Context, req *activity.RecordReq) error {
	s.viewed <- req.GetRecords()
	return nil
}

// trending gives limit as the id of one item.
func trending(_ context.Context, limit int32) (*activity.GetTrendingResp, error) {
	return &activity.GetTrendingResp{Trends: []*activity.Trend{{ItemId: int64(limit)}}}, nil
}

func serveThrift(t testing.TB, handler *trends) *running {
	t.Helper()
	return serveAny(t, func(s *transport.Server) error { return activityservice.RegisterService(s, handler) }, nil)
}

// dialKitexThrift makes a Kitex client that speaks Thrift over protocol.
func dialKitexThrift(t testing.TB, server *running, protocol kitextransport.Protocol) activityservice.Client {
	t.Helper()
	trends, err := activityservice.NewClient("activity", client.WithHostPorts(server.Addr().String()), client.WithTransportProtocol(protocol),
		client.WithMetaHandler(transmeta.ClientTTHeaderHandler), client.WithClientBasicInfo(&rpcinfo.EndpointBasicInfo{ServiceName: "tests"}))
	if err != nil {
		t.Fatal(err)
	}
	return trends
}

// dialThrift makes a client with Apache's library, which is as foreign as Thrift's can be.
func dialThrift(t testing.TB, server *running, framed bool) *thrift.TStandardClient {
	t.Helper()
	cfg := &thrift.TConfiguration{ConnectTimeout: 5 * time.Second, SocketTimeout: 20 * time.Second}
	var wire thrift.TTransport = thrift.NewTSocketConf(server.Addr().String(), cfg)
	if framed {
		wire = thrift.NewTFramedTransportConf(wire, cfg)
	} else {
		wire = thrift.NewTBufferedTransport(wire, 4096)
	}
	if err := wire.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = wire.Close() })
	protocol := thrift.NewTBinaryProtocolConf(wire, cfg)
	return thrift.NewTStandardClient(protocol, protocol)
}

// thriftArgs writes {1: {1: limit}} or, for a record, {1: {1: [{1: item, 2: quantity}]}}.
type thriftArgs struct{ limit, item, quantity int64 }

func (a thriftArgs) Read(context.Context, thrift.TProtocol) error { return errors.ErrUnsupported }

func (a thriftArgs) Write(ctx context.Context, to thrift.TProtocol) error {
	steps := []error{to.WriteFieldBegin(ctx, "req", thrift.STRUCT, 1)}
	if a.item == 0 {
		steps = append(steps, to.WriteFieldBegin(ctx, "limit", thrift.I32, 1), to.WriteI32(ctx, int32(a.limit)))
	} else {
		steps = append(steps, to.WriteFieldBegin(ctx, "records", thrift.LIST, 1), to.WriteListBegin(ctx, thrift.STRUCT, 1),
			to.WriteFieldBegin(ctx, "item_id", thrift.I64, 1), to.WriteI64(ctx, a.item),
			to.WriteFieldBegin(ctx, "quantity", thrift.I64, 2), to.WriteI64(ctx, a.quantity), to.WriteFieldStop(ctx))
	}
	return errors.Join(append(steps, to.WriteFieldStop(ctx), to.WriteFieldStop(ctx))...)
}

// thriftText keeps an answer's structure as text, as "{0:{1:[{1:7 …}]}}".
type thriftText struct{ text string }

func (r *thriftText) Write(context.Context, thrift.TProtocol) error { return errors.ErrUnsupported }

func (r *thriftText) Read(ctx context.Context, from thrift.TProtocol) (err error) {
	r.text, err = readThrift(ctx, from, thrift.STRUCT)
	return err
}

func readThrift(ctx context.Context, from thrift.TProtocol, of thrift.TType) (string, error) {
	switch of {
	case thrift.I64:
		value, err := from.ReadI64(ctx)
		return fmt.Sprint(value), err
	case thrift.DOUBLE:
		value, err := from.ReadDouble(ctx)
		return fmt.Sprint(value), err
	case thrift.LIST:
		element, size, err := from.ReadListBegin(ctx)
		var all []string
		for range size {
			if err != nil {
				break
			}
			var one string
			one, err = readThrift(ctx, from, element)
			all = append(all, one)
		}
		return "[" + strings.Join(all, " ") + "]", err
	case thrift.STRUCT:
		var all []string
		for {
			_, field, id, err := from.ReadFieldBegin(ctx)
			if err != nil || field == thrift.STOP {
				return "{" + strings.Join(all, " ") + "}", err
			}
			one, err := readThrift(ctx, from, field)
			if err != nil {
				return "", err
			}
			all = append(all, fmt.Sprintf("%d:%s", id, one))
		}
	default:
		return "", fmt.Errorf("unexpected type %s", of)
	}
}

func TestAForeignThriftClientCallsFramedAndBuffered(t *testing.T) {
	t.Parallel()
	server := serveThrift(t, &trends{get: trending, viewed: make(chan []*activity.Record, 1)})
	for _, framed := range []bool{true, false} {
		foreign := dialThrift(t, server, framed)
		for round := range int64(3) { // on one connection
			var got thriftText
			if _, err := foreign.Call(t.Context(), "GetTrending", thriftArgs{limit: 7 + round}, &got); err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("{0:{1:[{1:%d 2:0 3:0 4:0 5:0}]}}", 7+round); got.text != want {
				t.Errorf("framed %t: answer = %s, want %s", framed, got.text, want)
			}
		}
	}
}

func TestOnewayCallsArrive(t *testing.T) {
	t.Parallel()
	handler := &trends{get: trending, viewed: make(chan []*activity.Record, 1)}
	server := serveThrift(t, handler)
	arrived := func(name string) {
		t.Helper()
		if got := <-handler.viewed; len(got) != 1 || got[0].GetItemId() != 7 || got[0].GetQuantity() != 3 {
			t.Errorf("%s: recorded %v", name, got)
		}
	}
	for _, framed := range []bool{true, false} {
		foreign := dialThrift(t, server, framed)
		if _, err := foreign.Call(t.Context(), "RecordView", thriftArgs{item: 7, quantity: 3}, nil); err != nil {
			t.Fatal(err)
		}
		arrived(fmt.Sprintf("Apache, framed %t", framed))
		var after thriftText // on the same connection
		if _, err := foreign.Call(t.Context(), "GetTrending", thriftArgs{limit: 7}, &after); err != nil {
			t.Errorf("a call after it: %v", err)
		}
	}
	for name, protocol := range thriftProtocols() {
		err := dialKitexThrift(t, server, protocol).RecordView(t.Context(), &activity.RecordReq{Records: []*activity.Record{{ItemId: 7, Quantity: 3}}})
		if err != nil {
			t.Fatal(err)
		}
		arrived(name)
	}
}

func thriftProtocols() map[string]kitextransport.Protocol {
	return map[string]kitextransport.Protocol{
		"TTHeader": kitextransport.TTHeader, "TTHeaderFramed": kitextransport.TTHeaderFramed,
		"framed": kitextransport.Framed, "buffered": kitextransport.PurePayload,
	}
}

func TestThriftOverEachProtocolOfKitex(t *testing.T) {
	t.Parallel()
	server := serveThrift(t, &trends{get: func(ctx context.Context, limit int32) (*activity.GetTrendingResp, error) {
		if id := telemetry.RequestID(ctx); limit == 0 {
			return nil, fault.New(fault.NotFound, "request %q finds nothing", id).With("state", "HELD")
		}
		return trending(ctx, limit)
	}})
	for name, protocol := range thriftProtocols() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			trends := dialKitexThrift(t, server, protocol)
			resp, err := trends.GetTrending(t.Context(), &activity.GetTrendingReq{Limit: 7})
			if err != nil || len(resp.GetTrends()) != 1 || resp.GetTrends()[0].GetItemId() != 7 {
				t.Errorf("answer = %v, %v", resp, err)
			}
			_, err = trends.GetTrending(telemetry.WithRequestID(t.Context(), "req-1"), &activity.GetTrendingReq{})
			if protocol&kitextransport.TTHeader != 0 {
				want := fault.Error{Code: fault.NotFound, Message: `request "req-1" finds nothing`}
				wantFaults(t, err, want, want)
			} else if want := `not_found: request "" finds nothing`; err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error = %v, want one with %s", err, want)
			}
		})
	}
}

func TestAForeignThriftClientGetsExceptions(t *testing.T) {
	t.Parallel()
	server := serveThrift(t, &trends{get: func(_ context.Context, limit int32) (*activity.GetTrendingResp, error) {
		if limit == 0 {
			return nil, fault.New(fault.NotFound, "nothing is found")
		}
		return nil, errors.New("no such table: secrets")
	}})
	for _, framed := range []bool{true, false} {
		for _, c := range []struct {
			method string
			limit  int64
			want   string
			kind   int32
		}{
			{"GetTrending", 0, "not_found: nothing is found", thrift.INTERNAL_ERROR},
			{"GetTrending", 1, "internal: an internal error", thrift.INTERNAL_ERROR},
			{"NoMethod", 1, "unknown service , method NoMethod", remote.UnknownService}, // a call without TTHeader names no service
		} {
			_, err := dialThrift(t, server, framed).Call(t.Context(), c.method, thriftArgs{limit: c.limit}, &thriftText{})
			var exception thrift.TApplicationException
			if !errors.As(err, &exception) || exception.TypeId() != c.kind || !strings.Contains(exception.Error(), c.want) || strings.Contains(exception.Error(), "secrets") {
				t.Errorf("framed %t, %s(%d): %v, want an exception %d with %s", framed, c.method, c.limit, err, c.kind, c.want)
			}
		}
	}
}

func TestTheDeadlineTravelsWithThriftOverTTHeader(t *testing.T) {
	t.Parallel()
	server := serveThrift(t, &trends{get: func(ctx context.Context, _ int32) (*activity.GetTrendingResp, error) {
		deadline, ok := ctx.Deadline()
		if left := time.Until(deadline); !ok || left > time.Minute {
			return nil, fault.New(fault.Conflict, "%s are left", left)
		}
		return trending(ctx, 7)
	}})
	for name, protocol := range thriftProtocols() {
		if protocol&kitextransport.TTHeader == 0 {
			continue
		}
		if _, err := dialKitexThrift(t, server, protocol).GetTrending(t.Context(), &activity.GetTrendingReq{}, callopt.WithRPCTimeout(time.Minute)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatIsNotServedIsAnExceptionOverTTHeader(t *testing.T) {
	t.Parallel()
	server := serve(t, items{get: titled("kite")})
	for name, protocol := range thriftProtocols() {
		_, err := dialKitexThrift(t, server, protocol).GetTrending(t.Context(), &activity.GetTrendingReq{})
		if err == nil || !strings.Contains(err.Error(), "unknown service") || !strings.Contains(err.Error(), "method GetTrending") {
			t.Errorf("%s: %v, want one that names the method", name, err)
		}
	}
	stocks, err := stockservice.NewClient("item", options(t, static(t, "item="+server.Addr().String()))...)
	if err != nil {
		t.Fatal(err)
	}
	_, err = stocks.GetItemStock(t.Context(), &stock.GetItemStockReq{})
	if err == nil || !strings.Contains(err.Error(), "unknown service StockService") {
		t.Errorf("Protobuf: %v, want one that names the service", err)
	}
}
