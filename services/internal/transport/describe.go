package transport

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/cloudwego/kitex/pkg/serviceinfo"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	oldreflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// readinessInterval is how late those who watch grpc.health.v1 may hear of a change.
const readinessInterval = time.Second

// description is what a server says of itself to gRPC clients.
type description struct {
	descriptors []byte
	ready       func(context.Context) map[string]string
	health      *health.Server
	updating    sync.Mutex // no older finding replaces a newer one
}

// Describe lets server reflection show descriptors, a FileDescriptorSet, and
// makes grpc.health.v1 say that the services serve while ready lists nothing
// that is missing. It is called before the server serves.
func (s *Server) Describe(descriptors []byte, ready func(context.Context) map[string]string) {
	s.about.descriptors, s.about.ready = descriptors, ready
}

// register adds health and reflection to what to serves.
func (s *Server) register(to *grpc.Server) error {
	healthpb.RegisterHealthServer(to, checked{s.about.health, s})
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(s.about.descriptors, &set); err != nil {
		return err
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		return err
	}
	for _, own := range []protoreflect.FileDescriptor{
		healthpb.File_grpc_health_v1_health_proto,
		reflectionpb.File_grpc_reflection_v1_reflection_proto,
		oldreflectionpb.File_grpc_reflection_v1alpha_reflection_proto,
	} {
		if err := files.RegisterFile(own); err != nil {
			return err
		}
	}
	options := reflection.ServerOptions{Services: listed{s, to}, DescriptorResolver: files, ExtensionResolver: protoregistry.GlobalTypes}
	reflectionpb.RegisterServerReflectionServer(to, reflection.NewServerV1(options))
	oldreflectionpb.RegisterServerReflectionServer(to, reflection.NewServer(options))
	return nil
}

// listed gives reflection the services of Kitex and of grpc-go.
type listed struct {
	kitex *Server
	grpc  *grpc.Server
}

// GetServiceInfo implements reflection.ServiceInfoProvider.
func (l listed) GetServiceInfo() map[string]grpc.ServiceInfo {
	all := maps.Clone(l.grpc.GetServiceInfo())
	for _, name := range l.kitex.grpcServices() {
		all[name] = grpc.ServiceInfo{}
	}
	return all
}

// grpcServices are the full names of the services that gRPC clients can call.
func (s *Server) grpcServices() (names []string) {
	for name, info := range s.GetServiceInfos() {
		if info.PayloadCodec == serviceinfo.Protobuf {
			names = append(names, info.GetPackageName()+"."+name)
		}
	}
	return names
}

// checked is the health of a server, looked up for each who asks.
type checked struct {
	*health.Server
	of *Server
}

// Check implements grpc.health.v1.
func (c checked) Check(ctx context.Context, req *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	c.of.updateHealth(ctx)
	return c.Server.Check(ctx, req)
}

// watchReadiness keeps what grpc.health.v1 says up to date until the server ends.
func (s *Server) watchReadiness() {
	tick := time.NewTicker(readinessInterval)
	defer tick.Stop()
	for {
		s.updateHealth(context.Background())
		select {
		case <-tick.C:
		case <-s.ended:
			return
		}
	}
}

// updateHealth says whether the services serve now. When the server has been
// told to stop, the health says so whatever is set here.
func (s *Server) updateHealth(ctx context.Context) {
	s.about.updating.Lock()
	defer s.about.updating.Unlock()
	now := healthpb.HealthCheckResponse_NOT_SERVING
	if s.isReady(ctx) {
		now = healthpb.HealthCheckResponse_SERVING
	}
	for _, name := range append(s.grpcServices(), "") { // "" is the server as a whole
		s.about.health.SetServingStatus(name, now)
	}
}

func (s *Server) isReady(ctx context.Context) bool {
	if s.about.ready == nil {
		return true
	}
	// A caller who gives up says nothing about the server.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readinessInterval)
	defer cancel()
	return len(s.about.ready(ctx)) == 0
}
