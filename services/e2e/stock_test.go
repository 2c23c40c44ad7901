package e2e

import (
	"fmt"
	"net/http"
	"reflect"
	"sync"
	"testing"
)

func TestAMovementChangesTheStockAndIsInTheLedger(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	id := s.create("Hat").ID
	path := fmt.Sprintf("/api/v1/stock/%d", id)

	var none stock
	s.send("GET", path, "").want(t, http.StatusOK, &none)
	if none.ItemID != id || none.balance != (balance{}) || none.Policy != "deny" || len(none.Locations) != 0 {
		t.Errorf("never received: %+v", none)
	}
	for _, body := range []string{
		`{"delta":7,"reason":"received","reference":"PO-1"}`,
		`{"delta":-2,"reason":"damaged"}`,
		`{"delta":4,"reason":"returned","location":"shelf"}`,
	} {
		s.send("POST", path+"/movements", body).want(t, http.StatusCreated, nil)
	}
	var after stock
	s.send("GET", path, "").want(t, http.StatusOK, &after)
	if after.balance != (balance{OnHand: 9, Available: 9, Version: 3}) {
		t.Errorf("in sum %+v", after.balance)
	}
	if len(after.Locations) != 2 || after.Locations[0].Location != "main" || after.Locations[0].balance != (balance{OnHand: 5, Available: 5, Version: 2}) ||
		after.Locations[1].Location != "shelf" || after.Locations[1].balance != (balance{OnHand: 4, Available: 4, Version: 1}) {
		t.Errorf("by location %+v", after.Locations)
	}
	var newest, oldest movements
	s.send("GET", path+"/movements?limit=2", "").want(t, http.StatusOK, &newest)
	s.send("GET", path+"/movements?limit=2&cursor="+newest.Next, "").want(t, http.StatusOK, &oldest)
	var deltas []string
	for _, m := range append(newest.Items, oldest.Items...) {
		deltas = append(deltas, fmt.Sprintf("%+d %s %s %s", m.Delta, m.Reason, m.Location, m.Reference))
	}
	if want := []string{"+4 returned shelf ", "-2 damaged main ", "+7 received main PO-1"}; !reflect.DeepEqual(deltas, want) || oldest.Next != "" {
		t.Errorf("the ledger is %q with the cursor %q, want %q", deltas, oldest.Next, want)
	}
	s.send("GET", "/api/v1/stock/1024/movements?cursor="+newest.Next, "").want(t, http.StatusBadRequest, nil)
}

func TestTheSameKeyHasOneEffectAlsoAfterARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const path, key = "/api/v1/stock/1024/movements", "Idempotency-Key: order-7"
	var first movement
	t.Run("before", func(t *testing.T) {
		s := open(t, config(dir))
		got := s.send("POST", path, `{"delta":5,"reason":"received"}`, key).want(t, http.StatusCreated, &first)
		if returned := got.header.Get("Idempotency-Key"); returned != "order-7" {
			t.Errorf("the key came back as %q", returned)
		}
	})
	s := open(t, config(dir))
	var again movement
	s.send("POST", path, `{"delta":5,"reason":"received"}`, key).want(t, http.StatusCreated, &again)
	if !reflect.DeepEqual(again, first) {
		t.Errorf("the answers differ: %+v and %+v", first, again)
	}
	if again.Stock.OnHand != 105 {
		t.Errorf("on hand %d", again.Stock.OnHand)
	}
	var refused problem
	s.send("POST", path, `{"delta":6,"reason":"received"}`, key).want(t, http.StatusUnprocessableEntity, &refused)
	if refused.Code != "key_reused" {
		t.Errorf("code %s", refused.Code)
	}
	if made := s.send("POST", path, `{"delta":1,"reason":"received"}`).want(t, http.StatusCreated, nil).header.Get("Idempotency-Key"); len(made) != 36 {
		t.Errorf("the key that was made is %q", made)
	}
}

func TestARefusedMovementDoesNotBurnItsKey(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	id := s.create("Hat").ID
	path, key := fmt.Sprintf("/api/v1/stock/%d/movements", id), "Idempotency-Key: k"
	s.send("POST", path, `{"delta":-1,"reason":"sold"}`, key).want(t, http.StatusConflict, nil)
	s.receive(id, 1)
	s.send("POST", path, `{"delta":-1,"reason":"sold"}`, key).want(t, http.StatusCreated, nil)
}

func TestConcurrentSalesNeverSellMoreThanThereIs(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	id := s.create("Hat").ID
	s.receive(id, 30)
	statuses := make(chan int, 100)
	var callers sync.WaitGroup
	for range 20 {
		callers.Go(func() {
			for range 5 {
				statuses <- s.send("POST", fmt.Sprintf("/api/v1/stock/%d/movements", id), `{"delta":-1,"reason":"sold"}`).status
			}
		})
	}
	callers.Wait()
	close(statuses)
	counts := map[int]int{}
	for status := range statuses {
		counts[status]++
	}
	if want := map[int]int{http.StatusCreated: 30, http.StatusConflict: 70}; !reflect.DeepEqual(counts, want) {
		t.Errorf("answers %v, want %v", counts, want)
	}
	var left stock
	s.send("GET", fmt.Sprintf("/api/v1/stock/%d", id), "").want(t, http.StatusOK, &left)
	if left.balance != (balance{Version: 31}) {
		t.Errorf("left %+v", left.balance)
	}
}

func TestStockCannotOverflow(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	id := s.create("Hat").ID
	for range 1000 {
		s.receive(id, 1_000_000_000)
	}
	var refused problem
	s.send("POST", fmt.Sprintf("/api/v1/stock/%d/movements", id), `{"delta":1,"reason":"received"}`).want(t, http.StatusConflict, &refused)
	if want := "1000000000000 on hand, a change of 1 would go beyond the limit of 1000000000000"; refused.Detail != want {
		t.Errorf("detail %q", refused.Detail)
	}
}
