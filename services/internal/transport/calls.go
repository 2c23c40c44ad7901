package transport

import (
	"context"
	"time"

	"github.com/cloudwego/kitex/pkg/endpoint"
	"github.com/cloudwego/kitex/pkg/rpcinfo"
	"github.com/cloudwego/kitex/pkg/streaming"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

// callTimes measures how long calls take.
type callTimes struct {
	duration metric.Float64Histogram
	labels   *telemetry.Labels[callKey]
}

// callKey is what is known of a call beside its time.
type callKey struct {
	grpc            bool
	service, method string // "": the server does not know it
	code            string // of a fault, or ok; "": it has not ended
	server          string // the service that is called; "": it is this one
}

func newCallTimes(tel *telemetry.Telemetry, name, description string) (*callTimes, error) {
	duration, err := tel.Durations(name, description)
	return &callTimes{duration, telemetry.NewLabels(callKey.attributes)}, err
}

func (k callKey) attributes() []attribute.KeyValue {
	attrs := []attribute.KeyValue{system(k.grpc), semconv.RPCMethod("_OTHER")}
	if k.method != "" {
		attrs[1] = semconv.RPCMethod(k.service + "/" + k.method)
	}
	if k.code != "" {
		attrs = append(attrs, semconv.RPCResponseStatusCode(k.code))
	}
	if isFailure(fault.Code(k.code)) {
		attrs = append(attrs, semconv.ErrorTypeKey.String(k.code))
	}
	if k.server != "" {
		attrs = append(attrs, semconv.ServerAddress(k.server))
	}
	return attrs
}

// keyOf is that of a call of this server.
func keyOf(call rpcinfo.RPCInfo, code string) callKey {
	return callKey{grpc: overGRPC(call), service: call.Invocation().ServiceName(), method: call.Invocation().MethodName(), code: code}
}

func (c *callTimes) record(ctx context.Context, start time.Time, key callKey) {
	c.duration.Record(ctx, time.Since(start).Seconds(), c.labels.Get(key).Record...)
}

// clientObserver measures each attempt of a client's calls.
func clientObserver(times *callTimes) endpoint.Middleware {
	return func(next endpoint.Endpoint) endpoint.Endpoint {
		return func(ctx context.Context, req, resp any) error {
			if _, streams := resp.(*streaming.Result); streams {
				return next(ctx, req, resp)
			}
			start, call := time.Now(), rpcinfo.GetRPCInfo(ctx)
			err := next(ctx, req, resp)
			key := keyOf(call, "ok")
			key.server = call.To().ServiceName()
			if f := outcome(call, err); f != nil {
				key.code = string(f.Code)
			}
			times.record(ctx, start, key)
			return err
		}
	}
}
