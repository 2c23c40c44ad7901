package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// BenchmarkTelemetry compares what GET /items/{id} costs the gateway, item and
// stock, each a process, when all is sent to a collector, when a tenth of the
// traces is and all of the rest, and when nothing is: their user and system time.
// One iteration is 3000 requests to each side, in turns; run it with -benchtime
// 20x or more. A figure is the median of the ratios to the side that sends
// nothing, with the interval that has the true median with 95 %.
func BenchmarkTelemetry(b *testing.B) {
	sink := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer sink.Close()
	programs := buildServices(b, "..")
	endpoint := "OTEL_EXPORTER_OTLP_ENDPOINT=" + sink.URL
	compareSides(b, []string{"all", "tenth", "off"}, []*side{
		startSide(b, programs, sideOptions{environment: []string{endpoint}}),
		startSide(b, programs, sideOptions{environment: []string{endpoint}, flags: []string{"-sample-ratio", "0.1"}}),
		startSide(b, programs, sideOptions{}),
	})
}

// compareSides reports how much more user and system time each side takes than the last one.
func compareSides(b *testing.B, names []string, sides []*side) {
	b.Helper()
	for _, s := range sides {
		s.round(b)
	}
	ratios := make([][]float64, len(sides)-1)
	var micros []float64
	for i := 0; b.Loop(); i++ {
		used := make([]float64, len(sides))
		for turn := range sides {
			at := (i + turn) % len(sides)
			before := sides[at].seconds(b)
			sides[at].round(b)
			used[at] = sides[at].seconds(b) - before
		}
		off := used[len(sides)-1]
		for at := range ratios {
			ratios[at] = append(ratios[at], used[at]/off)
		}
		micros = append(micros, off/roundRequests*1e6)
	}
	b.ReportMetric(0, "ns/op")
	for at, of := range ratios {
		slices.Sort(of)
		low, high := medianInterval(len(of))
		b.ReportMetric(of[len(of)/2], "x-"+names[at])
		b.ReportMetric(of[low], "x-"+names[at]+"-low")
		b.ReportMetric(of[high], "x-"+names[at]+"-high")
	}
	slices.Sort(micros)
	b.ReportMetric(micros[len(micros)/2], "µs-"+names[len(names)-1]+"/request")
}

// medianInterval gives the first and the last of count sorted values between
// which the median lies with 95 %.
func medianInterval(count int) (low, high int) {
	below, term := 0.0, 1.0 // of the binomial distribution with one half
	for range count {
		term /= 2
	}
	for low = 0; low < count/2 && below+term <= 0.025; low++ {
		below += term
		term *= float64(count-low) / float64(low+1)
	}
	low = max(low-1, 0)
	return low, count - 1 - low
}

const roundRequests = 3000

// roundCallers ask at the same time, each for an item of its own: those who ask
// for the same would share a call of stock.
const roundCallers = 8

// side is three processes that serve one shop.
type side struct {
	client
	requests  *http.Client // keeps a connection for each caller
	items     []string     // paths
	key       string       // "": the gateway takes none
	processes []*os.Process
}

// sideOptions are what one side has and another has not.
type sideOptions struct {
	flags       []string // of each service
	gateway     []string // more of the gateway
	key         string   // that the gateway takes
	environment []string
}

// buildServices makes the programs of the services in a directory.
func buildServices(b *testing.B, dir string) map[string]string {
	b.Helper()
	programs := map[string]string{}
	for _, name := range []string{"stock", "item", "gateway"} {
		programs[name] = filepath.Join(b.TempDir(), name)
		if output, err := exec.Command("go", "build", "-C", dir, "-o", programs[name], "./"+name+"/cmd").CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, output)
		}
	}
	return programs
}

func startSide(b *testing.B, programs map[string]string, options sideOptions) *side {
	b.Helper()
	dir := b.TempDir()
	rpc := map[string]string{"stock": freePort(b), "item": freePort(b)}
	address := freePort(b)
	registry := "static://item=" + rpc["item"] + ",stock=" + rpc["stock"]
	s := &side{
		client:   client{b, "http://" + address},
		requests: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: roundCallers}},
		key:      options.key,
	}
	for _, name := range []string{"stock", "item", "gateway"} {
		args := append([]string{"-registry", registry, "-admin", "127.0.0.1:0", "-debug", "127.0.0.1:0"}, options.flags...)
		switch name {
		case "gateway":
			args = append(args, "-http", address, "-record=false")
			args = append(args, options.gateway...)
		case "item":
			args = append(args, "-stock-max-age", "0s") // else stock is hardly asked
			fallthrough
		default:
			args = append(args, "-rpc", rpc[name], "-data", dir, "-demo")
		}
		cmd := exec.Command(programs[name], args...)
		cmd.Env = append(os.Environ(), options.environment...)
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		s.processes = append(s.processes, cmd.Process)
	}
	eventually(b, "the shop answers", func() bool { return s.get("/api/v1/items/1024") == nil })
	for range roundCallers {
		var made item
		s.send("POST", "/api/v1/items", `{"title":"Tea"}`, s.header()...).want(b, http.StatusCreated, &made)
		s.items = append(s.items, fmt.Sprintf("/api/v1/items/%d", made.ID))
	}
	return s
}

func (s *side) header() []string {
	if s.key == "" {
		return nil
	}
	return []string{"Authorization: Bearer " + s.key}
}

func (s *side) get(path string) error {
	request, err := http.NewRequest(http.MethodGet, s.base+path, nil)
	if err != nil {
		return err
	}
	for _, line := range s.header() {
		name, value, _ := strings.Cut(line, ": ")
		request.Header.Set(name, value)
	}
	response, err := s.requests.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && (response.StatusCode != http.StatusOK || strings.Contains(string(body), `"stock":null`)) {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	return err
}

func (s *side) round(b *testing.B) {
	b.Helper()
	var all sync.WaitGroup
	for _, path := range s.items {
		all.Go(func() {
			for range roundRequests / roundCallers {
				if err := s.get(path); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// seconds is the user and system time that the processes have used.
func (s *side) seconds(b *testing.B) (sum float64) {
	b.Helper()
	for _, process := range s.processes {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", process.Pid))
		if err != nil {
			b.Fatal(err)
		}
		_, text, _ := strings.Cut(string(stat), ") ")
		for _, ticks := range strings.Fields(text)[11:13] {
			count, err := strconv.ParseFloat(ticks, 64)
			if err != nil {
				b.Fatal(err)
			}
			sum += count / 100 // Linux counts in hundredths of a second
		}
	}
	return sum
}
