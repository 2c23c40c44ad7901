package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	kitexclient "github.com/cloudwego/kitex/client"
	"github.com/cloudwego/kitex/pkg/transmeta"
	kitextransport "github.com/cloudwego/kitex/transport"
	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kiteshop/kiteshop/idl"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity/activityservice"
	kitexstock "github.com/kiteshop/kiteshop/idl/kitex_gen/stock"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock/stockservice"
	"github.com/kiteshop/kiteshop/services/internal/discovery"
	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/policy"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

const (
	// envServeModel makes this test binary a model of a service, with the file of
	// policies that it names.
	envServeModel = "E2E_SERVE_MODEL"
	// A model has as many workers, as a pool of connections to a database, and each
	// needs as long for a call: 200 calls a second saturate it.
	modelWorkers = 4
	modelTakes   = 20 * time.Millisecond
	modelRate    = int(modelWorkers * time.Second / modelTakes)
	// modelRules let in what is worked on at once, and as much wait.
	modelRules = `methods:
  StockService/GetReservation: {concurrent: 4, waiting: 4}
  ActivityService/GetTrending: {concurrent: 4, waiting: 4}
`
	overloadTakes = 5 * time.Second
	// maxAsked is how many calls are under way at most, as of a gateway. What would be more is left out.
	maxAsked = 1024
)

// BenchmarkOverload asks a service for ten times what saturates it, over each
// protocol. The service is a model with a known limit, in a process of its own,
// so that the clients, who share its cores, are not what is measured. They ask at
// a fixed rate, whatever comes back. One iteration is 5 s at a tenth of what
// saturates, and 5 s of overload.
//
// p99-ms is of the calls without load, x-p99 what that of those becomes that are
// let in under overload, x-rate their number against what saturates,
// refused-p99-ms the refusals' time, failed the calls that had another end, recovery-ms the time from the end of the
// overload to the end of ten calls one after the other that take no longer than without it, MB what the process has then.
func BenchmarkOverload(b *testing.B) {
	for name, dial := range map[string]func(*testing.B, *modelled) func(context.Context) error{
		"TTHeader": dialModelTTHeader, "gRPC": dialModelGRPC, "Thrift": dialModelThrift, "HTTP": dialModelHTTP,
	} {
		b.Run(name, func(b *testing.B) {
			m := startModel(b)
			overload(b, dial(b, m), modelRate, m.process)
		})
	}
}

// overload measures call, which rate calls a second saturate.
func overload(b *testing.B, call func(context.Context) error, rate int, server *os.Process) {
	b.Helper()
	askFor(b.Context(), call, rate/10, time.Second) // connections are opened
	figures := map[string][]float64{}
	for b.Loop() {
		calm := askFor(b.Context(), call, rate/10, overloadTakes)
		flood := askFor(b.Context(), call, rate*10, overloadTakes)
		note(b, figures, calm, flood, call, server)
		figures["x-rate"] = append(figures["x-rate"], float64(len(flood.answered))/overloadTakes.Seconds()/float64(rate))
	}
	reportMedians(b, figures)
}

// note adds what calls without load and under overload tell, and how it is after them.
func note(b *testing.B, figures map[string][]float64, calm, flood asked, call func(context.Context) error, server *os.Process) {
	b.Helper()
	if calm.failed > 0 || len(calm.refused) > 0 {
		b.Fatalf("without load %d were refused and %d failed: %v", len(calm.refused), calm.failed, calm.why)
	}
	alone := percentile(calm.answered, 0.99)
	for unit, value := range map[string]float64{
		"p99-ms": alone, "x-p99": percentile(flood.answered, 0.99) / alone, "refused-p99-ms": percentile(flood.refused, 0.99), "failed": float64(flood.failed),
		"recovery-ms": recovery(b, call, 2*alone), "MB": megabytes(b, server),
	} {
		figures[unit] = append(figures[unit], value)
	}
}

// reportMedians gives the medians.
func reportMedians(b *testing.B, figures map[string][]float64) {
	b.Helper()
	b.ReportMetric(0, "ns/op")
	for unit, values := range figures {
		slices.Sort(values)
		b.ReportMetric(values[len(values)/2], unit)
	}
}

// asked is what became of calls: their times in ms.
type asked struct {
	answered, refused []float64
	failed            int
	why               error // of one that failed
}

// askFor makes rate calls a second, each when its time has come.
func askFor(ctx context.Context, call func(context.Context) error, rate int, last time.Duration) (all asked) {
	var group sync.WaitGroup
	var mu sync.Mutex
	room := semaphore.NewWeighted(maxAsked)
	start := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for begun := 0; begun < int(last.Seconds()*float64(rate)); <-tick.C {
		for due := int(time.Since(start).Seconds() * float64(rate)); begun < due; begun++ {
			if !room.TryAcquire(1) {
				continue
			}
			group.Go(func() {
				defer room.Release(1)
				began := time.Now()
				err := call(ctx)
				took := time.Since(began).Seconds() * 1000
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					all.answered = append(all.answered, took)
				case isOverloaded(err):
					all.refused = append(all.refused, took)
				default:
					all.failed, all.why = all.failed+1, err
				}
			})
		}
	}
	group.Wait()
	return all
}

// recovery is how many ms pass until ten calls, one after the other, are answered within limit ms.
func recovery(b *testing.B, call func(context.Context) error, limit float64) float64 {
	b.Helper()
	start := time.Now()
	for good := 0; good < 10; {
		began := time.Now()
		good++
		if err := call(b.Context()); err != nil || time.Since(began).Seconds()*1000 > limit {
			good = 0
		}
		if time.Since(start) > time.Minute {
			b.Fatal("it has not recovered within a minute")
		}
	}
	return time.Since(start).Seconds() * 1000
}

// errRefused is a refusal over HTTP.
var errRefused = errors.New("overloaded")

func isOverloaded(err error) bool {
	return errors.Is(err, errRefused) || status.Code(err) == codes.ResourceExhausted || fault.CodeOf(transport.ReadFault("", err)) == fault.Overloaded
}

func percentile(values []float64, part float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[int(float64(len(values)-1)*part)]
}

// megabytes is the memory of a process that is in use now.
func megabytes(b *testing.B, process *os.Process) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	_, resident, _ := strings.Cut(string(text), "VmRSS:")
	kilobytes, err := strconv.ParseFloat(strings.Fields(resident)[0], 64)
	if err != nil {
		b.Fatal(err)
	}
	return kilobytes / 1024
}

// model is a service with so many workers.
type model struct {
	kitexstock.StockService
	workers *semaphore.Weighted
}

func (m *model) work(ctx context.Context) error {
	if err := m.workers.Acquire(ctx, 1); err != nil {
		return err
	}
	defer m.workers.Release(1)
	time.Sleep(modelTakes)
	return nil
}

func (m *model) GetReservation(ctx context.Context, req *kitexstock.GetReservationReq) (*kitexstock.ReservationResp, error) {
	return &kitexstock.ReservationResp{Reservation: &kitexstock.Reservation{Id: req.GetId()}}, m.work(ctx)
}

// modelTrends is a model that is asked by Thrift.
type modelTrends struct {
	activity.ActivityService
	*model
}

func (m *modelTrends) GetTrending(ctx context.Context, _ *activity.GetTrendingReq) (*activity.GetTrendingResp, error) {
	return &activity.GetTrendingResp{}, m.work(ctx)
}

// serveModel runs a model with the policies of a file, and prints where.
func serveModel(ctx context.Context, rules string) error {
	tel, err1 := telemetry.New("model", telemetry.Config{})
	policies, err2 := policy.Open(policy.Config{File: rules}, idl.Policies())
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	server, err := transport.NewServer("127.0.0.1:0", &transport.Governance{Policies: policies}, tel)
	if err != nil {
		return err
	}
	m := &model{workers: semaphore.NewWeighted(modelWorkers)}
	if err := errors.Join(stockservice.RegisterService(server, m), activityservice.RegisterService(server, &modelTrends{model: m})); err != nil {
		return err
	}
	server.Describe(idl.Descriptors(), nil)
	fmt.Println(server.Addr())
	part := server.Part()
	context.AfterFunc(ctx, func() { _ = part.Stop(context.Background()) })
	return part.Serve()
}

// modelled is a model in a process of its own.
type modelled struct {
	address string
	process *os.Process
}

func startModel(b *testing.B) *modelled {
	b.Helper()
	rules := filepath.Join(b.TempDir(), "policies.yaml")
	if err := os.WriteFile(rules, []byte(modelRules), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envServeModel+"="+rules)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	address, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return &modelled{strings.TrimSpace(address), cmd.Process}
}

func (m *modelled) options(b *testing.B, service string) []kitexclient.Option {
	b.Helper()
	options, err := clientsOf("static://" + service + "=" + m.address)
	if err != nil {
		b.Fatal(err)
	}
	return options
}

// clientsOf are options for clients of the services in a registry, until the process ends.
func clientsOf(registry string) ([]kitexclient.Option, error) {
	tel, err1 := telemetry.New("benchmark", telemetry.Config{})
	known, err2 := discovery.Open(discovery.Config{URL: registry}, slog.New(slog.DiscardHandler))
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	return transport.ClientOptions("benchmark", known, nil, tel)
}

const modelReservation = "01890a5d-ac96-774b-bcce-b302099a8057"

func dialModelTTHeader(b *testing.B, m *modelled) func(context.Context) error {
	return getReservation(b, m.options(b, "stock")...)
}

func dialModelGRPC(b *testing.B, m *modelled) func(context.Context) error {
	return getReservation(b, kitexclient.WithHostPorts(m.address), kitexclient.WithTransportProtocol(kitextransport.GRPC), kitexclient.WithMetaHandler(transmeta.ClientHTTP2Handler))
}

func getReservation(b *testing.B, options ...kitexclient.Option) func(context.Context) error {
	b.Helper()
	stocks, err := stockservice.NewClient("stock", options...)
	if err != nil {
		b.Fatal(err)
	}
	return func(ctx context.Context) error {
		_, err := stocks.GetReservation(ctx, &kitexstock.GetReservationReq{Id: modelReservation})
		return err
	}
}

func dialModelThrift(b *testing.B, m *modelled) func(context.Context) error {
	trends, err := activityservice.NewClient("activity", m.options(b, "activity")...)
	if err != nil {
		b.Fatal(err)
	}
	return func(ctx context.Context) error {
		_, err := trends.GetTrending(ctx, &activity.GetTrendingReq{})
		return err
	}
}

// dialModelHTTP asks a gateway in front of the model.
func dialModelHTTP(b *testing.B, m *modelled) func(context.Context) error {
	address := steadyPort(b)
	runLogged(b, build(b, "../gateway/cmd"), os.DevNull, nil, "-http", address, "-record=false", "-log-level", "error", "-admin", "127.0.0.1:0", "-debug", "127.0.0.1:0",
		"-registry", "static://item=127.0.0.1:1,stock="+m.address)
	requests := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1024}}
	call := func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/api/v1/reservations/"+modelReservation, nil)
		if err != nil {
			return err
		}
		response, err := requests.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		switch {
		case err != nil || response.StatusCode == http.StatusOK:
			return err
		case strings.Contains(string(body), `"code":"overloaded"`):
			return errRefused
		default:
			return fmt.Errorf("%s: %s", response.Status, body)
		}
	}
	eventually(b, "the gateway answers", func() bool { return call(b.Context()) == nil })
	return call
}
