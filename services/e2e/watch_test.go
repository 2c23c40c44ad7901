package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/sqldb/sqldbtest"
)

// event is one of a stream: the kind, the id, and the data.
type event struct{ kind, id, data string }

// watching is a stream of the stock of an item.
type watching struct {
	t      testing.TB
	header http.Header
	body   *bufio.Reader
	close  func()
}

func watchPath(id int64) string { return fmt.Sprintf("/api/v1/stock/%d/watch", id) }

// watch opens a stream, which ends with the test.
func (c client) watch(path string, header ...string) *watching {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	w := &watching{t: c.t, header: response.Header, body: bufio.NewReader(response.Body), close: func() {
		cancel()
		_ = response.Body.Close()
	}}
	c.t.Cleanup(w.close)
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(response.Body)
		c.t.Fatalf("%s: %s", response.Status, text)
	}
	return w
}

// try reads the next event. Comments and what is no event are passed over.
func (w *watching) try() (event, error) {
	var read event
	for {
		line, err := w.body.ReadString('\n')
		if err != nil {
			return event{}, err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "event":
			read.kind = value
		case "id":
			read.id = value
		case "data":
			read.data = value
		case "":
			if read.kind != "" {
				return read, nil
			}
		}
	}
}

func (w *watching) next() event {
	w.t.Helper()
	read, err := w.try()
	if err != nil {
		w.t.Fatal(err)
	}
	return read
}

// told is a state as an event has it.
type told struct {
	stock
	Behind bool `json:"behind"`
}

// state reads the next event, which must be a state whose id is its version.
func (w *watching) state() told {
	w.t.Helper()
	read := w.next()
	var state told
	if err := json.Unmarshal([]byte(read.data), &state); err != nil || read.kind != "stock" || read.id != strconv.FormatInt(state.Version, 10) {
		w.t.Fatalf("%v in %+v", err, read)
	}
	return state
}

// until reads states to the one with that version.
func (w *watching) until(version int64) (last told) {
	w.t.Helper()
	for last.Version < version {
		next := w.state()
		if next.Version <= last.Version {
			w.t.Errorf("after version %d came %d", last.Version, next.Version)
		}
		last = next
	}
	return last
}

// gauge reads a number of the metrics at an admin port; one that is not there is 0.
func gauge(t testing.TB, admin, name string) float64 {
	t.Helper()
	for line := range strings.Lines((client{t: t, base: "http://" + admin}).send("GET", "/metrics", "").body) {
		if strings.HasPrefix(line, name+"{") || strings.HasPrefix(line, name+" ") {
			value, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' '):]), 64)
			if err != nil {
				t.Fatal(err)
			}
			return value
		}
	}
	return 0
}

func TestAWatcherSeesEachChangeAsAReaderOfTheStockDoes(t *testing.T) {
	t.Parallel()
	onBothEngines(t, func(t *testing.T, s running) {
		id := s.stocked("Hat", 10)
		path := fmt.Sprintf("/api/v1/stock/%d", id)
		w := s.watch(watchPath(id))
		same := func(what string) {
			t.Helper()
			if got, want := w.next().data, s.send("GET", path, "").want(t, http.StatusOK, nil).body; got != want {
				t.Errorf("%s: the event is %s, and the stock %s", what, got, want)
			}
		}
		same("at first")
		held := s.reserve(id, 3).ID
		same("after a reservation")
		s.step(held, "commit")
		same("after it was committed")
		s.step(held, "fulfil")
		same("after it was fulfilled")
		s.send("POST", path+"/movements", `{"delta":4,"reason":"returned","location":"shelf"}`).want(t, http.StatusCreated, nil)
		same("after units came at another location")
	})
}

func TestAnItemThatNeverHadStockIsWatchedUntilItHas(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	id := s.create("Hat").ID
	w := s.watch(watchPath(id))
	if none := w.state(); none.balance != (balance{}) || none.ItemID != id {
		t.Errorf("before: %+v", none)
	}
	s.receive(id, 5)
	if some := w.state(); some.balance != (balance{OnHand: 5, Available: 5, Version: 1}) {
		t.Errorf("after: %+v", some.balance)
	}
}

func TestAWatcherThatComesBackIsToldWhatItMissed(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	id := s.stocked("Hat", 10)
	w := s.watch(watchPath(id))
	seen := w.next().id
	w.close()
	s.reserve(id, 1)
	s.reserve(id, 1)
	w = s.watch(watchPath(id), "Last-Event-ID: "+seen)
	missed := w.state()
	if missed.Held != 2 || missed.Behind {
		t.Errorf("it missed %+v", missed)
	}

	back := s.watch(watchPath(id)+"?cursor="+seen, fmt.Sprintf("Last-Event-ID: %d", missed.Version))
	s.reserve(id, 1)
	if next := back.state(); next.Held != 3 {
		t.Errorf("nothing was missed, and it was told %+v", next)
	}
}

func TestAWatcherSeesWhatAnotherShopReserves(t *testing.T) {
	t.Parallel()
	server := sqldbtest.StartPostgres(t)
	database := server.Database()
	one, other := open(t, config(database)), open(t, config(database))
	id := one.stocked("Hat", 100)
	w, theirs := one.watch(watchPath(id)), other.watch(watchPath(id))
	w.state()
	theirs.state()
	for held := range int64(10) {
		other.reserve(id, 1)
		for _, watcher := range []*watching{w, theirs} {
			if state := watcher.state(); state.Held != held+1 || state.Behind {
				t.Errorf("after reservation %d: %+v", held+1, state)
			}
		}
	}
}

func TestAllWatchersOfAnItemShareAStreamAndFreeItWhenTheyGo(t *testing.T) {
	t.Parallel()
	cfg := config(t.TempDir())
	cfg.Gateway.Lifecycle.Admin = freePort(t)
	s := open(t, cfg)
	counts := func(items, readers float64) func() bool {
		return func() bool {
			return gauge(t, cfg.Gateway.Lifecycle.Admin, "gateway_watch_items") == items && gauge(t, cfg.Gateway.Lifecycle.Admin, "gateway_watch_readers") == readers
		}
	}
	hat, mug := s.stocked("Hat", 100), s.stocked("Mug", 100)
	var all []*watching
	for range 20 {
		for _, id := range []int64{hat, mug} {
			w := s.watch(watchPath(id))
			w.state()
			all = append(all, w)
		}
	}
	eventually(t, "2 items are watched by 40 readers", counts(2, 40))
	s.reserve(hat, 1)
	s.reserve(mug, 1)
	for _, w := range all {
		if state := w.state(); state.Held != 1 {
			t.Errorf("a watcher sees %+v", state)
		}
	}
	for i, w := range all {
		if i%2 == 0 {
			w.close()
		}
	}
	eventually(t, "1 item is watched by 20 readers", counts(1, 20))
	for _, w := range all {
		w.close()
	}
	eventually(t, "nothing is watched", counts(0, 0))
}

// A gateway watches more items than a connection to stock takes calls.
func TestManyItemsAreWatchedAtATime(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	const items = 300
	ids, watchers := make([]int64, items), make([]*watching, items)
	for i := range ids {
		ids[i] = s.stocked(fmt.Sprintf("Hat %d", i), 10)
		watchers[i] = s.watch(watchPath(ids[i]))
		watchers[i].state()
	}
	for i, id := range ids {
		s.reserve(id, 1)
		if state := watchers[i].state(); state.ItemID != id || state.Held != 1 {
			t.Errorf("the watcher of item %d sees %+v", id, state)
		}
	}
}

// Of many changes at a time a watcher may miss some, but never the last one.
func TestEveryWatcherOfAHotItemSeesItsLastState(t *testing.T) {
	t.Parallel()
	onBothEngines(t, func(t *testing.T, s running) {
		const units, callers = 400, 8
		id := s.stocked("Hat", units)
		var watchers, buyers sync.WaitGroup
		for range 20 {
			w := s.watch(watchPath(id))
			w.state()
			watchers.Go(func() {
				if last := w.until(1 + units); last.Held != units || last.Available != 0 {
					t.Errorf("the last state is %+v", last)
				}
			})
		}
		for range callers {
			buyers.Go(func() {
				for range units / callers {
					s.reserve(id, 1)
				}
			})
		}
		buyers.Wait()
		watchers.Wait()
	})
}

func TestAShopThatIsWatchedStopsAtOnce(t *testing.T) {
	t.Parallel()
	s, stop := openUntil(t, config(t.TempDir()))
	var all []*watching
	for range 100 {
		w := s.watch(watchPath(1024))
		w.state()
		all = append(all, w)
	}
	began := time.Now()
	stop()
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it stopped within %s", took)
	}
	for _, w := range all {
		if last, err := w.try(); !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("a stream ended with %+v, %v", last, err)
		}
	}
}

// The stock service is stopped and started again under a gateway, then killed.
func TestWatchersSurviveARestartOfStock(t *testing.T) {
	t.Parallel()
	stocks := program(t, "stock")
	dir, address := t.TempDir(), freeAddress(t)
	runStock := func() (end func(syscall.Signal)) {
		cmd := run(t, stocks, "-rpc", address, "-data", dir, "-demo", "-registry", "static://stock="+address)
		return func(signal syscall.Signal) {
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
		}
	}
	cfg := config(t.TempDir()) // its own stock is asked by nobody
	cfg.Item.RPC = freeAddress(t)
	cfg.Gateway.Discovery.URL = fmt.Sprintf("static://item=%s,stock=%s", cfg.Item.RPC, address)
	end := runStock()
	s := open(t, cfg)
	eventually(t, "stock answers", func() bool { return s.send("GET", "/api/v1/stock/1024", "").status == http.StatusOK })
	w := s.watch(watchPath(1024))
	w.state()
	for held, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGTERM} {
		end(signal)
		end = runStock()
		eventually(t, "stock answers again", func() bool { return s.send("GET", "/api/v1/stock/1024", "").status == http.StatusOK })
		s.reserve(1024, 1)
		if state := w.state(); state.Held != int64(held)+1 {
			t.Errorf("after %v it is told %+v", signal, state)
		}
	}
}
