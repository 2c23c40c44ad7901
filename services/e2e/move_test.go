package e2e

import (
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// command is a request with a key, and what it was answered.
type command struct {
	method, path, body, key string
	was                     answer
}

func (c command) send(to client) answer {
	return to.send(c.method, c.path, c.body, "Idempotency-Key: "+c.key)
}

// trade does a bit of everything with a shop, each with a key, and leaves
// reservations in all states.
func trade(t *testing.T, c client) (commands []command, hat, deleted int64) {
	t.Helper()
	do := func(method, path, body string, status int, value any) {
		t.Helper()
		one := command{method: method, path: path, body: body, key: fmt.Sprint("key ", len(commands))}
		one.was = one.send(c).want(t, status, value)
		commands = append(commands, one)
	}
	var made item
	do("POST", "/api/v1/items", `{"title":"Straw Hat","sku":"hat","vendor":"Ünder","tags":["sun","beach"],"options":{"Size":"L"},"price":{"amount":1999,"currency":"EUR"}}`, http.StatusCreated, &made)
	hat = made.ID
	do("PATCH", fmt.Sprint("/api/v1/items/", hat), `{"description":"it's \\ \"wide\"\n\tand 🪁"}`, http.StatusOK, nil)
	do("POST", "/api/v1/items", `{"title":"Mistake"}`, http.StatusCreated, &made)
	deleted = made.ID
	do("DELETE", fmt.Sprint("/api/v1/items/", deleted), "", http.StatusNoContent, nil)
	do("PATCH", fmt.Sprint("/api/v1/stock/", hat), `{"policy":"backorder","low_stock_threshold":50}`, http.StatusOK, nil)
	do("POST", fmt.Sprintf("/api/v1/stock/%d/movements", hat), `{"delta":40,"reason":"received","reference":"PO-7"}`, http.StatusCreated, nil)
	do("POST", fmt.Sprintf("/api/v1/stock/%d/movements", hat), `{"delta":2,"reason":"received","location":"shelf"}`, http.StatusCreated, nil)
	for _, end := range [][]string{{}, {"commit"}, {"commit", "fulfil"}, {"release"}, {"extend"}} {
		var held reservation
		do("POST", reservations, fmt.Sprintf(`{"lines":[{"item_id":%d,"quantity":3},{"item_id":1024,"quantity":1}],"reference":"cart"}`, hat), http.StatusCreated, &held)
		for _, step := range end {
			body := ""
			if step == "extend" {
				body = `{"ttl_seconds":3600}`
			}
			do("POST", reservations+"/"+held.ID+"/"+step, body, http.StatusOK, nil)
		}
	}
	do("POST", reservations, `{"lines":[{"item_id":1024,"quantity":5}],"reference":"late"}`, http.StatusCreated, nil)
	c.importCSV("Handle,Title,Variant Price,Variant SKU,Variant Inventory Qty\ncap,Cap,9.99,cap-1,7\n", "")
	return commands, hat, deleted
}

// everything is what a shop answers to all questions.
func everything(c client, items ...int64) map[string]string {
	paths := []string{
		"/api/v1/items", "/api/v1/items?limit=1", "/api/v1/items?q=hat", "/api/v1/items?q=wid", "/api/v1/items?q=under+beach", "/api/v1/items?q=cap",
		"/api/v1/stock", "/api/v1/stock?below_threshold=true", reservations, reservations + "?state=HELD", reservations + "?reference=cart&limit=2",
	}
	for _, id := range items {
		paths = append(paths, fmt.Sprint("/api/v1/items/", id), fmt.Sprint("/api/v1/stock/", id), fmt.Sprintf("/api/v1/stock/%d/movements", id),
			fmt.Sprint(reservations, "?item_id=", id))
	}
	answers := map[string]string{}
	for _, path := range paths {
		got := c.send("GET", path, "")
		body, _, _ := strings.Cut(got.body, `"request_id"`) // of a problem; each has its own
		answers[path] = fmt.Sprint(got.status, got.header.Get("ETag"), body)
	}
	return answers
}

func TestAMovedShopGoesOnAsIfNothingHadHappened(t *testing.T) {
	t.Parallel()
	program, dir := build(t, "../.."), t.TempDir()
	before := config(dir)
	before.Item.StockMaxAge = 0
	onFile, stop := openUntil(t, before)
	commands, hat, deleted := trade(t, onFile.client)
	last := onFile.receive(1024, 1).ID
	was := everything(onFile.client, 1024, hat, deleted)

	cfg, _ := onPostgres(t)
	cfg.Item.StockMaxAge = 0
	move := func(code int, want string) {
		t.Helper()
		cmd := exec.Command(program, "move", "-data", dir, "-store", string(cfg.Item.Store.Store))
		output, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != code || !strings.Contains(string(output), want) {
			t.Errorf("it ended with %d and said\n%swant %d and %s", cmd.ProcessState.ExitCode(), output, code, want)
		}
	}
	move(1, "is in use by process")
	stop()
	move(0, "stock    reservations        6      ")
	move(1, "schema stock: the table items has rows, and nothing is mixed: give a database that no shop has used")

	s, stop := openUntil(t, cfg)
	is := everything(s.client, 1024, hat, deleted)
	for question, want := range was {
		if is[question] != want {
			t.Errorf("%s is answered\n%s\nwant\n%s", question, is[question], want)
		}
	}
	if next := s.receive(1024, 1).ID; next != last+1 {
		t.Errorf("the next movement is %d, the last was %d", next, last)
	}
	for _, c := range commands {
		if is := c.send(s.client); is.status != c.was.status || is.body != c.was.body {
			t.Errorf("%s %s again is answered %d %s, want %d %s", c.method, c.path, is.status, is.body, c.was.status, c.was.body)
		}
	}
	var after page
	s.send("GET", "/api/v1/items", "").want(t, http.StatusOK, &after)
	newest := deleted
	for _, i := range after.Items {
		newest = max(newest, i.ID)
	}
	if id := s.create("Beret").ID; id != newest+1 {
		t.Errorf("the new item is %d, want %d", id, newest+1)
	}
	stop()

	cfg.Stock.Now = func() time.Time { return time.Now().Add(50 * time.Minute) }
	s = open(t, cfg)
	states := func() (states []string) {
		var all struct{ Items []reservation }
		s.send("GET", reservations, "").want(t, http.StatusOK, &all)
		for _, r := range all.Items {
			states = append(states, r.State)
		}
		return states
	}
	eventually(t, "what nobody bought in time is available again, and what was extended is held", func() bool {
		return slices.Equal(states(), []string{"EXPIRED", "HELD", "RELEASED", "FULFILLED", "COMMITTED", "EXPIRED"})
	})
	output, err := exec.Command(program, "reconcile", "-stock", s.StockAddr().String()).CombinedOutput()
	if err != nil {
		t.Errorf("reconcile: %v\n%s", err, output)
	}
}

func TestAMoveNeedsAStore(t *testing.T) {
	t.Parallel()
	program := build(t, "../..")
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"move"}, "kiteshop: move needs the URL of a PostgreSQL database to move to: give it with -store\n"},
		{[]string{"move", "now"}, `kiteshop: move takes flags only, and was given ["now"]` + "\n"},
		{[]string{"move", "-store", "postgres://u:secret@h/d"}, "kiteshop: -store has a secret in it; give it in the environment, as KITESHOP_STORE, or in the file of -config\n"},
	} {
		cmd := exec.Command(program, c.args...)
		output, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 1 || string(output) != c.says {
			t.Errorf("%q: it ended with %d and said %s, want %s", c.args, cmd.ProcessState.ExitCode(), output, c.says)
		}
	}
}
