package telemetrytest

import (
	"context"
	"net"
	"testing"

	collectmetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collecttrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/grpc"
)

// OverGRPC makes the collector take OTLP over gRPC too, until the end of the
// test, and gives the environment that makes a service send it there.
func (c *Collector) OverGRPC(t testing.TB) []string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	collecttrace.RegisterTraceServiceServer(server, grpcTraces{to: c})
	collectmetrics.RegisterMetricsServiceServer(server, grpcMetrics{to: c})
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(server.Stop)
	return []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + ln.Addr().String()}
}

// Metrics is all that has arrived of instruments, the latest last.
func (c *Collector) Metrics() []*metrics.ResourceMetrics {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all[:len(c.all):len(c.all)]
}

type grpcTraces struct {
	collecttrace.UnimplementedTraceServiceServer
	to *Collector
}

// Export implements OTLP.
func (g grpcTraces) Export(_ context.Context, req *collecttrace.ExportTraceServiceRequest) (*collecttrace.ExportTraceServiceResponse, error) {
	g.to.mu.Lock()
	defer g.to.mu.Unlock()
	g.to.keepSpans(req.GetResourceSpans())
	return &collecttrace.ExportTraceServiceResponse{}, nil
}

type grpcMetrics struct {
	collectmetrics.UnimplementedMetricsServiceServer
	to *Collector
}

// Export implements OTLP.
func (g grpcMetrics) Export(_ context.Context, req *collectmetrics.ExportMetricsServiceRequest) (*collectmetrics.ExportMetricsServiceResponse, error) {
	g.to.mu.Lock()
	defer g.to.mu.Unlock()
	g.to.keepMetrics(req.GetResourceMetrics())
	return &collectmetrics.ExportMetricsServiceResponse{}, nil
}
