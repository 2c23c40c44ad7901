package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/sqldb/sqldbtest"
)

// A sell-out over HTTP by two shops on one PostgreSQL, one of which is killed
// in the middle and started again, and PostgreSQL too. Every caller repeats a
// request that was not answered, with its key, at the other shop.
func TestTwoShopsOnOneDatabaseSellExactlyWhatThereIsWhateverHappens(t *testing.T) {
	t.Parallel()
	server := sqldbtest.StartPostgres(t)
	database := server.Database()
	first, second := start(t, database), start(t, database)
	const units, callers, each = 300, 16, 24 // 384 ask for 300
	first.send("POST", "/api/v1/stock/1024/movements", fmt.Sprintf(`{"delta":%d,"reason":"received"}`, units-100)).want(t, http.StatusCreated, nil)

	var mu sync.Mutex // second is replaced when it is killed
	shops := func(n int) process {
		mu.Lock()
		defer mu.Unlock()
		return []process{first, second}[n%2]
	}
	ids := make([][]string, callers)
	const enough = 50 // reservations before the kill, so that it is in the middle
	var answered atomic.Int64
	underWay := make(chan struct{})
	reserve := func(caller, n, shop int) (id string, status int) {
		key := fmt.Sprintf("Idempotency-Key: %d-%d", caller, n)
		for try := 0; ; try++ {
			got, err := shops(shop+try).try("POST", "/api/v1/reservations", strings.NewReader(`{"lines":[{"item_id":1024,"quantity":1}]}`), key)
			if err == nil && got.status != http.StatusServiceUnavailable {
				var made reservation
				got.want(t, got.status, &made)
				return made.ID, got.status
			}
			time.Sleep(20 * time.Millisecond) // as a client waits before it tries again
		}
	}
	var all sync.WaitGroup
	for caller := range callers {
		all.Go(func() {
			for n := range each {
				id, status := reserve(caller, n, caller+n)
				switch status {
				case http.StatusCreated:
					ids[caller] = append(ids[caller], id)
					if answered.Add(1) == enough {
						close(underWay)
					}
				case http.StatusConflict:
				default:
					t.Errorf("request %d-%d: status %d", caller, n, status)
				}
				if n%10 == 0 && status == http.StatusCreated { // again, at the other
					if again, status := reserve(caller, n, caller+n+1); again != id || status != http.StatusCreated {
						t.Errorf("request %d-%d was %s, and is %s with status %d", caller, n, id, again, status)
					}
				}
			}
		})
	}
	<-underWay
	shops(1).kill()
	server.Kill()
	server.Start()
	third := start(t, database)
	mu.Lock()
	second = third
	mu.Unlock()
	all.Wait()

	different := map[string]bool{}
	for _, made := range ids {
		for _, id := range made {
			different[id] = true
		}
	}
	if len(different) != units {
		t.Errorf("%d reservations, want %d", len(different), units)
	}
	for _, shop := range []process{first, second} {
		var now stock
		shop.send("GET", "/api/v1/stock/1024", "").want(t, http.StatusOK, &now)
		if now.OnHand != units || now.Available != 0 || now.Held != units {
			t.Errorf("the stock is %+v, want all %d held", now, units)
		}
	}
}
