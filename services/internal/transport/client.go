package transport

import (
	"context"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/cloudwego/kitex/client"
	"github.com/cloudwego/kitex/pkg/connpool"
	"github.com/cloudwego/kitex/pkg/remote"
	"github.com/cloudwego/kitex/pkg/remote/codec"
	kitexgrpc "github.com/cloudwego/kitex/pkg/remote/trans/nphttp2/grpc"
	remotemeta "github.com/cloudwego/kitex/pkg/remote/transmeta"
	"github.com/cloudwego/kitex/pkg/rpcinfo"
	"github.com/cloudwego/kitex/pkg/transmeta"
	"github.com/cloudwego/kitex/transport"
	"github.com/cloudwego/netpoll"

	"github.com/kiteshop/kiteshop/services/internal/discovery"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

const (
	// callTimeout bounds a call for which no policy and no timeout of its own does.
	callTimeout = 3 * time.Second
	// connectTimeout bounds one attempt to reach one instance.
	connectTimeout = 500 * time.Millisecond
	// maxIdle is how many connections to one instance wait for the next call.
	// Beyond Kitex's default of 10 every call would dial anew.
	maxIdle = 1024
	// streamConnections is how many connections to one instance have the streams:
	// with maxStreams on each that is 2,048. One more waits, as long as its context
	// allows, until another ends.
	streamConnections = 16
)

// ClientOptions make a generated client find its service in registry, name
// caller as the one who calls, follow the rules, and tell tel how it is and how
// long each attempt of a call takes.
func ClientOptions(caller string, registry *discovery.Registry, rules *Governance, tel *telemetry.Telemetry) ([]client.Option, error) {
	times, err := newCallTimes(tel, "rpc.client.call.duration", "Time of each attempt of a call.")
	if err != nil {
		return nil, err
	}
	balancer := newBalancer()
	if err := balancer.measure(tel.Meter); err != nil {
		return nil, err
	}
	diagnosis := diagnosed{by: tel.Diagnosis, balancer: balancer}
	ruled := []client.Option{client.WithRPCTimeout(callTimeout), client.WithConnectTimeout(connectTimeout)}
	if rules != nil {
		if diagnosis.rules, err = newCallRules(caller, rules.Policies, balancer, tel); err != nil {
			return nil, err
		}
		ruled = diagnosis.rules.options(tel)
	}
	return slices.Concat(balancer.options(), tracedClient(tel), []client.Option{
		client.WithSuite(diagnosis),
		client.WithResolver(registry.Resolver()),
		// Generated clients of services that stream set gRPC for everything; PurePayload takes that back.
		client.WithTransportProtocol(transport.PurePayload),
		client.WithTransportProtocol(transport.TTHeaderFramed | transport.GRPCStreaming),
		client.WithMetaHandler(deadlines{}),
		Identified(rules.identified()),
		client.WithClientBasicInfo(&rpcinfo.EndpointBasicInfo{ServiceName: caller}),
		client.WithCodec(codec.NewDefaultCodecWithSizeLimit(MaxMessageBytes)),
		client.WithGRPCConnPoolSize(streamConnections),
		client.WithGRPCKeepaliveParams(kitexgrpc.ClientKeepalive{Time: 20 * time.Second, Timeout: 10 * time.Second}),
		client.WithLongConnection(connpool.IdleConfig{
			MaxIdlePerAddress: maxIdle, MaxIdleGlobal: 10 * maxIdle, MaxIdleTimeout: time.Minute,
		}),
		client.WithMiddleware(clientObserver(times)),
		client.WithDialer(dialer{netpoll.NewDialer()}),
	}, ruled), nil
}

// writeTimeout bounds the sending of one request: an instance may take nothing.
const writeTimeout = 10 * time.Second

// dialer bounds what Kitex does not.
type dialer struct{ remote.Dialer }

// DialTimeout implements remote.Dialer.
func (d dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	conn, err := d.Dialer.DialTimeout(network, address, timeout)
	if open, ok := conn.(netpoll.Connection); ok && err == nil {
		err = open.SetWriteTimeout(writeTimeout)
	}
	return conn, err
}

// tracedClient gives each call a span and sends along what the context carries.
func tracedClient(tel *telemetry.Telemetry) []client.Option {
	if tel.Contributed != nil {
		return tel.Contributed.Client()
	}
	return []client.Option{
		client.WithMiddleware(clientSpans()),
		client.WithMetaHandler(transmeta.ClientTTHeaderHandler),
		client.WithMetaHandler(transmeta.ClientHTTP2Handler),
	}
}

// deadlines tells the server how much time is left. Kitex's own handler sends
// the client's timeout and ignores an earlier deadline of the context.
type deadlines struct{}

// WriteMeta implements remote.MetaHandler.
func (deadlines) WriteMeta(ctx context.Context, msg remote.Message) (context.Context, error) {
	left := msg.RPCInfo().Config().RPCTimeout()
	if deadline, ok := ctx.Deadline(); ok {
		left = time.Until(deadline)
	} else if left == 0 {
		return ctx, nil
	}
	msg.TransInfo().PutTransIntInfo(map[uint16]string{remotemeta.RPCTimeout: strconv.FormatInt(max(left.Milliseconds(), 1), 10)})
	return ctx, nil
}

// ReadMeta implements remote.MetaHandler.
func (deadlines) ReadMeta(ctx context.Context, _ remote.Message) (context.Context, error) {
	return ctx, nil
}
