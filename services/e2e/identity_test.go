package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
	kitexclient "github.com/cloudwego/kitex/client"
	"github.com/cloudwego/kitex/pkg/transmeta"
	kitextransport "github.com/cloudwego/kitex/transport"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity/activityservice"
	stockapi "github.com/kiteshop/kiteshop/idl/kitex_gen/stock"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock/stockservice"
	"github.com/kiteshop/kiteshop/services/internal/identity"
)

func serviceNames() []string { return []string{"gateway", "item", "stock", "activity"} }

// identified makes a key and a certificate for each name, in dir.
func identified(t testing.TB, dir string, names ...string) identity.Config {
	t.Helper()
	for _, name := range names {
		key, certificate, err := identity.Make(name, time.Now(), 1)
		if err := errors.Join(err, os.WriteFile(filepath.Join(dir, name+".key"), key, 0o600), os.WriteFile(filepath.Join(dir, name+".crt"), certificate, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return identity.Config{Key: dir, Trust: dir, Required: true}
}

// fleet is all services as processes of their own, which ask who calls them.
type fleet struct {
	client
	program     string            // the shop's, for commands
	rpc, admins map[string]string // addresses
	keys, trust string            // directories
	logs        map[string]*lockedBuffer
}

func startFleet(t *testing.T) *fleet {
	t.Helper()
	root := t.TempDir()
	f := &fleet{
		program: build(t, "../.."), rpc: map[string]string{}, admins: map[string]string{}, logs: map[string]*lockedBuffer{},
		keys: filepath.Join(root, "keys"), trust: filepath.Join(root, "trust"),
	}
	f.makeKeys(t, f.keys)
	if err := os.Mkdir(f.trust, 0o700); err != nil {
		t.Fatal(err)
	}
	var registry []string
	for _, name := range serviceNames() {
		f.rpc[name], f.admins[name], f.logs[name] = freePort(t), freePort(t), &lockedBuffer{}
		if name != "gateway" {
			registry = append(registry, name+"="+f.rpc[name])
		}
	}
	for _, name := range append(serviceNames(), "operator") {
		copyFile(t, filepath.Join(f.keys, name+".crt"), filepath.Join(f.trust, name+".crt"))
	}
	for _, name := range serviceNames() {
		f.run(t, name, root, "static://"+strings.Join(registry, ","))
	}
	for _, name := range serviceNames() {
		eventually(t, name+" is ready", func() bool {
			response, err := http.Get("http://" + f.admins[name] + "/readyz")
			if err != nil {
				return false
			}
			defer response.Body.Close()
			return response.StatusCode == http.StatusOK
		})
	}
	f.client = client{t: t, base: "http://" + f.rpc["gateway"]}
	return f
}

func (f *fleet) run(t *testing.T, name, root, registry string) {
	t.Helper()
	args := []string{
		"-registry", registry, "-admin", f.admins[name], "-debug", "127.0.0.1:0",
		"-identity-key", filepath.Join(f.keys, name+".key"), "-identity-trust", f.trust,
	}
	switch name {
	case "gateway":
		args = append(args, "-http", f.rpc[name])
	case "activity":
		args = append(args, "-rpc", f.rpc[name])
	case "item":
		args = append(args, "-stock-budget", "10s", "-stock-max-age", "0s")
		fallthrough
	default:
		args = append(args, "-rpc", f.rpc[name], "-data", root, "-demo")
	}
	cmd := exec.Command(build(t, "../"+name+"/cmd"), args...)
	cmd.Stderr = f.logs[name]
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", name, f.logs[name].String())
		}
	})
}

// makeKeys has the program make them.
func (f *fleet) makeKeys(t *testing.T, dir string) {
	t.Helper()
	output, err := exec.Command(f.program, append([]string{"identity", "-keys", dir}, append(serviceNames(), "operator")...)...).CombinedOutput()
	if err != nil || !strings.HasPrefix(string(output), "5 keys and certificates are in "+dir+"; the certificates end at ") {
		t.Fatalf("it said %s, %v", output, err)
	}
}

// token is one of a service's, as that service would make it.
func (f *fleet) token(t *testing.T, keys, service, audience string) string {
	t.Helper()
	id, err := identity.Open(service, identity.Config{Key: keys, Trust: keys}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	bearer, err := id.Bearer(audience)
	if err != nil {
		t.Fatal(err)
	}
	return "authorization: " + bearer
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err := errors.Join(err, os.WriteFile(to, text, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// command runs one of the program, with the operator's key or with none.
func (f *fleet) command(identified bool, args ...string) (code int, output string) {
	if identified {
		args = append(args, "-identity-key", f.keys, "-identity-trust", f.trust)
	}
	cmd := exec.Command(f.program, args...)
	text, _ := cmd.CombinedOutput()
	return cmd.ProcessState.ExitCode(), string(text)
}

// TestServicesThatAskWhoCalls runs all services as they ship, with keys.
func TestServicesThatAskWhoCalls(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	for _, step := range []struct {
		name string
		do   func(t *testing.T, f *fleet)
	}{
		{"they make a shop", areAShop},
		{"they refuse strangers over each protocol", refuseStrangers},
		{"their keys are rotated under load without a failed request", rotateKeys},
	} {
		t.Run(step.name, func(t *testing.T) {
			f.t = t
			step.do(t, f)
		})
	}
}

func areAShop(t *testing.T, f *fleet) {
	var got struct{ Item item }
	f.send("GET", "/api/item", "").want(t, http.StatusOK, &got)
	if got.Item.Stock == nil || *got.Item.Stock != 100 {
		t.Errorf("item does not reach stock: %+v", got.Item)
	}
	id := f.stocked("Hat", 10)
	w := f.watch(watchPath(id))
	w.state()
	f.step(f.reserve(id, 3).ID, "commit")
	if last := w.until(3); last.Available != 7 {
		t.Errorf("the watch tells of %+v", last)
	}
	f.wantTrends("", "Hat 0 3", "Kitex 1 0") // told by oneway calls of stock and of gateway

	if code, output := f.command(true, "reconcile", "-stock", f.rpc["stock"]); code != 0 || output != "2 balances compared, 0 items low on stock\n" {
		t.Errorf("reconcile ended with %d and said %s", code, output)
	}
	if code, output := f.command(true, "client", "-item", f.rpc["item"], "-count", "1"); code != 0 || !strings.HasSuffix(output, "stock:100}\n") {
		t.Errorf("client ended with %d and said %s", code, output)
	}
	const refused = "kiteshop: internal: the stock service does not take the call: unauthenticated: StockService/Reconcile needs the token of a service, and the call has none\n"
	if code, output := f.command(false, "reconcile", "-stock", f.rpc["stock"]); code != 1 || output != refused {
		t.Errorf("reconcile without a key ended with %d and said %s", code, output)
	}

	for _, name := range serviceNames() {
		if denied := strings.Count(f.logs[name].String(), `"call denied"`); denied != 0 && name != "stock" || denied > 1 {
			t.Errorf("%s denied %d calls", name, denied)
		}
		if strings.Contains(f.logs[name].String(), "PRIVATE KEY") {
			t.Errorf("the log of %s has a key in it", name)
		}
	}
}

func refuseStrangers(t *testing.T, f *fleet) {
	g, foreign := newGrpcurl(t), filepath.Join(t.TempDir(), "foreign")
	f.makeKeys(t, foreign)
	const question = `{"item_id":1024}`
	for _, c := range []struct{ name, header, method, request, want string }{
		{"no token", "", "StockService/GetItemStock", question, `"code": 16`},
		{"a token of other keys", f.token(t, foreign, "gateway", "stock"), "StockService/GetItemStock", question, `"code": 16`},
		{"a token for another service", f.token(t, f.keys, "gateway", "item"), "StockService/GetItemStock", question, `"code": 16`},
		{"a service that is not listed", f.token(t, f.keys, "activity", "stock"), "StockService/GetItemStock", question, `"code": 7`},
		{"a service that is listed", f.token(t, f.keys, "gateway", "stock"), "StockService/GetItemStock", question, `"onHand": "100"`},
		{"a stream without a token", "", "StockService/WatchStock", question, `"code": 16`},
		{"a stream of another", f.token(t, f.keys, "gateway", "stock"), "StockService/SyncStock", `{}`, `"code": 7`},
	} {
		var header []string
		if c.header != "" {
			header = []string{"-H", c.header}
		}
		if got, _ := g.try(c.request, append(header, f.rpc["stock"], "stock."+c.method)...); !strings.Contains(got, c.want) {
			t.Errorf("grpcurl with %s is told\n%swant %s", c.name, got, c.want)
		}
	}
	if got, err := g.try("", f.rpc["stock"], "grpc.health.v1.Health/Check"); err != nil || !strings.Contains(got, "SERVING") {
		t.Errorf("the health, which is open, is %s, %v", got, err)
	}

	options := []kitexclient.Option{kitexclient.WithTransportProtocol(kitextransport.PurePayload), kitexclient.WithTransportProtocol(kitextransport.TTHeader), kitexclient.WithMetaHandler(transmeta.ClientTTHeaderHandler)}
	stocks, err1 := stockservice.NewClient("stock", append(options, kitexclient.WithHostPorts(f.rpc["stock"]))...)
	trends, err2 := activityservice.NewClient("activity", append(options, kitexclient.WithHostPorts(f.rpc["activity"]))...)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if _, err := stocks.GetItemStock(t.Context(), &stockapi.GetItemStockReq{ItemId: 1024}); err == nil || !strings.Contains(err.Error(), "StockService/GetItemStock needs the token of a service") {
		t.Errorf("Kitex over TTHeader: %v", err)
	}
	if _, err := trends.GetTrending(t.Context(), &activity.GetTrendingReq{}); err == nil || !strings.Contains(err.Error(), "ActivityService/GetTrending needs the token of a service") {
		t.Errorf("Thrift over TTHeader: %v", err)
	}
	if err := framedTrending(t, f.rpc["activity"]); err == nil || !strings.Contains(err.Error(), "framed and buffered Thrift cannot carry") {
		t.Errorf("framed Thrift: %v", err)
	}
}

// framedTrending asks as a client of Apache's does.
func framedTrending(t *testing.T, address string) error {
	t.Helper()
	cfg := &thrift.TConfiguration{ConnectTimeout: 30 * time.Second, SocketTimeout: 30 * time.Second}
	wire := thrift.NewTFramedTransportConf(thrift.NewTSocketConf(address, cfg), cfg)
	if err := wire.Open(); err != nil {
		t.Fatal(err)
	}
	defer wire.Close()
	protocol := thrift.NewTBinaryProtocolConf(wire, cfg)
	err := errors.Join(
		protocol.WriteMessageBegin(t.Context(), "GetTrending", thrift.CALL, 1),
		protocol.WriteFieldBegin(t.Context(), "req", thrift.STRUCT, 1), protocol.WriteFieldStop(t.Context()), protocol.WriteFieldStop(t.Context()),
		protocol.Flush(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	_, kind, _, err := protocol.ReadMessageBegin(t.Context())
	if err != nil || kind != thrift.EXCEPTION {
		t.Fatalf("it is answered with %d, %v", kind, err)
	}
	exception := thrift.NewTApplicationException(thrift.UNKNOWN_APPLICATION_EXCEPTION, "")
	if err := exception.Read(t.Context(), protocol); err != nil {
		t.Fatal(err)
	}
	return exception
}

// reloaded waits until each service has applied or refused so many changes.
func (f *fleet) reloaded(outcome string, count float64) {
	f.t.Helper()
	for _, name := range serviceNames() {
		f.reloadedBy(name, outcome, count)
	}
}

func (f *fleet) reloadedBy(name, outcome string, count float64) {
	f.t.Helper()
	eventually(f.t, fmt.Sprintf("%v changes are %s by %s", count, outcome, name), func() bool {
		for line := range strings.Lines((client{t: f.t, base: "http://" + f.admins[name]}).send("GET", "/metrics", "").body) {
			if strings.HasPrefix(line, `files_reloads_total{file="identity"`) && strings.Contains(line, `outcome="`+outcome+`"`) {
				return strings.HasSuffix(strings.TrimSpace(line), fmt.Sprint(" ", count))
			}
		}
		return false
	})
}

// rotateKeys takes the steps of the README of identity, and then puts a wrong file in place.
func rotateKeys(t *testing.T, f *fleet) {
	next := filepath.Join(t.TempDir(), "next")
	f.makeKeys(t, next)
	old := t.TempDir()
	for _, name := range []string{"gateway.key", "gateway.crt"} {
		copyFile(t, filepath.Join(f.keys, name), filepath.Join(old, name))
	}
	requests := load(t, f.base+"/api/item?id=1024")
	requests.more(100)

	replace := func(from, to string) { // as one change: no service sees a half
		t.Helper()
		copyFile(t, from, to+".new")
		if err := os.Rename(to+".new", to); err != nil {
			t.Fatal(err)
		}
	}
	var both []byte // first everybody knows the new certificates
	for _, name := range append(serviceNames(), "operator") {
		certificate, err := os.ReadFile(filepath.Join(next, name+".crt"))
		if err != nil {
			t.Fatal(err)
		}
		both = append(both, certificate...)
	}
	all := filepath.Join(t.TempDir(), "next.crt")
	if err := os.WriteFile(all, both, 0o600); err != nil {
		t.Fatal(err)
	}
	replace(all, filepath.Join(f.trust, "next.crt"))
	f.reloaded("applied", 1)
	requests.more(100)
	for _, name := range serviceNames() { // then each gets its new key
		replace(filepath.Join(next, name+".key"), filepath.Join(f.keys, name+".key"))
		f.reloadedBy(name, "applied", 2)
	}
	requests.more(100)
	for _, name := range serviceNames() { // and then the old certificates go
		if err := os.Remove(filepath.Join(f.trust, name+".crt")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(f.trust, "operator.crt")); err != nil {
		t.Fatal(err)
	}
	g := newGrpcurl(t)
	eventually(t, "the old key is not trusted", func() bool {
		got, _ := g.try(`{"item_id":1024}`, "-H", f.token(t, old, "gateway", "stock"), f.rpc["stock"], "stock.StockService/GetItemStock")
		return strings.Contains(got, "the token is signed by a key that is not trusted here")
	})
	requests.more(100)

	if err := os.WriteFile(filepath.Join(f.trust, "wrong.crt"), []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.reloaded("refused", 1)
	requests.more(100)
	for _, name := range serviceNames() {
		log := f.logs[name].String()
		if !strings.Contains(log, "a file is refused, what was read before it still holds") || !strings.Contains(log, "wrong.crt: it holds no block CERTIFICATE") {
			t.Errorf("%s does not say what is wrong: %s", name, log)
		}
		if gauge(t, f.admins[name], "files_wrong") != 1 {
			t.Errorf("no metric of %s says that a file is wrong", name)
		}
	}
	if sent, failed, example := requests.stop(); failed != 0 {
		t.Errorf("%d of %d requests failed, as %s", failed, sent, example)
	}
}
