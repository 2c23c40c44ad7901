package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudwego/hertz/pkg/common/hlog"
	"github.com/cloudwego/kitex/pkg/klog"

	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/shop"
)

// envRunShop makes this test binary run a shop on the directory that it names
// instead of tests, so that tests can kill a process.
const envRunShop = "E2E_RUN_SHOP"

func TestMain(m *testing.M) {
	if dir := os.Getenv(envRunShop); dir != "" {
		lifecycle.Main(func(ctx context.Context, _ []string) error {
			opened, err := shop.New(ctx, config(dir))
			if err != nil {
				return err
			}
			return opened.Run(ctx, func() { fmt.Println(opened.Addr()) })
		})
		return
	}
	if rules := os.Getenv(envServeModel); rules != "" {
		lifecycle.Main(func(ctx context.Context, _ []string) error { return serveModel(ctx, rules) })
		return
	}
	if spec := os.Getenv(envFlood); spec != "" {
		lifecycle.Main(func(ctx context.Context, _ []string) error { return flood(ctx, spec) })
		return
	}
	klog.SetOutput(io.Discard) // the services have logs of their own
	hlog.SetOutput(io.Discard)
	os.Exit(m.Run())
}

// config is a shop on free ports, with the demo item. Its data is in a
// directory or, if that is the URL of one, in a PostgreSQL database.
func config(data string) shop.Config {
	cfg := shop.DefaultConfig()
	if strings.HasPrefix(data, "postgres://") {
		cfg.Item.Store.Store = sqldb.Location(data)
	} else {
		cfg.Item.Store.Data = data
	}
	cfg.Gateway.Telemetry.Output = nil
	cfg.Item.StockBudget = 2 * time.Second // on a busy machine stock must be in the answer too
	for _, address := range []*string{
		&cfg.Gateway.HTTP, &cfg.Item.RPC, &cfg.Stock.RPC, &cfg.Activity.RPC,
		&cfg.Gateway.Lifecycle.Admin, &cfg.Item.Lifecycle.Admin, &cfg.Stock.Lifecycle.Admin, &cfg.Activity.Lifecycle.Admin,
		&cfg.Gateway.Lifecycle.Debug, &cfg.Item.Lifecycle.Debug, &cfg.Stock.Lifecycle.Debug, &cfg.Activity.Lifecycle.Debug,
	} {
		*address = "127.0.0.1:0"
	}
	return cfg
}

// running is a shop in this process.
type running struct {
	*shop.Shop
	client
}

// open starts a shop that stops with the test.
func open(t testing.TB, cfg shop.Config) running {
	t.Helper()
	s, _ := openUntil(t, cfg)
	return s
}

// openUntil starts a shop that runs until stop, or until the test ends.
func openUntil(t testing.TB, cfg shop.Config) (s running, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	opened, err := shop.New(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- opened.Run(ctx, func() { close(ready) }) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the shop ended with %v", err)
		}
	})
	t.Cleanup(stop)
	<-ready
	return running{opened, client{t: t, base: "http://" + opened.Addr().String()}}, stop
}

// process is a shop in a process of its own.
type process struct {
	*exec.Cmd
	client
}

// start runs a shop on dir until it is killed.
func start(t *testing.T, dir string) process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envRunShop+"="+dir)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	var address string
	if _, err := fmt.Fscanln(stdout, &address); err != nil {
		t.Fatalf("the shop said no address: %v", err)
	}
	return process{cmd, client{t: t, base: "http://" + address}}
}

// kill ends the process as kill -9 does, and waits until it is gone.
func (p process) kill() {
	_ = p.Process.Kill()
	_ = p.Wait()
}

// client talks HTTP to a shop.
type client struct {
	t    testing.TB
	base string
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// send makes a request. header is "Name: value" lines; a body without a
// Content-Type is JSON.
func (c client) send(method, path, body string, header ...string) answer {
	c.t.Helper()
	got, err := c.try(method, path, strings.NewReader(body), header...)
	if err != nil {
		c.t.Fatal(err)
	}
	return got
}

// try is send for a request that may find nobody at the other end.
func (c client) try(method, path string, body io.Reader, header ...string) (answer, error) {
	request, err := http.NewRequest(method, c.base+path, body)
	if err != nil {
		return answer{}, err
	}
	if method == http.MethodPost || method == http.MethodPatch {
		request.Header.Set("Content-Type", "application/json")
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, string(text)}, err
}

// want fails the test unless the status is the expected one, and decodes the body into value.
func (a answer) want(t testing.TB, status int, value any) answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	if value != nil {
		decoder := json.NewDecoder(bytes.NewReader([]byte(a.body)))
		if err := decoder.Decode(value); err != nil {
			t.Fatalf("%v in %s", err, a.body)
		}
	}
	return a
}

// The shapes of the contract, as a client has them.
type (
	money struct {
		Amount   int64  `json:"amount"`
		Currency string `json:"currency"`
	}
	item struct {
		ID          int64             `json:"id"`
		SKU         string            `json:"sku"`
		Title       string            `json:"title"`
		Description string            `json:"description"`
		Handle      string            `json:"handle"`
		Options     map[string]string `json:"options"`
		Vendor      string            `json:"vendor"`
		Type        string            `json:"type"`
		Tags        []string          `json:"tags"`
		Price       *money            `json:"price"`
		Images      []string          `json:"images"`
		Status      string            `json:"status"`
		Stock       *int64            `json:"stock"`
		Version     int64             `json:"version"`
		CreatedAt   string            `json:"created_at"`
		UpdatedAt   string            `json:"updated_at"`
	}
	page struct {
		Items  []item `json:"items"`
		Next   string `json:"next_cursor"`
		Capped bool   `json:"capped"`
	}
	balance struct {
		OnHand    int64 `json:"on_hand"`
		Available int64 `json:"available"`
		Held      int64 `json:"held"`
		Committed int64 `json:"committed"`
		Version   int64 `json:"version"`
	}
	stock struct {
		ItemID int64 `json:"item_id"`
		balance
		Policy    string `json:"policy"`
		Locations []struct {
			Location string `json:"location"`
			balance
		} `json:"locations"`
	}
	movement struct {
		ID        int64  `json:"id"`
		Delta     int64  `json:"delta"`
		Reason    string `json:"reason"`
		Reference string `json:"reference"`
		Location  string `json:"location"`
		Stock     stock  `json:"stock"`
	}
	movements struct {
		Items []movement `json:"items"`
		Next  string     `json:"next_cursor"`
	}
	rowError struct {
		Line   int    `json:"line"`
		Column string `json:"column"`
		Reason string `json:"reason"`
	}
	report struct {
		Created   int        `json:"created"`
		Unchanged int        `json:"unchanged"`
		Updated   int        `json:"updated"`
		Rows      int        `json:"rows"`
		Errors    []rowError `json:"errors"`
	}
	field struct {
		Field  string `json:"field"`
		Reason string `json:"reason"`
	}
	problem struct {
		Type     string  `json:"type"`
		Title    string  `json:"title"`
		Status   int     `json:"status"`
		Detail   string  `json:"detail"`
		Instance string  `json:"instance"`
		Code     string  `json:"code"`
		Errors   []field `json:"errors"`
	}
)

// create makes an item with a title.
func (c client) create(title string) item {
	c.t.Helper()
	var made item
	c.send("POST", "/api/v1/items", fmt.Sprintf(`{"title":%q}`, title)).want(c.t, http.StatusCreated, &made)
	return made
}

// receive adds units to an item.
func (c client) receive(id, units int64) movement {
	c.t.Helper()
	var made movement
	c.send("POST", fmt.Sprintf("/api/v1/stock/%d/movements", id), fmt.Sprintf(`{"delta":%d,"reason":"received"}`, units)).want(c.t, http.StatusCreated, &made)
	return made
}

// importCSV sends a product file.
func (c client) importCSV(file, query string) report {
	c.t.Helper()
	var got report
	c.send("POST", "/api/v1/imports"+query, file, "Content-Type: text/csv").want(c.t, http.StatusOK, &got)
	return got
}
