package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
)

const asJSON = "Content-Type: application/json" // send adds it to POST and PATCH only

// ruled is the stock of an item with the rules by which it is sold.
type ruled struct {
	stock
	BackorderLimit    *int64 `json:"backorder_limit"`
	DefaultLocation   string `json:"default_location"`
	LowStockThreshold *int64 `json:"low_stock_threshold"`
}

// acted is a movement with who caused it.
type acted struct {
	movement
	Actor string `json:"actor"`
}

func (c client) ledger(id int64) (ledger []acted) {
	c.t.Helper()
	var page struct{ Items []acted }
	c.send("GET", fmt.Sprintf("/api/v1/stock/%d/movements?limit=100", id), "").want(c.t, http.StatusOK, &page)
	return page.Items
}

func TestACountMakesOnHandANumber(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	id := s.create("Hat").ID
	path := fmt.Sprintf("/api/v1/stock/%d", id)
	for i, c := range []struct {
		body, header string
		want         balance
	}{
		{`{"on_hand":7,"version":0,"reference":"count-1","actor":"ann"}`, asJSON, balance{OnHand: 7, Available: 7, Version: 1}},
		{`{"on_hand":7,"version":1,"reference":"count-2"}`, asJSON, balance{OnHand: 7, Available: 7, Version: 1}}, // nothing changes
		{`{"on_hand":5,"version":1,"location":"main"}`, `If-Match: "1"`, balance{OnHand: 5, Available: 5, Version: 2}},
		{`{"on_hand":0}`, `If-Match: "2"`, balance{Version: 3}},
		{`{"on_hand":3,"location":"shelf"}`, `If-Match: "0"`, balance{OnHand: 3, Available: 3, Version: 4}}, // the sum of both locations
		{`{"on_hand":1000000000,"version":1,"location":"shelf"}`, asJSON, balance{OnHand: 1_000_000_000, Available: 1_000_000_000, Version: 5}},
	} {
		var after stock
		s.send("PUT", path, c.body, asJSON, c.header).want(t, http.StatusOK, &after)
		if after.ItemID != id || after.balance != c.want {
			t.Errorf("count %d: %+v, want %+v", i, after, c.want)
		}
	}
	var deltas []string
	for _, m := range s.ledger(id) {
		deltas = append(deltas, fmt.Sprintf("%+d %s %s %q %q", m.Delta, m.Reason, m.Location, m.Reference, m.Actor))
	}
	want := []string{
		`+999999997 counted shelf "" ""`, `+3 counted shelf "" ""`, `-5 counted main "" ""`, `-2 counted main "" ""`, `+7 counted main "count-1" "ann"`,
	}
	if !reflect.DeepEqual(deltas, want) {
		t.Errorf("the ledger is %q, want %q", deltas, want)
	}
}

func TestACountOfAnotherVersionChangesNothing(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	id := s.stocked("Hat", 10)
	s.reserve(id, 3)
	path := fmt.Sprintf("/api/v1/stock/%d", id)
	for _, c := range []struct {
		body, header string
		status       int
		code, detail string
	}{
		{`{"on_hand":9,"version":1}`, asJSON, 412, "version_mismatch", fmt.Sprintf("the stock of item %d at main has version 2, not 1: read it again", id)},
		{`{"on_hand":9,"version":3}`, asJSON, 412, "version_mismatch", fmt.Sprintf("the stock of item %d at main has version 2, not 3: read it again", id)},
		{`{"on_hand":9,"version":0}`, asJSON, 412, "version_mismatch", fmt.Sprintf("the stock of item %d at main has version 2, not 0: read it again", id)},
		{`{"on_hand":9}`, `If-Match: "1"`, 412, "version_mismatch", fmt.Sprintf("the stock of item %d at main has version 2, not 1: read it again", id)},
		{`{"on_hand":9,"version":1,"location":"shelf"}`, asJSON, 412, "version_mismatch", fmt.Sprintf("the stock of item %d at shelf has version 0, not 1: read it again", id)},
		{`{"on_hand":9,"version":2}`, `If-Match: "1"`, 400, "invalid_argument", "If-Match must be the same as the member version, which is 2, or be left out"},
		{`{"on_hand":9,"version":2}`, `If-Match: *`, 400, "invalid_argument", `If-Match must be the location's version as an ETag, such as "3"`},
		{`{"on_hand":9,"version":2}`, `If-Match: 2`, 400, "invalid_argument", `If-Match must be the location's version as an ETag, such as "3"`},
		{`{"on_hand":9}`, `If-Match: W/"2"`, 400, "invalid_argument", `If-Match must be the location's version as an ETag, such as "3"`},
		{`{"on_hand":9}`, `If-Match: "-1"`, 400, "invalid_argument", `If-Match must be the location's version as an ETag, such as "3"`},
		{`{"on_hand":9}`, `If-Match: `, 400, "invalid_argument", `If-Match must be the location's version as an ETag, such as "3"`},
		{`{}`, asJSON, 400, "invalid_argument", "on_hand must be given; version must be given, or If-Match: that of the location, or 0 where there never was any stock"},
		{`{"on_hand":2,"version":2}`, asJSON, 409, "conflict", "7 available, a change of -8 would leave -1, and the policy deny allows no less than 0"}, // 3 are held
	} {
		var refused problem
		s.send("PUT", path, c.body, asJSON, c.header).want(t, c.status, &refused)
		if refused.Code != c.code || refused.Detail != c.detail {
			t.Errorf("%s %s: %s, %q, want %s, %q", c.body, c.header, refused.Code, refused.Detail, c.code, c.detail)
		}
	}
	s.wantBalance(id, balance{OnHand: 10, Available: 7, Held: 3, Version: 2})
	if ledger := s.ledger(id); len(ledger) != 1 {
		t.Errorf("the ledger is %+v", ledger)
	}
}

func TestOfManyCountsOfOneVersionOneIsTaken(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	id := s.stocked("Hat", 10)
	counts := map[string]int{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			got := s.send("PUT", fmt.Sprintf("/api/v1/stock/%d", id), fmt.Sprintf(`{"on_hand":%d,"version":1}`, 100+i), asJSON)
			var refused problem
			_ = json.Unmarshal([]byte(got.body), &refused)
			mu.Lock()
			defer mu.Unlock()
			counts[fmt.Sprint(got.status, refused.Code)]++
		})
	}
	all.Wait()
	if want := map[string]int{"200": 1, "412version_mismatch": 39}; !reflect.DeepEqual(counts, want) {
		t.Errorf("answers %v, want %v", counts, want)
	}
	if ledger := s.ledger(id); len(ledger) != 2 {
		t.Errorf("the ledger is %+v", ledger)
	}
}

// TestEveryWriteHasAKey repeats each with its key, after others have changed
// what it changed, and then with other parameters.
func TestEveryWriteHasAKey(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	id := s.stocked("Hat", 100)
	held, sold, back := s.reserve(id, 1).ID, s.reserve(id, 1).ID, s.reserve(id, 1).ID
	s.step(sold, "commit")
	other := s.reserve(id, 1).ID
	item := fmt.Sprintf("/api/v1/stock/%d", id)
	for i, c := range []struct {
		method, path, body, path2, body2 string // the second ones are refused under the first one's key
		status                           int
	}{
		{"POST", item + "/movements", `{"delta":5,"reason":"received"}`, item + "/movements", `{"delta":6,"reason":"received"}`, 201},
		{"PUT", item, `{"on_hand":20,"version":0,"location":"shelf"}`, item, `{"on_hand":21,"version":0,"location":"shelf"}`, 200},
		{"PATCH", item, `{"low_stock_threshold":5}`, item, `{"low_stock_threshold":null}`, 200},
		{"POST", reservations, fmt.Sprintf(`{"lines":[{"item_id":%d,"quantity":1}]}`, id), reservations, fmt.Sprintf(`{"lines":[{"item_id":%d,"quantity":2}]}`, id), 201},
		{"POST", reservations + "/" + held + "/extend", `{"ttl_seconds":60}`, reservations + "/" + held + "/extend", `{"ttl_seconds":61}`, 200},
		{"POST", reservations + "/" + held + "/commit", ``, reservations + "/" + other + "/commit", ``, 200},
		{"POST", reservations + "/" + sold + "/fulfil", `{"actor":"bob"}`, reservations + "/" + held + "/fulfil", ``, 200},
		{"POST", reservations + "/" + back + "/release", ``, reservations + "/" + other + "/release", ``, 200},
	} {
		made := s.send(c.method, c.path, c.body, asJSON).want(t, c.status, nil).header.Get("Idempotency-Key")
		if len(made) != 36 {
			t.Errorf("%s %s: the key that was made is %q", c.method, c.path, made)
		}
		first := s.send(c.method, c.path, c.body, asJSON, "Idempotency-Key: "+made).want(t, c.status, nil)
		s.send("POST", item+"/movements", `{"delta":1,"reason":"received"}`, fmt.Sprintf("Idempotency-Key: between %d", i)).want(t, http.StatusCreated, nil)
		again := s.send(c.method, c.path, c.body, asJSON, "Idempotency-Key: "+made).want(t, c.status, nil)
		if again.body != first.body || again.header.Get("Idempotency-Key") != made {
			t.Errorf("%s %s: the answers differ: %s and %s", c.method, c.path, first.body, again.body)
		}
		var refused problem
		got := s.send(c.method, c.path2, c.body2, asJSON, "Idempotency-Key: "+made).want(t, http.StatusUnprocessableEntity, &refused)
		if refused.Code != "key_reused" || got.header.Get("Idempotency-Key") != made {
			t.Errorf("%s %s: refused with %s and the key %q", c.method, c.path2, refused.Code, got.header.Get("Idempotency-Key"))
		}
	}
	s.wantBalance(id, balance{OnHand: 132, Available: 129, Held: 2, Committed: 1, Version: 20})
}

func TestAKeyIsPrintableASCIIAndGivenOnce(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	id := s.stocked("Hat", 10)
	held := s.reserve(id, 1).ID
	item := fmt.Sprintf("/api/v1/stock/%d", id)
	long := strings.Repeat("k", 255)
	for _, c := range []struct{ method, path, body string }{
		{"POST", item + "/movements", `{"delta":1,"reason":"received"}`},
		{"PUT", item, `{"on_hand":20,"version":2}`},
		{"PATCH", item, `{"low_stock_threshold":5}`},
		{"POST", reservations, fmt.Sprintf(`{"lines":[{"item_id":%d,"quantity":1}]}`, id)},
		{"POST", reservations + "/" + held + "/extend", `{"ttl_seconds":60}`},
		{"POST", reservations + "/" + held + "/commit", ``},
		{"POST", reservations + "/" + held + "/fulfil", ``},
		{"POST", reservations + "/" + held + "/release", ``},
	} {
		for _, keys := range [][]string{{""}, {long + "k"}, {"schlüssel"}, {"a\tb"}, {"one", "two"}} {
			request, err := http.NewRequest(c.method, s.base+c.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Header["Idempotency-Key"] = keys
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			var refused problem
			err = json.NewDecoder(response.Body).Decode(&refused)
			response.Body.Close()
			want := field{"Idempotency-Key", "must be 1 to 255 printable ASCII characters"}
			if len(keys) > 1 {
				want.Reason = "must be given once"
			}
			if err != nil || response.StatusCode != http.StatusBadRequest || len(refused.Errors) != 1 || refused.Errors[0] != want || response.Header.Get("Idempotency-Key") != "" {
				t.Errorf("%s %s with the keys %q: %d %+v (error %v)", c.method, c.path, keys, response.StatusCode, refused, err)
			}
		}
	}
	s.wantBalance(id, balance{OnHand: 10, Available: 9, Held: 1, Version: 2})
	for _, key := range []string{long, "~ !", "k"} {
		s.send("POST", item+"/movements", `{"delta":1,"reason":"received"}`, "Idempotency-Key: "+key).want(t, http.StatusCreated, nil)
	}
	s.wantBalance(id, balance{OnHand: 13, Available: 12, Held: 1, Version: 5})
}

func TestALedgerTellsWhoCausedAMovement(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	id := s.create("Hat").ID
	item := fmt.Sprintf("/api/v1/stock/%d", id)
	var received acted
	s.send("POST", item+"/movements", `{"delta":5,"reason":"received","actor":"ann"}`).want(t, http.StatusCreated, &received)
	s.receive(id, 1)
	for _, body := range []string{`{"actor":"bob"}`, `{}`, ``} {
		sold := s.reserve(id, 1)
		s.step(sold.ID, "commit")
		s.send("POST", reservations+"/"+sold.ID+"/fulfil", body).want(t, http.StatusOK, nil)
	}
	if received.Actor != "ann" {
		t.Errorf("the answer is %+v", received)
	}
	var actors []string
	for _, m := range s.ledger(id) {
		actors = append(actors, fmt.Sprintf("%+d %s", m.Delta, m.Actor))
	}
	if want := []string{"-1 ", "-1 ", "-1 bob", "+1 ", "+5 ann"}; !reflect.DeepEqual(actors, want) {
		t.Errorf("the ledger is %q, want %q", actors, want)
	}
	if body := s.send("GET", item+"/movements", "").body; strings.Count(body, `"actor":`) != 2 {
		t.Errorf("an empty actor is named: %s", body)
	}
}
