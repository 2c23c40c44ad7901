package transport

import (
	"context"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/cloudwego/kitex/pkg/endpoint"
	"github.com/cloudwego/kitex/pkg/remote"
	"github.com/cloudwego/netpoll"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

const (
	// maxConnections bounds the connections of a server.
	maxConnections = 10_000
	// maxUnread bounds what a connection may send ahead of what is read: netpoll
	// (v0.7.3) takes in all that comes, as fast as it comes.
	maxUnread = 2 * MaxMessageBytes
	// unreadInterval is how often that is looked at.
	unreadInterval = 50 * time.Millisecond
)

// edge is what every connection meets first. It counts those that are broken
// off because of what they sent, and breaks off those that send too much.
type edge struct {
	factory remote.ServerTransHandlerFactory
	refused metric.Int64Counter
	labels  *telemetry.Labels[string] // by reason

	mu    sync.Mutex
	conns map[netpoll.Connection]struct{}
}

func newEdge(meter metric.Meter, factory remote.ServerTransHandlerFactory) (*edge, error) {
	refused, err := meter.Int64Counter("rpc.server.connections.refused", metric.WithUnit("{connection}"),
		metric.WithDescription("Connections that were not taken or broken off: too many, malformed or incomplete, or too much sent ahead."))
	e := &edge{factory: factory, refused: refused, conns: map[netpoll.Connection]struct{}{}}
	e.labels = telemetry.NewLabels(func(reason string) []attribute.KeyValue {
		return []attribute.KeyValue{attribute.String("reason", reason)}
	})
	for _, reason := range []string{overLimit, malformed, flood} {
		e.count(reason, 0)
	}
	return e, err
}

// Why connections are refused.
const (
	overLimit = "limit"
	malformed = "malformed"
	flood     = "flood"
)

func (e *edge) count(reason string, connections int64) {
	e.refused.Add(context.Background(), connections, e.labels.Get(reason).Add...)
}

// ConnOverloadReport implements limiter.LimitReporter.
func (e *edge) ConnOverloadReport() { e.count(overLimit, 1) }

// QPSOverloadReport implements limiter.LimitReporter.
func (e *edge) QPSOverloadReport() {}

// NewTransHandler implements remote.ServerTransHandlerFactory.
func (e *edge) NewTransHandler(opt *remote.ServerOption) (remote.ServerTransHandler, error) {
	inner, err := e.factory.NewTransHandler(opt)
	return &edgeHandler{inner, e}, err
}

type edgeHandler struct {
	remote.ServerTransHandler
	edge *edge
}

// OnActive implements remote.ServerTransHandler.
func (h *edgeHandler) OnActive(ctx context.Context, conn net.Conn) (context.Context, error) {
	if conn, ok := conn.(netpoll.Connection); ok {
		h.edge.mu.Lock()
		h.edge.conns[conn] = struct{}{}
		h.edge.mu.Unlock()
	}
	return h.ServerTransHandler.OnActive(ctx, conn)
}

// OnInactive implements remote.TransHandler.
func (h *edgeHandler) OnInactive(ctx context.Context, conn net.Conn) {
	if conn, ok := conn.(netpoll.Connection); ok {
		h.edge.mu.Lock()
		delete(h.edge.conns, conn)
		h.edge.mu.Unlock()
	}
	h.ServerTransHandler.OnInactive(ctx, conn)
}

// OnRead implements remote.ServerTransHandler. Kitex closes the connection after an error.
func (h *edgeHandler) OnRead(ctx context.Context, conn net.Conn) error {
	err := h.ServerTransHandler.OnRead(ctx, conn)
	if err != nil {
		h.edge.count(malformed, 1)
	}
	return err
}

// SetInvokeHandleFunc implements remote.InvokeHandleFuncSetter.
func (h *edgeHandler) SetInvokeHandleFunc(invoke endpoint.Endpoint) {
	if inner, ok := h.ServerTransHandler.(remote.InvokeHandleFuncSetter); ok {
		inner.SetInvokeHandleFunc(invoke)
	}
}

// GracefulShutdown implements remote.GracefulShutdown.
func (h *edgeHandler) GracefulShutdown(ctx context.Context) error {
	if inner, ok := h.ServerTransHandler.(remote.GracefulShutdown); ok {
		return inner.GracefulShutdown(ctx)
	}
	return nil
}

// watch breaks off connections that have sent too much ahead, until ended.
func (e *edge) watch(ended <-chan struct{}) {
	tick := time.NewTicker(unreadInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			e.breakFloods()
		case <-ended:
			return
		}
	}
}

func (e *edge) breakFloods() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for conn := range e.conns { // while it is here, its descriptor is open
		if conn.Reader().Len() <= maxUnread {
			continue
		}
		e.count(flood, 1)
		delete(e.conns, conn)
		if open, ok := conn.(netpoll.Conn); ok { // netpoll's Close would go on reading while the handler works
			_ = syscall.Shutdown(open.Fd(), syscall.SHUT_RDWR)
		}
	}
}
