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

// configure sets rules of an item.
func (c client) configure(id int64, rules string) ruled {
	c.t.Helper()
	var after ruled
	c.send("PATCH", fmt.Sprintf("/api/v1/stock/%d", id), rules).want(c.t, http.StatusOK, &after)
	return after
}

func TestRulesAreSetOneByOne(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	id := s.create("Hat").ID
	path := fmt.Sprintf("/api/v1/stock/%d", id)
	for _, c := range []struct{ rules, want string }{
		{`{}`, `"policy":"deny","backorder_limit":null,"default_location":"main","low_stock_threshold":null`},
		{`{"policy":"backorder","backorder_limit":10}`, `"policy":"backorder","backorder_limit":10,"default_location":"main","low_stock_threshold":null`},
		{`{"low_stock_threshold":5}`, `"policy":"backorder","backorder_limit":10,"default_location":"main","low_stock_threshold":5`},
		{`{"default_location":"shelf"}`, `"policy":"backorder","backorder_limit":10,"default_location":"shelf","low_stock_threshold":5`},
		{`{"backorder_limit":null}`, `"policy":"backorder","backorder_limit":null,"default_location":"shelf","low_stock_threshold":5`},
		{`{"low_stock_threshold":null,"policy":"deny"}`, `"policy":"deny","backorder_limit":null,"default_location":"shelf","low_stock_threshold":null`},
		{`{"backorder_limit":0,"low_stock_threshold":0}`, `"policy":"deny","backorder_limit":0,"default_location":"shelf","low_stock_threshold":0`},
		{`{"backorder_limit":1000000000,"low_stock_threshold":1000000000}`, `"policy":"deny","backorder_limit":1000000000,"default_location":"shelf","low_stock_threshold":1000000000`},
	} {
		answered := s.send("PATCH", path, c.rules, "Content-Type: application/merge-patch+json").want(t, http.StatusOK, nil).body
		if read := s.send("GET", path, "").want(t, http.StatusOK, nil).body; !strings.Contains(answered, c.want) || read != answered {
			t.Errorf("after %s: %s, and then %s, want %s", c.rules, answered, read, c.want)
		}
	}
}

func TestWhatNamesNoLocationIsAtTheItemsDefault(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	id := s.stocked("Hat", 5)
	s.configure(id, `{"default_location":"shelf"}`)

	var refused problem
	body := fmt.Sprintf(`{"lines":[{"item_id":%d,"quantity":1}]}`, id)
	s.send("POST", reservations, body).want(t, http.StatusConflict, &refused)
	if want := fmt.Sprintf("of item %d at shelf 1 are asked for and 0 available", id); refused.Code != "sold_out" || refused.Detail != want {
		t.Errorf("refused with %s, %q", refused.Code, refused.Detail)
	}
	if made := s.receive(id, 3); made.Location != "shelf" {
		t.Errorf("received at %s", made.Location)
	}
	if made := s.reserve(id, 3); !reflect.DeepEqual(made.Lines, []line{{id, 3, "shelf"}}) {
		t.Errorf("reserved %+v", made.Lines)
	}
	s.send("PUT", fmt.Sprintf("/api/v1/stock/%d", id), `{"on_hand":4,"version":2}`, asJSON).want(t, http.StatusOK, nil)

	twice := fmt.Sprintf(`{"lines":[{"item_id":%d,"quantity":1},{"item_id":%[1]d,"quantity":1,"location":"shelf"}]}`, id)
	s.send("POST", reservations, twice).want(t, http.StatusBadRequest, &refused)
	if want := "lines[1].location is shelf, the item's default, as in lines[0]; add their quantities"; refused.Detail != want {
		t.Errorf("refused with %q", refused.Detail)
	}
	var after stock
	s.send("GET", fmt.Sprintf("/api/v1/stock/%d", id), "").want(t, http.StatusOK, &after)
	if len(after.Locations) != 2 || after.Locations[0].balance != (balance{OnHand: 5, Available: 5, Version: 1}) ||
		after.Locations[1].balance != (balance{OnHand: 4, Available: 1, Held: 3, Version: 3}) {
		t.Errorf("by location %+v", after.Locations)
	}
}

func TestABackorderLimitIsKeptExactly(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	id := s.create("Hat").ID // never received: what is sold is owed
	path := fmt.Sprintf("/api/v1/stock/%d", id)
	s.configure(id, `{"policy":"backorder","backorder_limit":10}`)

	wantSoldOut := func(quantity, available int64) {
		t.Helper()
		var refused struct {
			problem
			Lines []struct{ Asked, Available int64 } `json:"lines"`
		}
		s.send("POST", reservations, fmt.Sprintf(`{"lines":[{"item_id":%d,"quantity":%d}]}`, id, quantity)).want(t, http.StatusConflict, &refused)
		if got := fmt.Sprint(refused.Lines); refused.Code != "sold_out" || got != fmt.Sprintf("[{%d %d}]", quantity, available) {
			t.Errorf("refused with %s and %s", refused.Code, got)
		}
	}
	wantSoldOut(11, 0)
	made := s.reserve(id, 10)
	wantSoldOut(1, -10)
	s.wantBalance(id, balance{Available: -10, Held: 10, Version: 1})
	s.step(made.ID, "release")

	counts := map[string]int{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 44 {
		all.Go(func() {
			got := s.send("POST", reservations, fmt.Sprintf(`{"lines":[{"item_id":%d,"quantity":1}]}`, id))
			var refused problem
			_ = json.Unmarshal([]byte(got.body), &refused)
			mu.Lock()
			defer mu.Unlock()
			counts[fmt.Sprint(got.status, refused.Code)]++
		})
	}
	all.Wait()
	if want := map[string]int{"201": 10, "409sold_out": 34}; !reflect.DeepEqual(counts, want) {
		t.Errorf("answers %v, want %v", counts, want)
	}
	s.wantBalance(id, balance{Available: -10, Held: 10, Version: 12})

	var refused problem
	for rules, want := range map[string]string{
		`{"backorder_limit":9}`: "-10 available at main, and the policy backorder allows no less than -9",
		`{"policy":"deny"}`:     "-10 available at main, and the policy deny allows no less than 0",
	} {
		s.send("PATCH", path, rules).want(t, http.StatusConflict, &refused)
		if refused.Code != "conflict" || refused.Detail != want {
			t.Errorf("%s: refused with %s, %q, want %q", rules, refused.Code, refused.Detail, want)
		}
	}
	s.configure(id, `{"backorder_limit":null}`)
	s.reserve(id, 1_000_000)
	s.wantBalance(id, balance{Available: -1_000_010, Held: 1_000_010, Version: 14})
}

// listed are the items of a list of stock, page by page.
func (c client) listed(query string) (pages [][]int64) {
	c.t.Helper()
	for cursor := ""; ; {
		var page struct {
			Items []ruled `json:"items"`
			Next  string  `json:"next_cursor"`
		}
		c.send("GET", "/api/v1/stock?"+query+cursor, "").want(c.t, http.StatusOK, &page)
		var ids []int64
		for _, one := range page.Items {
			ids = append(ids, one.ItemID)
		}
		pages = append(pages, ids)
		if page.Next == "" {
			return pages
		}
		cursor = "&cursor=" + page.Next
	}
}

func TestStockIsListedInPagesAlsoWhatIsLow(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	var ids []int64
	for i := range 5 {
		id := s.stocked(fmt.Sprint("Hat ", i), 10)
		s.configure(id, fmt.Sprintf(`{"low_stock_threshold":%d}`, 10+i%2)) // 10 are not below 10
		ids = append(ids, id)
	}
	never := s.create("Kite").ID
	s.configure(never, `{"low_stock_threshold":1}`)
	s.create("Line") // of which stock has never heard
	all := [][]int64{{1024, ids[0]}, {ids[1], ids[2]}, {ids[3], ids[4]}, {never}}
	low := [][]int64{{ids[1], ids[3]}, {never}}
	for _, c := range []struct {
		query string
		want  [][]int64
	}{
		{"limit=2", all},
		{"limit=2&below_threshold=false", all},
		{"limit=2&below_threshold=true", low},
		{"below_threshold=true", [][]int64{{ids[1], ids[3], never}}},
	} {
		if got := s.listed(c.query); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", c.query, got, c.want)
		}
	}
	s.reserve(ids[0], 1) // what is held is not available
	s.receive(ids[1], 1)
	if got, want := s.listed("limit=2&below_threshold=true"), [][]int64{{ids[0], ids[3]}, {never}}; !reflect.DeepEqual(got, want) {
		t.Errorf("later: %v, want %v", got, want)
	}
	var page struct {
		Next string `json:"next_cursor"`
	}
	s.send("GET", "/api/v1/stock?limit=1", "").want(t, http.StatusOK, &page)
	s.send("GET", "/api/v1/stock?limit=1&below_threshold=true&cursor="+page.Next, "").want(t, http.StatusBadRequest, nil)

	if empty := open(t, config(t.TempDir())).send("GET", "/api/v1/stock?below_threshold=true", "").want(t, http.StatusOK, nil).body; empty != `{"items":[]}` {
		t.Errorf("nothing is low: %s", empty)
	}
}
