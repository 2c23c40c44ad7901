// Package transport makes Kitex servers and clients that speak alike: deadlines,
// request ids and faults travel on each protocol, and are measured and logged in
// one place. A server's one port takes Protobuf over TTHeader, gRPC, and Thrift
// over TTHeader, framed and buffered; README.md says what travels on which.
package transport

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/cloudwego/kitex/pkg/endpoint"
	"github.com/cloudwego/kitex/pkg/kerrors"
	"github.com/cloudwego/kitex/pkg/limiter"
	"github.com/cloudwego/kitex/pkg/remote/codec"
	"github.com/cloudwego/kitex/pkg/remote/trans/detection"
	"github.com/cloudwego/kitex/pkg/remote/trans/netpoll"
	"github.com/cloudwego/kitex/pkg/rpcinfo"
	"github.com/cloudwego/kitex/pkg/streaming"
	"github.com/cloudwego/kitex/pkg/transmeta"
	"github.com/cloudwego/kitex/server"
	"google.golang.org/grpc/health"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

// MaxMessageBytes bounds one request and one answer.
const MaxMessageBytes = 16 << 20

// Server is a Kitex server on a port that is open from the start.
type Server struct {
	server.Server
	ln    net.Listener
	edge  *edge
	admit *admission
	about description
	exit  chan error    // Kitex stops when it is closed
	ended chan struct{} // closed when serve returns

	mu      sync.Mutex
	serving bool
	stopped bool
}

// NewServer opens address. Services are registered on it before it serves.
func NewServer(address string, rules *Governance, tel *telemetry.Telemetry) (*Server, error) {
	return newServer(address, rules, tel, defaultStreamLimits())
}

func newServer(address string, rules *Governance, tel *telemetry.Telemetry, limits streamLimits) (*Server, error) {
	ln, err := Listen("rpc", address)
	if err != nil {
		return nil, err
	}
	times, err := newCallTimes(tel, "rpc.server.call.duration", "Time from a call's arrival to its handler's end.")
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	guarded, err := newGuard(rules, tel)
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	admit, err := newAdmission(rules, tel)
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	streams, err := newStreams(tel, limits, admit)
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	s := &Server{ln: ln, admit: admit, exit: make(chan error), ended: make(chan struct{}), about: description{health: health.NewServer()}}
	s.edge, err = newEdge(tel.Meter, detection.NewSvrTransHandlerFactory(netpoll.NewSvrTransHandlerFactory(), grpcFactory{tel, times, streams, s.register}))
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	s.Server = server.NewServer(append(tracedServer(tel),
		server.WithTransHandlerFactory(s.edge),
		server.WithConnectionLimiter(limiter.NewConnectionLimiter(maxConnections)),
		server.WithLimitReporter(s.edge),
		server.WithReadWriteTimeout(readTimeout),
		server.WithListener(ln),
		server.WithExitSignal(func() <-chan error { return s.exit }),
		server.WithExitWaitTime(5*time.Second),
		server.WithCodec(codec.NewDefaultCodecWithSizeLimit(MaxMessageBytes)),
		server.WithPayloadCodec(newPayloads()),
		server.WithDiagnosisService(&probes{of: tel.Diagnosis, name: "server"}),
		server.WithMiddleware(serverObserver(tel, times)),
		server.WithMiddleware(guarded), // below the observer, so that a call that is denied is measured
		server.WithMiddleware(admit.middleware),
	)...)
	return s, nil
}

// tracedServer gives each call a span and takes in what the caller sent along.
func tracedServer(tel *telemetry.Telemetry) []server.Option {
	if tel.Contributed != nil {
		return tel.Contributed.Server()
	}
	return []server.Option{
		server.WithMetaHandler(transmeta.ServerTTHeaderHandler),
		server.WithMetaHandler(transmeta.ServerHTTP2Handler),
		server.WithMiddleware(serverSpans(tel)),
	}
}

// Addr is where the server answers.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// Part runs the server.
func (s *Server) Part() lifecycle.Part {
	return lifecycle.Part{
		Name:  "rpc server",
		Serve: s.serve,
		Stop:  s.stop,
	}
}

// stop tells Kitex to stop when it has begun to serve: what it sets until then
// it reads when it stops, without a lock.
func (s *Server) stop(ctx context.Context) error {
	s.mu.Lock()
	before, serving := s.stopped, s.serving
	s.stopped = true
	s.mu.Unlock()
	if before {
		return nil
	}
	if !serving {
		return s.ln.Close()
	}
	if ln, ok := s.ln.(*listener); ok {
		select {
		case <-ln.served:
		case <-s.ended:
		case <-ctx.Done():
		}
	}
	s.about.health.Shutdown()
	close(s.exit) // Kitex closes the listener when it has stopped
	return nil
}

func (s *Server) serve() error {
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return nil
	}
	s.serving = true
	s.mu.Unlock()
	defer close(s.ended)
	s.admit.begin(s)
	go s.edge.watch(s.ended)
	go s.watchReadiness()
	err := s.Run()

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil // Kitex may report that the listener is closed, as it was told to
	}
	return err
}

// serverObserver bounds each call by the caller's deadline, measures it, logs
// it if it failed by our fault, and makes every error fit for the wire.
func serverObserver(tel *telemetry.Telemetry, times *callTimes) endpoint.Middleware {
	return func(next endpoint.Endpoint) endpoint.Endpoint {
		return func(ctx context.Context, req, resp any) error {
			if _, streams := req.(*streaming.Args); streams { // its end is looked at where it ends
				err := next(ctx, req, resp)
				if err == nil {
					endSpan(ctx, nil)
				} else if ctx.Err() == nil { // else the caller has left
					endSpan(ctx, fault.From(err))
				}
				return err
			}
			start := time.Now()
			call := rpcinfo.GetRPCInfo(ctx)
			if timeout := call.Config().RPCTimeout(); timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, timeout)
				defer cancel()
			}
			err := next(ctx, req, resp)
			if foreign := call.Invocation().BizStatusErr(); foreign != nil {
				err = errors.Join(err, foreign) // no handler of ours makes one
			}
			if err == nil {
				endSpan(ctx, nil)
				times.record(ctx, start, keyOf(call, "ok"))
				return nil
			}
			f := logFault(ctx, tel.Log, call, err)
			endSpan(ctx, f)
			times.record(ctx, start, keyOf(call, string(f.Code)))
			return answerFault(call, f)
		}
	}
}

// logFault logs what the caller is not told of err, and gives what the caller is told.
func logFault(ctx context.Context, log *slog.Logger, call rpcinfo.RPCInfo, err error) *fault.Error {
	f := fault.From(err)
	if f.Code != fault.Internal && f.Unwrap() == nil {
		return f
	}
	attrs := []any{"method", call.Invocation().MethodName(), "error", err}
	if detailed, ok := errors.AsType[*kerrors.DetailedError](err); ok && detailed.Stack() != "" {
		attrs = append(attrs, "stack", detailed.Stack())
	}
	log.ErrorContext(ctx, "call failed", attrs...)
	return f
}
