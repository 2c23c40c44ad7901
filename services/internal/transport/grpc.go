package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"strings"
	"time"

	"github.com/cloudwego/kitex/pkg/endpoint"
	"github.com/cloudwego/kitex/pkg/remote"
	"github.com/cloudwego/kitex/pkg/remote/codec/protobuf"
	kitexmetadata "github.com/cloudwego/kitex/pkg/remote/trans/nphttp2/metadata"
	"github.com/cloudwego/kitex/pkg/rpcinfo"
	"github.com/cloudwego/kitex/pkg/serviceinfo"
	"github.com/cloudwego/kitex/transport"
	"github.com/cloudwego/netpoll"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

const (
	// readTimeout bounds the wait for the rest of a request, or of a greeting, that has begun.
	readTimeout = 5 * time.Second
	// maxStreams bounds the calls under way and the answers not yet taken, of one HTTP/2 connection.
	maxStreams = 128
	// maxHeaderBytes bounds the headers of one call.
	maxHeaderBytes = 64 << 10
	// maxRequestID bounds, in bytes, the id that a foreign caller gives to its request.
	maxRequestID = 128
)

// grpcHandler answers gRPC on the connections that begin as HTTP/2 does:
// grpc-go has the frames and streams, Kitex the middlewares and the services.
//
// Kitex's own gRPC server (v0.16.3) cannot be left to strangers: it allocates
// the up to 4 GiB that the five bytes before a message claim, announces a bound
// of streams and does not keep it, and waits for the rest of a greeting for ever.
type grpcHandler struct {
	remote.ServerTransHandler // nil: what is not defined here is never called
	opt                       *remote.ServerOption
	tel                       *telemetry.Telemetry
	times                     *callTimes
	invoke                    endpoint.Endpoint
	streams                   *streams
	server                    *grpc.Server
	conns                     *handedOver
	stopping                  context.Context
	stop                      context.CancelFunc
}

// grpcFactory makes the handler of a server; register adds services that are about the server itself.
type grpcFactory struct {
	tel      *telemetry.Telemetry
	times    *callTimes
	streams  *streams
	register func(to *grpc.Server) error
}

// NewTransHandler implements remote.ServerTransHandlerFactory.
func (f grpcFactory) NewTransHandler(opt *remote.ServerOption) (remote.ServerTransHandler, error) {
	h := &grpcHandler{opt: opt, tel: f.tel, times: f.times, streams: f.streams, conns: &handedOver{conns: make(chan net.Conn), closed: make(chan struct{})}}
	h.stopping, h.stop = context.WithCancel(context.Background())
	h.server = grpc.NewServer(
		grpc.ForceServerCodec(rawCodec{}),
		grpc.UnknownServiceHandler(h.handle),
		grpc.StreamInterceptor(h.endWithServer),
		grpc.MaxRecvMsgSize(MaxMessageBytes),
		grpc.MaxSendMsgSize(MaxMessageBytes),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.ConnectionTimeout(readTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: 10 * time.Minute, Time: time.Minute, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	)
	if err := f.register(h.server); err != nil {
		return nil, err
	}
	go func() { _ = h.server.Serve(h.conns) }() // it ends when the server is stopped
	return h, nil
}

// ProtocolMatch implements detection.DetectableServerTransHandler. It looks at
// eight bytes: a message of another protocol may have no more.
func (h *grpcHandler) ProtocolMatch(_ context.Context, conn net.Conn) error {
	const preface = "PRI * HT"
	begin, err := conn.(netpoll.Connection).Reader().Peek(len(preface))
	if err == nil && string(begin) != preface {
		return errors.New("it is not HTTP/2")
	}
	return err
}

// OnActive implements remote.ServerTransHandler.
func (h *grpcHandler) OnActive(ctx context.Context, _ net.Conn) (context.Context, error) {
	return ctx, nil
}

// OnInactive implements remote.TransHandler.
func (h *grpcHandler) OnInactive(context.Context, net.Conn) {}

// OnRead hands the connection over and returns when it is closed.
func (h *grpcHandler) OnRead(_ context.Context, conn net.Conn) error {
	if err := conn.(netpoll.Connection).SetReadTimeout(0); err != nil { // grpc-go has timeouts of its own
		return err
	}
	given := &givenConn{Conn: conn, closed: make(chan struct{})}
	if !h.conns.give(given) {
		return nil
	}
	<-given.closed
	return nil
}

// SetPipeline implements remote.TransHandler.
func (h *grpcHandler) SetPipeline(*remote.TransPipeline) {}

// SetInvokeHandleFunc implements remote.InvokeHandleFuncSetter.
func (h *grpcHandler) SetInvokeHandleFunc(invoke endpoint.Endpoint) { h.invoke = invoke }

// GracefulShutdown lets the calls under way finish until ctx ends.
func (h *grpcHandler) GracefulShutdown(ctx context.Context) error {
	h.stop()
	cut := context.AfterFunc(ctx, h.server.Stop)
	defer cut()
	h.server.GracefulStop()
	return nil
}

// endWithServer ends the watches of the health when the server stops: they have no other end.
func (h *grpcHandler) endWithServer(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if !info.IsServerStream || info.IsClientStream {
		return next(service, stream)
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(h.stopping, cancel)()
	return next(service, streamUnder{stream, ctx})
}

type streamUnder struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // it is the stream's
}

func (s streamUnder) Context() context.Context { return s.ctx }

// handle answers one call of one of Kitex's services.
func (h *grpcHandler) handle(_ any, stream grpc.ServerStream) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			h.tel.Log.ErrorContext(stream.Context(), "call failed", "error", cause, "stack", string(debug.Stack()))
			err = status.Error(codes.Internal, "an internal error")
		}
	}()
	start := time.Now()
	path, _ := grpc.MethodFromServerStream(stream)
	method, err := h.find(path)
	if err != nil {
		h.times.record(stream.Context(), start, callKey{grpc: true, code: "unimplemented"})
		return err
	}
	ctx, call, err := h.begin(stream.Context(), method)
	if err != nil {
		return err
	}
	if method.streams() {
		return h.answerStream(ctx, call, method, stream)
	}
	return h.answer(ctx, call, method, stream)
}

// answer lets the handler of a method with one request and one answer answer.
func (h *grpcHandler) answer(ctx context.Context, call rpcinfo.RPCInfo, method grpcMethod, stream grpc.ServerStream) error {
	request, err := receive(stream)
	if err != nil {
		return err
	}
	args, ok := method.info.NewArgs().(protobuf.ProtobufMsgCodec)
	result, ok2 := method.info.NewResult().(protobuf.ProtobufMsgCodec)
	if !ok || !ok2 {
		return unimplemented("method %s has no Protobuf", method.name)
	}
	if err := args.Unmarshal(request); err != nil {
		return status.Error(codes.InvalidArgument, "the message is malformed")
	}

	ctx = h.opt.TracerCtl.DoStart(ctx, call)
	err = h.invoke(ctx, args, result)
	h.opt.TracerCtl.DoFinish(ctx, call, err)
	if fault := call.Invocation().BizStatusErr(); fault != nil {
		stream.SetTrailer(metadata.Pairs(bizStatus, fmt.Sprint(fault.BizStatusCode())))
		return grpcStatus(fault).Err()
	}
	if err != nil { // no middleware of ours gives one
		h.tel.Log.ErrorContext(ctx, "call failed", "method", method.name, "error", err)
		return status.Error(codes.Internal, "an internal error")
	}
	answer, err := result.Marshal(nil)
	if err != nil {
		h.tel.Log.ErrorContext(ctx, "call failed", "method", method.name, "error", err)
		return status.Error(codes.Internal, "an internal error")
	}
	return stream.SendMsg(raw(answer))
}

// bizStatus tells a Kitex client that the error is the handler's and not the connection's.
const bizStatus = "biz-status"

type grpcMethod struct {
	pkg, service, name string
	info               serviceinfo.MethodInfo
}

// find gives the method at a path like /item.ItemService/GetItem.
func (h *grpcHandler) find(path string) (m grpcMethod, err error) {
	full, name, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	m.name, m.service = name, full
	if dot := strings.LastIndexByte(full, '.'); dot >= 0 {
		m.pkg, m.service = full[:dot], full[dot+1:]
	}
	service := h.opt.SvcSearcher.SearchService(m.service, m.name, true, serviceinfo.Protobuf)
	if service == nil || service.GetPackageName() != m.pkg || service.PayloadCodec != serviceinfo.Protobuf {
		return m, unimplemented("unknown service %s", full)
	}
	m.info = service.MethodInfo(context.Background(), m.name)
	if m.info == nil {
		return m, unimplemented("unknown method %s of service %s", m.name, full)
	}
	return m, nil
}

func (m grpcMethod) streams() bool {
	mode := m.info.StreamingMode()
	return mode != serviceinfo.StreamingNone && mode != serviceinfo.StreamingUnary
}

func unimplemented(format string, args ...any) error {
	return status.Errorf(codes.Unimplemented, format, args...)
}

// begin makes the context that Kitex's middlewares expect, with what the caller's metadata say.
func (h *grpcHandler) begin(ctx context.Context, method grpcMethod) (context.Context, rpcinfo.RPCInfo, error) {
	from, ok := peer.FromContext(ctx)
	if !ok {
		from = &peer.Peer{}
	}
	call := h.opt.InitOrResetRPCInfoFunc(nil, from.Addr)
	if invocation, ok := call.Invocation().(rpcinfo.InvocationSetter); ok {
		invocation.SetPackageName(method.pkg)
		invocation.SetServiceName(method.service)
		invocation.SetMethodName(method.name)
		invocation.SetMethodInfo(method.info)
		invocation.SetStreamingMode(method.info.StreamingMode())
	}
	if err := rpcinfo.AsMutableEndpointInfo(call.To()).SetMethod(method.name); err != nil {
		return nil, nil, err
	}
	if err := rpcinfo.AsMutableRPCConfig(call.Config()).SetTransportProtocol(transport.GRPC); err != nil {
		return nil, nil, err
	}
	sent, _ := metadata.FromIncomingContext(ctx)
	ctx = kitexmetadata.NewIncomingContext(rpcinfo.NewCtxWithRPCInfo(ctx, call), kitexmetadata.MD(sent))
	for _, meta := range h.opt.StreamingMetaHandlers {
		var err error
		if ctx, err = meta.OnReadStream(ctx); err != nil {
			return nil, nil, err
		}
	}
	if id := sent.Get("x-request-id"); len(id) > 0 && len(id[0]) <= maxRequestID && telemetry.RequestID(ctx) == "" {
		ctx = telemetry.WithRequestID(ctx, id[0])
	}
	return ctx, call, nil
}

// receive waits for the one message of a call.
func receive(stream grpc.ServerStream) ([]byte, error) {
	type received struct {
		message raw
		err     error
	}
	got := make(chan received, 1)
	go func() {
		var r received
		r.err = stream.RecvMsg(&r.message)
		got <- r
	}()
	late := time.NewTimer(readTimeout)
	defer late.Stop()
	select {
	case r := <-got:
		return r.message, r.err
	case <-late.C:
		return nil, status.Errorf(codes.DeadlineExceeded, "the request did not arrive within %s", readTimeout)
	}
}

// raw is a message as it travels.
type raw []byte

// rawCodec leaves to Kitex what is Kitex's; health and reflection use grpc-go's messages.
type rawCodec struct{}

// Name implements encoding.Codec.
func (rawCodec) Name() string { return "proto" }

// Marshal implements encoding.Codec.
func (rawCodec) Marshal(message any) ([]byte, error) {
	if bytes, ok := message.(raw); ok {
		return bytes, nil
	}
	return proto.Marshal(message.(proto.Message))
}

// Unmarshal implements encoding.Codec.
func (rawCodec) Unmarshal(bytes []byte, message any) error {
	if to, ok := message.(*raw); ok {
		*to = bytes
		return nil
	}
	return proto.Unmarshal(bytes, message.(proto.Message))
}
