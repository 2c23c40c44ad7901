package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestEveryQueryFindsData holds for each panel, rule and alert, in a shop that does all that it can.
func TestEveryQueryFindsData(t *testing.T) {
	t.Parallel()
	o := observe(t)
	missing := o.queries()
	o.startEdge()
	o.failOnce()
	o.traces.Stop()
	deadline := time.Now().Add(3 * time.Minute)
	for round := 0; len(missing) > 0 && time.Now().Before(deadline); round++ {
		o.trade(round)
		if round == 0 {
			o.within("the collector cannot send", func() bool {
				o.send("GET", "/api/v1/items/0", "")
				lost, err := o.values("otelcol_exporter_send_failed_spans")
				return err == nil && len(lost) > 0
			})
			o.takeTraces()
		}
		missing = o.unanswered(missing)
	}
	for _, q := range missing {
		t.Errorf("%s finds nothing: %s", q.Where, q.Expr)
	}
	o.within("points of the requests' durations lead to traces", func() bool {
		o.send("GET", "/api/v1/items", "")
		return o.hasExamples("http_server_request_duration_seconds_bucket")
	})
}

// hasExamples tells whether Prometheus has examples of a histogram with the ids of their traces.
func (o *observed) hasExamples(histogram string) bool {
	o.t.Helper()
	var data []struct {
		Exemplars []struct{ Labels map[string]string }
	}
	now := time.Now()
	if err := o.get("/api/v1/query_exemplars", url.Values{
		"query": {histogram},
		"start": {now.Add(-10 * time.Minute).Format(time.RFC3339)},
		"end":   {now.Add(time.Minute).Format(time.RFC3339)},
	}, &data); err != nil {
		o.t.Fatal(err)
	}
	for _, series := range data {
		for _, example := range series.Exemplars {
			if len(example.Labels["trace_id"]) == 32 {
				return true
			}
		}
	}
	return false
}

type query struct{ Where, Expr string }

// queries are what the dashboards and rules ask, with the variables as in a dashboard that is just opened.
func (o *observed) queries() []query {
	o.t.Helper()
	text, err := os.ReadFile(filepath.Join(o.folder, "queries.json"))
	if err != nil {
		o.t.Fatal(err)
	}
	var all []query
	if err := json.Unmarshal(text, &all); err != nil {
		o.t.Fatal(err)
	}
	all = append(all, o.runbookQueries()...)
	variables := strings.NewReplacer("$service", ".*", "$instance", ".*", "$__rate_interval", "30s")
	for i := range all {
		all[i].Expr = variables.Replace(all[i].Expr)
	}
	if len(all) < 100 {
		o.t.Fatalf("there are %d queries only", len(all))
	}
	return all
}

// runbookQueries are those between ```promql and ``` in the runbooks.
func (o *observed) runbookQueries() (all []query) {
	o.t.Helper()
	files, err := filepath.Glob("../../deploy/runbooks/*.md")
	if err != nil || len(files) == 0 {
		o.t.Fatalf("runbooks %v, error %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			o.t.Fatal(err)
		}
		for _, block := range strings.Split(string(text), "```promql\n")[1:] {
			expr, _, _ := strings.Cut(block, "\n```")
			all = append(all, query{"runbook " + filepath.Base(file), expr})
		}
	}
	return all
}

func (o *observed) unanswered(queries []query) (left []query) {
	o.t.Helper()
	for _, q := range queries {
		values, err := o.values(q.Expr)
		if err != nil {
			o.t.Fatalf("%s: %v: %s", q.Where, err, q.Expr)
		}
		if len(values) == 0 {
			left = append(left, q)
		}
	}
	return left
}

// failOnce makes a statement fail, which waits for a lock, and requests: their database is away.
func (o *observed) failOnce() {
	o.t.Helper()
	locked := o.connect()
	if _, err := locked.Exec(o.t.Context(), `BEGIN; LOCK TABLE stock.stock`); err != nil {
		o.t.Fatal(err)
	}
	o.send("GET", "/api/v1/stock", "").want(o.t, http.StatusServiceUnavailable, nil)
	if err := locked.Close(o.t.Context()); err != nil {
		o.t.Fatal(err)
	}
	o.postgres.Kill()
	o.send("GET", "/api/v1/stock/1024", "").want(o.t, http.StatusServiceUnavailable, nil)
	o.send("GET", "/api/v1/items", "").want(o.t, http.StatusServiceUnavailable, nil)
	o.postgres.Start()
	o.within("the shop is back", func() bool {
		got, err := o.try("GET", "/api/v1/stock/1024", strings.NewReader(""))
		return err == nil && got.status == http.StatusOK
	})
}

// trade uses every route, and all that can become of a reservation.
func (o *observed) trade(round int) {
	o.t.Helper()
	id := o.stocked("Hat", 50)
	path := fmt.Sprintf("/api/v1/stock/%d", id)
	watched := o.watch(watchPath(id))
	for _, request := range [][3]string{
		{"GET", "/docs", ""},
		{"GET", "/openapi.json", ""},
		{"GET", "/api/item", ""},
		{"GET", "/api/v1/items", ""},
		{"GET", fmt.Sprintf("/api/v1/items/%d", id), ""},
		{"PATCH", fmt.Sprintf("/api/v1/items/%d", id), `{"title":"Bowler"}`},
		{"GET", "/api/v1/trending", ""},
		{"GET", "/api/v1/stock", ""},
		{"GET", path, ""},
		{"PATCH", path, `{"low_stock_threshold":60}`},
		{"GET", path + "/movements", ""},
		{"GET", reservations, ""},
	} {
		o.send(request[0], request[1], request[2]).want(o.t, http.StatusOK, nil)
	}
	o.importCSV(header+fmt.Sprintf("cap-%d,Cap,,,,,true,,,,,cap-%[1]d,1,deny,1.00,,active\n", round), "")
	o.send("GET", "/api/v1/items/999999", "").want(o.t, http.StatusNotFound, nil)
	sold := o.reserve(id, 1)
	o.send("GET", reservations+"/"+sold.ID, "").want(o.t, http.StatusOK, nil)
	for _, step := range []string{"extend", "commit", "fulfil"} {
		o.step(sold.ID, step)
	}
	o.step(o.reserve(id, 1).ID, "release")
	o.send("POST", reservations, fmt.Sprintf(`{"lines":[{"item_id":%d,"quantity":1}],"ttl_seconds":1}`, id)).want(o.t, http.StatusCreated, nil)
	o.send("POST", reservations, fmt.Sprintf(`{"lines":[{"item_id":%d,"quantity":51}]}`, id)).want(o.t, http.StatusConflict, nil)
	count := syncStock(o.t, o.addresses["stock rpc"])
	count.send(fmt.Sprintf("round-%d", round), 1, []shelfCount{{ItemID: id, OnHand: 40}})
	count.receive()
	count.send(fmt.Sprintf("round-%d", round), 2, []shelfCount{{ItemID: id, OnHand: 0}}) // less than is held
	count.receive()
	_ = count.conn.Close()
	o.intrude()
	watched.close()
	o.send("DELETE", fmt.Sprintf("/api/v1/items/%d", id), "").want(o.t, http.StatusNoContent, nil)
}
