package transport_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudwego/kitex/client"
	kitexcodes "github.com/cloudwego/kitex/pkg/remote/trans/nphttp2/codes"
	kitexstatus "github.com/cloudwego/kitex/pkg/remote/trans/nphttp2/status"
	"github.com/cloudwego/kitex/pkg/transmeta"
	kitextransport "github.com/cloudwego/kitex/transport"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/item"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item/itemservice"
	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

// foreign is a grpc-go client that knows of the server what the server tells.
type foreign struct {
	t    testing.TB
	conn *grpc.ClientConn
}

func dialGRPC(t testing.TB, address fmt.Stringer) foreign {
	t.Helper()
	conn, err := grpc.NewClient(address.String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(4*transport.MaxMessageBytes)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return foreign{t, conn}
}

// reflect asks server reflection one question.
func (f foreign) reflect(request *reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
	f.t.Helper()
	return f.reflectBy("v1", request)
}

// reflectBy asks a version of server reflection. Their messages are the same.
func (f foreign) reflectBy(version string, request *reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.t.Context())
	defer cancel()
	stream, err := f.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true},
		"/grpc.reflection."+version+".ServerReflection/ServerReflectionInfo")
	if err != nil {
		f.t.Fatal(err)
	}
	if err := stream.SendMsg(request); err != nil {
		f.t.Fatal(err)
	}
	response := &reflectionpb.ServerReflectionResponse{}
	if err := stream.RecvMsg(response); err != nil {
		f.t.Fatal(err)
	}
	return response
}

// method is the descriptor of pkg.Service/Method.
func (f foreign) method(path string) protoreflect.MethodDescriptor {
	f.t.Helper()
	service, method, _ := strings.Cut(path, "/")
	response := f.reflect(&reflectionpb.ServerReflectionRequest{
		MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: service},
	})
	var set descriptorpb.FileDescriptorSet
	for _, encoded := range response.GetFileDescriptorResponse().GetFileDescriptorProto() {
		var file descriptorpb.FileDescriptorProto
		if err := proto.Unmarshal(encoded, &file); err != nil {
			f.t.Fatal(err)
		}
		set.File = append(set.File, &file)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		f.t.Fatal(err)
	}
	found, err := files.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		f.t.Fatal(err)
	}
	return found.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(method))
}

// call sends a request that is given as JSON and gives the answer as JSON.
func (f foreign) call(ctx context.Context, path, request string) (map[string]any, error) {
	f.t.Helper()
	method := f.method(path)
	in, out := dynamicpb.NewMessage(method.Input()), dynamicpb.NewMessage(method.Output())
	if err := protojson.Unmarshal([]byte(request), in); err != nil {
		f.t.Fatal(err)
	}
	if err := f.conn.Invoke(ctx, "/"+path, in, out); err != nil {
		return nil, err
	}
	text, err := protojson.Marshal(out)
	if err != nil {
		f.t.Fatal(err)
	}
	var answer map[string]any
	if err := json.Unmarshal(text, &answer); err != nil {
		f.t.Fatal(err)
	}
	return answer, nil
}

const getItem = "item.ItemService/GetItem"

func TestAForeignGRPCClientCallsWithWhatReflectionTells(t *testing.T) {
	t.Parallel()
	answer, err := dialGRPC(t, serve(t, items{get: titled("Drachen ü")}).Addr()).call(t.Context(), getItem, `{"id":7}`)
	if want := map[string]any{"item": map[string]any{"id": "7", "title": "Drachen ü"}}; err != nil || !reflect.DeepEqual(answer, want) {
		t.Errorf("answer = %v, %v; want %v", answer, err, want)
	}
}

func TestReflectionTellsEveryServiceInBothOfItsVersions(t *testing.T) {
	t.Parallel()
	f := dialGRPC(t, serve(t, items{}).Addr())
	want := []string{"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection", "item.ItemService"}
	for _, version := range []string{"v1", "v1alpha"} {
		var got []string
		list := &reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}
		for _, service := range f.reflectBy(version, list).GetListServicesResponse().GetService() {
			got = append(got, service.GetName())
			response := f.reflectBy(version, &reflectionpb.ServerReflectionRequest{
				MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: service.GetName()},
			})
			if len(response.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
				t.Errorf("%s: %s has no descriptor: %v", version, service.GetName(), response)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: services = %v, want %v", version, got, want)
		}
	}
}

func TestWhatIsNotServedIsUnimplementedOverGRPC(t *testing.T) {
	t.Parallel()
	f := dialGRPC(t, serve(t, items{get: titled("kite")}).Addr())
	for path, want := range map[string]string{
		"/item.NoService/GetItem":       "unknown service item.NoService",
		"/other.ItemService/GetItem":    "unknown service other.ItemService",
		"/ItemService/GetItem":          "unknown service ItemService",
		"/item.ItemService/NoMethod":    "unknown method NoMethod of service item.ItemService",
		"/item.ItemService/":            "unknown method  of service item.ItemService",
		"/nothing":                      "unknown service nothing",
		"/grpc.health.v1.Health/Absent": "unknown service grpc.health.v1.Health",
	} {
		err := f.conn.Invoke(t.Context(), path, &healthpb.HealthCheckRequest{}, &healthpb.HealthCheckResponse{})
		if got := status.Convert(err); got.Code() != codes.Unimplemented || path != "/nothing" && got.Message() != want {
			t.Errorf("%s: %v, want Unimplemented: %s", path, err, want)
		}
	}
}

func TestFaultsArriveOverGRPCWithTheirDetails(t *testing.T) {
	t.Parallel()
	for code, want := range map[fault.Code]codes.Code{
		fault.InvalidArgument: codes.InvalidArgument, fault.NotFound: codes.NotFound, fault.Conflict: codes.FailedPrecondition,
		fault.SoldOut: codes.FailedPrecondition, fault.WrongState: codes.FailedPrecondition, fault.VersionMismatch: codes.Aborted,
		fault.KeyReused: codes.AlreadyExists, fault.Unavailable: codes.Unavailable, fault.Overloaded: codes.ResourceExhausted,
		fault.OutcomeUnknown: codes.DeadlineExceeded, fault.Internal: codes.Internal, "code_of_a_newer_service": codes.Internal,
	} {
		t.Run(string(code), func(t *testing.T) {
			t.Parallel()
			sent := fault.New(code, `3 of "Größe" are left, 100%%`).With("lines", []map[string]any{{"item_id": 7, "name": "ü"}}).With("state", "HELD").
				Because(errors.New("no such table: secrets"))
			sent.Fields = []fault.Field{{Field: "lines[0].quantity", Reason: "ist größer als 10⁹\n"}, {Field: "ttl_seconds", Reason: "is 0"}}
			server := serve(t, items{get: failing(sent)})

			_, err := dialGRPC(t, server.Addr()).call(t.Context(), getItem, `{"id":7}`)
			got := status.Convert(err)
			if got.Code() != want || got.Message() != sent.Message || len(got.Details()) != 2 {
				t.Fatalf("status = %s %q with %d details, want %s %q with 2", got.Code(), got.Message(), len(got.Details()), want, sent.Message)
			}
			info, ok := got.Details()[0].(*errdetails.ErrorInfo)
			members := map[string]string{"lines": `[{"item_id":7,"name":"ü"}]`, "state": `"HELD"`}
			if !ok || info.GetReason() != string(code) || info.GetDomain() != "kiteshop" || !maps.Equal(info.GetMetadata(), members) {
				t.Errorf("ErrorInfo = %v", got.Details()[0])
			}
			fields, ok := got.Details()[1].(*errdetails.BadRequest)
			if !ok || len(fields.GetFieldViolations()) != 2 || fields.GetFieldViolations()[0].GetField() != "lines[0].quantity" ||
				fields.GetFieldViolations()[0].GetDescription() != "ist größer als 10⁹\n" {
				t.Errorf("BadRequest = %v", got.Details()[1])
			}

			_, err = dialKitexGRPC(t, server).GetItem(t.Context(), &item.GetItemReq{Id: 7})
			wantFaults(t, err, toReaders(sent), *sent)
			if f := fault.From(transport.ReadFault("item", err)); !reflect.DeepEqual(f.Members, sent.Members) {
				t.Errorf("members = %s, want %s", f.Members, sent.Members)
			}
		})
	}
}

// TestAStreamRefusedBeforeItsFirstMessageIsOverloaded: Kitex then gives the status as it is.
func TestAStreamRefusedBeforeItsFirstMessageIsOverloaded(t *testing.T) {
	t.Parallel()
	const message = "3 streams are open, and there may be no more"
	ended, err := kitexstatus.New(kitexcodes.ResourceExhausted, message).WithDetails(&errdetails.ErrorInfo{Reason: string(fault.Overloaded), Domain: "kiteshop"})
	if err != nil {
		t.Fatal(err)
	}
	want := fault.Error{Code: fault.Overloaded, Message: message}
	wantFaults(t, ended.Err(), want, want)
	internal := fault.Error{Code: fault.Internal, Message: "an internal error"}
	wantFaults(t, kitexstatus.Err(kitexcodes.ResourceExhausted, "the message is too large"), internal, internal)
}

// dialKitexGRPC makes a Kitex client that speaks gRPC.
func dialKitexGRPC(t testing.TB, server *running) itemservice.Client {
	t.Helper()
	items, err := itemservice.NewClient("item", client.WithHostPorts(server.Addr().String()), client.WithTransportProtocol(kitextransport.GRPC),
		client.WithMetaHandler(transmeta.ClientHTTP2Handler))
	if err != nil {
		t.Fatal(err)
	}
	return items
}

func TestWhatIsOurFaultStaysInTheServersLogOverGRPC(t *testing.T) {
	t.Parallel()
	for name, get := range map[string]func(context.Context, int64) (*item.GetItemResp, error){
		"a foreign error": failing(errors.New("no such table: secrets")),
		"a gRPC status":   failing(status.Error(codes.NotFound, "no such table: secrets")),
		"a panic":         func(context.Context, int64) (*item.GetItemResp, error) { panic("no such table: secrets") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := serve(t, items{get: get})
			ctx := metadata.AppendToOutgoingContext(t.Context(), "x-request-id", "req-1")
			_, err := dialGRPC(t, server.Addr()).call(ctx, getItem, `{"id":7}`)
			if got := status.Convert(err); got.Code() != codes.Internal || got.Message() != "an internal error" || strings.Contains(fmt.Sprint(got.Details()), "secrets") {
				t.Errorf("error = %v, %v", err, got.Details())
			}
			lines := server.log.lines(t)
			if len(lines) != 1 || lines[0]["request_id"] != "req-1" || !strings.Contains(fmt.Sprint(lines[0]["error"]), "secrets") {
				t.Errorf("log = %v, want one line with the cause and the request's id", lines)
			}
		})
	}
}

func TestTheRequestIDComesFromItsHeaderOrFromKitex(t *testing.T) {
	t.Parallel()
	server := serve(t, items{get: func(ctx context.Context, id int64) (*item.GetItemResp, error) {
		return titled(telemetry.RequestID(ctx))(ctx, id)
	}})
	resp, err := dialKitexGRPC(t, server).GetItem(telemetry.WithRequestID(t.Context(), "req-1"), &item.GetItemReq{Id: 7})
	if err != nil || resp.GetItem().GetTitle() != "req-1" {
		t.Errorf("of a Kitex client: %v, %v", resp, err)
	}
	f := dialGRPC(t, server.Addr())
	for sent, want := range map[string]any{"req-2": "req-2", strings.Repeat("x", 129): nil} {
		answer, err := f.call(metadata.AppendToOutgoingContext(t.Context(), "x-request-id", sent), getItem, `{"id":7}`)
		if err != nil || answer["item"].(map[string]any)["title"] != want {
			t.Errorf("of a foreign client: %v, %v", answer, err)
		}
	}
}

func TestTheDeadlineOfAForeignCallerBoundsTheHandler(t *testing.T) {
	t.Parallel()
	remaining, ended := make(chan time.Duration, 1), make(chan error, 1)
	server := serve(t, items{get: func(ctx context.Context, _ int64) (*item.GetItemResp, error) {
		deadline, _ := ctx.Deadline()
		remaining <- time.Until(deadline)
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	}})
	f := dialGRPC(t, server.Addr())
	method := f.method(getItem)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	err := f.conn.Invoke(ctx, "/"+getItem, dynamicpb.NewMessage(method.Input()), dynamicpb.NewMessage(method.Output()))
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("error = %v, want DeadlineExceeded", err)
	}
	if got := <-remaining; got > 2*time.Second {
		t.Errorf("%s remain, want at most 2 s", got)
	}
	if err := <-ended; err == nil {
		t.Error("the handler's context has not ended")
	}
}

func TestACallerThatGivesUpEndsTheHandlersContext(t *testing.T) {
	t.Parallel()
	began, ended := make(chan struct{}), make(chan error, 1)
	server := serve(t, items{get: func(ctx context.Context, _ int64) (*item.GetItemResp, error) {
		close(began)
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	}})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-began
		cancel()
	}()
	_, err := dialGRPC(t, server.Addr()).call(ctx, getItem, `{"id":7}`)
	if status.Code(err) != codes.Canceled {
		t.Errorf("error = %v, want Canceled", err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the handler's context ended with %v", err)
	}
}

// Not parallel: what it sends must arrive within the server's 5 s.
func TestMessagesAreBoundedOverGRPC(t *testing.T) {
	const below = transport.MaxMessageBytes - 1<<10
	f := dialGRPC(t, serve(t, items{
		create: func(context.Context, *item.ItemFields) (*item.CreateItemResp, error) {
			return &item.CreateItemResp{}, nil
		},
		get: func(ctx context.Context, id int64) (*item.GetItemResp, error) {
			return titled(strings.Repeat("x", int(id)))(ctx, id)
		},
	}).Addr())
	for size, want := range map[int]codes.Code{below: codes.OK, transport.MaxMessageBytes: codes.ResourceExhausted} {
		if _, err := f.call(t.Context(), getItem, fmt.Sprintf(`{"id":%d}`, size)); status.Code(err) != want {
			t.Errorf("an answer of %d bytes: %v, want %s", size, err, want)
		}
		_, err := f.call(t.Context(), "item.ItemService/CreateItem", fmt.Sprintf(`{"fields":{"title":%q}}`, strings.Repeat("x", size)))
		if status.Code(err) != want {
			t.Errorf("a request of %d bytes: %v, want %s", size, err, want)
		}
	}
}

func TestCallsOverGRPCAreCountedLikeOthers(t *testing.T) {
	t.Parallel()
	server := serve(t, items{get: titled("kite")})
	if _, err := dialGRPC(t, server.Addr()).call(t.Context(), getItem, `{"id":7}`); err != nil {
		t.Fatal(err)
	}
	if got := metricSum(t, server, `rpc_server_call_duration_seconds_count\{.*rpc_method="ItemService/GetItem".*\}`); got != 1 {
		t.Errorf("calls = %v, want 1", got)
	}
}

func TestHealthFollowsReadiness(t *testing.T) {
	t.Parallel()
	ready := make(chan bool, 1)
	ready <- false
	server := serveReady(t, items{}, func(context.Context) map[string]string {
		is := <-ready
		ready <- is
		if is {
			return nil
		}
		return map[string]string{"store": "it is away"}
	})
	client := healthpb.NewHealthClient(dialGRPC(t, server.Addr()).conn)
	watch, err := client.Watch(t.Context(), &healthpb.HealthCheckRequest{Service: "item.ItemService"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		ready bool
		want  healthpb.HealthCheckResponse_ServingStatus
	}{{false, healthpb.HealthCheckResponse_NOT_SERVING}, {true, healthpb.HealthCheckResponse_SERVING}, {false, healthpb.HealthCheckResponse_NOT_SERVING}} {
		<-ready
		ready <- c.ready
		for _, service := range []string{"", "item.ItemService"} { // who asks is told at once, who watches soon
			if got, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{Service: service}); err != nil || got.GetStatus() != c.want {
				t.Errorf("health of %q = %v, %v; want %v", service, got.GetStatus(), err, c.want)
			}
		}
		for got := (&healthpb.HealthCheckResponse{}); got.GetStatus() != c.want; {
			if got, err = watch.Recv(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{Service: "other.Service"}); status.Code(err) != codes.NotFound {
		t.Errorf("another service: %v, want NotFound", err)
	}
}

func TestAWatchOfTheHealthDoesNotHoldUpTheStop(t *testing.T) {
	t.Parallel()
	server := serve(t, items{})
	watch, err := healthpb.NewHealthClient(dialGRPC(t, server.Addr()).conn).Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := server.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("stopping took %s", took)
	}
}

func TestStopLetsTheGRPCCallUnderWayFinish(t *testing.T) {
	t.Parallel()
	began, goOn := make(chan struct{}), make(chan struct{})
	server := serve(t, items{get: func(ctx context.Context, id int64) (*item.GetItemResp, error) {
		close(began)
		<-goOn
		return titled("kite")(ctx, id)
	}})
	f := dialGRPC(t, server.Addr())
	answered := make(chan error, 1)
	go func() {
		_, err := f.call(t.Context(), getItem, `{"id":7}`)
		answered <- err
	}()
	<-began
	stopped := make(chan error, 1)
	go func() { stopped <- server.stop() }()
	refused(t, server.Addr())
	close(goOn)
	if err := <-answered; err != nil {
		t.Errorf("the call under way: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Stop: %v", err)
	}
}
