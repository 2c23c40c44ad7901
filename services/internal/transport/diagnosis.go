package transport

import (
	"net/http"

	"github.com/cloudwego/kitex/client"
	"github.com/cloudwego/kitex/pkg/diagnosis"
	"github.com/cloudwego/kitex/pkg/serviceinfo"

	"github.com/kiteshop/kiteshop/services/internal/config"
	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

// Diagnose shows at the debug port what a service knows of itself: the settings
// in force, its latest spans, and how its server and its clients are now.
func Diagnose(life *lifecycle.Service, tel *telemetry.Telemetry, settings config.Settings) {
	tel.Diagnosis.Add("settings", func() any {
		values := map[string]string{}
		for _, value := range config.Effective(settings).Value.Group() {
			values[value.Key] = value.Value.String()
		}
		return values
	})
	life.HandleDebug("diagnosis/", "settings, connections and services, as JSON", http.StripPrefix("/debug/diagnosis/", tel.Diagnosis).ServeHTTP)
	if tel.Tracez != nil {
		life.HandleDebug("tracez", "the latest spans of this process; kept while somebody looks", tel.Tracez.ServeHTTP)
	}
}

// probes takes those that Kitex registers for one server or one client.
type probes struct {
	of    *telemetry.Diagnosis
	name  string // as server or client/stock; "" until a client has told its name
	early map[string]func() any
}

// RegisterProbeFunc implements diagnosis.Service. A client is set up before it tells its name.
func (p *probes) RegisterProbeFunc(name diagnosis.ProbeName, probe diagnosis.ProbeFunc) {
	if name == diagnosis.DestServiceKey {
		service, _ := probe().(string)
		p.name = "client/" + service
		for name, probe := range p.early {
			p.of.Add(p.name+"/"+name, probe)
		}
		return
	}
	shown := func() any { return readable(probe()) }
	if p.name == "" {
		p.early[string(name)] = shown
	} else {
		p.of.Add(p.name+"/"+string(name), shown)
	}
}

// String is what Kitex writes in its list of options.
func (*probes) String() string { return "/debug/diagnosis" }

// diagnosed makes each client that has it register its probes.
type diagnosed struct {
	by       *telemetry.Diagnosis
	balancer *balancer
	rules    *callRules // nil: there are none
}

// Options implements client.Suite. It is called once for each client.
func (d diagnosed) Options() []client.Option {
	early := map[string]func() any{"passed_over": func() any { return d.balancer.passedOver() }}
	if d.rules != nil {
		early["breakers"] = func() any { return d.rules.states() }
	}
	return []client.Option{client.WithDiagnosisService(&probes{of: d.by, early: early})}
}

// String is what Kitex writes in its list of options.
func (diagnosed) String() string { return "" }

// readable leaves the functions out of what a probe gives.
func readable(found any) any {
	infos, ok := found.(map[string]*serviceinfo.ServiceInfo)
	if !ok {
		return found
	}
	services := map[string]any{}
	for name, info := range infos {
		methods := map[string]string{}
		for method, about := range info.Methods {
			methods[method] = mode(about)
		}
		services[name] = map[string]any{"package": info.GetPackageName(), "payload": info.PayloadCodec.String(), "methods": methods}
	}
	return services
}

func mode(method serviceinfo.MethodInfo) string {
	switch {
	case method.OneWay():
		return "oneway"
	case method.StreamingMode() == serviceinfo.StreamingClient:
		return "stream of requests"
	case method.StreamingMode() == serviceinfo.StreamingServer:
		return "stream of answers"
	case method.StreamingMode() == serviceinfo.StreamingBidirectional:
		return "streams both ways"
	default:
		return "one request, one answer"
	}
}
