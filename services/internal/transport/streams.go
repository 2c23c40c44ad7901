package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/cloudwego/kitex/pkg/remote/codec/protobuf"
	"github.com/cloudwego/kitex/pkg/rpcinfo"
	"github.com/cloudwego/kitex/pkg/serviceinfo"
	"github.com/cloudwego/kitex/pkg/streaming"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

// streamLimits bound the streams of a server.
type streamLimits struct {
	// open bounds how many there are on all connections together.
	open int64
	// silence bounds the wait for a caller's next message, where a caller sends several.
	silence time.Duration
	// unread bounds the wait until a caller takes a message.
	unread time.Duration
}

func defaultStreamLimits() streamLimits {
	return streamLimits{open: 20_000, silence: 5 * time.Minute, unread: 30 * time.Second}
}

// streams counts and bounds what is open.
type streams struct {
	limits streamLimits
	open   atomic.Int64
	gauge  metric.Int64UpDownCounter
	ended  metric.Int64Counter
	labels *telemetry.Labels[callKey]
	admit  *admission // counts who is refused
}

func newStreams(tel *telemetry.Telemetry, limits streamLimits, admit *admission) (*streams, error) {
	gauge, err := tel.Meter.Int64UpDownCounter("rpc.server.streams.open", metric.WithUnit("{stream}"),
		metric.WithDescription("Streams whose handler has not ended."))
	if err != nil {
		return nil, err
	}
	ended, err := tel.Meter.Int64Counter("rpc.server.streams.ended", metric.WithUnit("{stream}"),
		metric.WithDescription("Streams that have ended, by the code of their end."))
	return &streams{limits: limits, gauge: gauge, ended: ended, labels: telemetry.NewLabels(callKey.attributes), admit: admit}, err
}

// answerStream lets the handler of a method that streams answer. The handler's
// context ends when the caller leaves, and its cause says what else has ended
// the stream. The server's stop ends it too, unless the caller sends several
// messages: then it is the next Recv that says so, and what the handler is at
// work on can be finished and answered.
func (h *grpcHandler) answerStream(ctx context.Context, call rpcinfo.RPCInfo, method grpcMethod, on grpc.ServerStream) error {
	s := &kitexStream{grpc: on, mode: method.info.StreamingMode(), limits: h.streams.limits}
	s.ctx, s.end = context.WithCancelCause(ctx)
	defer s.end(nil)
	receiving, stopReceiving := context.WithCancelCause(s.ctx)
	defer stopReceiving(nil)
	s.receiving = receiving
	stop := stopReceiving
	if s.mode == serviceinfo.StreamingServer {
		stop = s.end
	}
	defer context.AfterFunc(h.stopping, func() { stop(fault.New(fault.Unavailable, "the server is stopping")) })()

	open := h.streams.labels.Get(keyOf(call, "")).Add
	h.streams.gauge.Add(ctx, 1, open...)
	defer h.streams.gauge.Add(ctx, -1, open...)
	defer h.streams.open.Add(-1)
	if h.streams.open.Add(1) > h.streams.limits.open {
		h.streams.admit.refuseStream(ctx, served{method.service, method.name})
		return h.endStream(call, s, fault.New(fault.Overloaded, "%d streams are open, and there may be no more", h.streams.limits.open))
	}
	ctx = h.opt.TracerCtl.DoStart(s.ctx, call)
	err := h.invoke(ctx, &streaming.Args{ServerStream: s}, nil)
	h.opt.TracerCtl.DoFinish(ctx, call, err)
	return h.endStream(call, s, err)
}

// endStream gives the status that the handler's error ends the stream with.
// When the stream was over before, and the handler says nothing else, it is why.
func (h *grpcHandler) endStream(call rpcinfo.RPCInfo, s *kitexStream, err error) error {
	if foreign := call.Invocation().BizStatusErr(); foreign != nil {
		err = errors.Join(err, foreign) // no handler of ours makes one
	}
	cause := s.over()
	known := cause != nil && (err == nil || errors.Is(err, cause) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded))
	if known {
		err = cause
	}
	end, code := error(nil), "ok"
	switch _, isFault := errors.AsType[*fault.Error](err); {
	case err == nil:
	case known && !isFault:
		end, code = err, "deadline_exceeded"
		if status.Code(err) == codes.Canceled {
			code = "canceled"
		}
	default:
		f := logFault(s.ctx, h.tel.Log, call, err)
		biz := encodeFault(f)
		s.grpc.SetTrailer(metadata.Pairs(bizStatus, fmt.Sprint(biz.BizStatusCode())))
		end, code = grpcStatus(biz).Err(), string(f.Code)
	}
	h.streams.ended.Add(s.ctx, 1, h.streams.labels.Get(keyOf(call, code)).Add...)
	return end
}

// kitexStream is a stream as Kitex's generated code knows it. The contexts that
// are given to its methods say nothing: its own ends it.
type kitexStream struct {
	grpc      grpc.ServerStream
	mode      serviceinfo.StreamingMode
	limits    streamLimits
	ctx       context.Context //nolint:containedctx // it is the handler's
	end       context.CancelCauseFunc
	receiving context.Context //nolint:containedctx // it ends earlier, when the server stops
	began     bool            // a message has come
}

// over is why the stream has ended, a fault or a status; nil while it has not.
func (s *kitexStream) over() error {
	err := context.Cause(s.ctx)
	if err == nil {
		err = s.grpc.Context().Err() // which is known a moment earlier
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err).Err()
	}
	return err
}

// RecvMsg implements streaming.ServerStream. Its errors are faults and statuses
// that a handler may return as they are, and io.EOF when the caller has sent all.
func (s *kitexStream) RecvMsg(_ context.Context, message any) error {
	to, ok := message.(protobuf.ProtobufMsgCodec)
	if !ok {
		return fmt.Errorf("%T has no Protobuf", message)
	}
	limit := s.limits.silence
	if !s.began {
		limit = readTimeout
	}
	var received raw
	err := s.within(s.receiving, limit, "no message came within %s", func() error { return s.grpc.RecvMsg(&received) })
	s.began = true
	switch cause := s.over(); {
	case err == nil:
	case cause != nil:
		return cause
	case errors.Is(err, io.EOF) && s.mode == serviceinfo.StreamingServer:
		return fault.New(fault.InvalidArgument, "the request is missing")
	case errors.Is(err, io.EOF):
		return io.EOF
	case errors.Is(err, context.Cause(s.receiving)):
		return err
	default:
		return fault.New(fault.InvalidArgument, "the message cannot be read: %s", status.Convert(err).Message())
	}
	if err := to.Unmarshal(received); err != nil {
		return fault.New(fault.InvalidArgument, "the message is malformed")
	}
	return nil
}

// SendMsg implements streaming.ServerStream. It waits until there is room for
// the message among the 64 KiB that may be on their way to the caller.
func (s *kitexStream) SendMsg(_ context.Context, message any) error {
	from, ok := message.(protobuf.ProtobufMsgCodec)
	if !ok {
		return fmt.Errorf("%T has no Protobuf", message)
	}
	sent, err := from.Marshal(nil)
	if err != nil {
		return err
	}
	err = s.within(s.ctx, s.limits.unread, "a message was not taken within %s", func() error { return s.grpc.SendMsg(raw(sent)) })
	if cause := s.over(); err != nil && cause != nil {
		return cause
	}
	return err
}

// within waits for work, which goes on until it is done or the handler has
// ended. When it takes longer than limit the stream is over.
func (s *kitexStream) within(ctx context.Context, limit time.Duration, late string, work func() error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	done := make(chan error, 1)
	go func() { done <- work() }()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		s.end(status.Errorf(codes.DeadlineExceeded, late, limit))
	case <-ctx.Done():
	}
	return context.Cause(ctx)
}

// SetHeader implements streaming.ServerStream.
func (s *kitexStream) SetHeader(header streaming.Header) error {
	return s.grpc.SetHeader(metadata.New(header))
}

// SendHeader implements streaming.ServerStream.
func (s *kitexStream) SendHeader(header streaming.Header) error {
	return s.grpc.SendHeader(metadata.New(header))
}

// SetTrailer implements streaming.ServerStream.
func (s *kitexStream) SetTrailer(trailer streaming.Trailer) error {
	s.grpc.SetTrailer(metadata.New(trailer))
	return nil
}
