package store

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

func TestASellOutSellsEveryUnitOnce(t *testing.T) {
	t.Parallel()
	units, requests, rounds := int64(2_000), int64(2_560), 1
	if torture {
		units, requests, rounds = 50_000, 64_000, 100
		if text := os.Getenv("TORTURE_ROUNDS"); text != "" {
			var err error
			if rounds, err = strconv.Atoi(text); err != nil {
				t.Fatal(err)
			}
		}
	}
	onEachEngine(t, func(t *testing.T, db database) {
		stores := []*Store{db.open(t, Options{})}
		if db.server != nil {
			stores = append(stores, db.open(t, Options{}))
		}
		for itemID := int64(1); itemID <= int64(rounds); itemID++ {
			receive(t, stores[0], itemID, units)
			sellOut(t, stores, itemID, units, requests)
			wantBalance(t, stores[0], itemID, units, 0, units, 0)
			if t.Failed() {
				t.Fatalf("round %d", itemID)
			}
		}
		wantSound(t, stores[0])
		if db.server != nil {
			wantNoErrorLogged(t, db.server.LogFile())
		}
	})
}

// sellOut makes requests for a unit each, to the stores in turns. Each tenth
// is repeated at the next store, every other time while the first is under way.
func sellOut(t *testing.T, stores []*Store, itemID, units, requests int64) {
	t.Helper()
	reserve := func(n int64, store *Store) (domain.Reservation, fault.Code) {
		r, err := inventory(store).Reserve(t.Context(), domain.Reserve{Lines: one(itemID, 1), Key: fmt.Sprintf("%d of item %d", n, itemID)})
		if code := fault.CodeOf(err); code != "" && code != fault.SoldOut {
			t.Errorf("request %d: %v", n, err)
		}
		return r, fault.CodeOf(err)
	}
	var (
		next     atomic.Int64
		sold     atomic.Int64
		reserved sync.Map // by id
		all      sync.WaitGroup
	)
	for range 64 {
		all.Go(func() {
			for n := next.Add(1); n <= requests; n = next.Add(1) {
				this, other := stores[n%int64(len(stores))], stores[(n+1)%int64(len(stores))]
				var (
					again     domain.Reservation
					againCode fault.Code
					repeat    sync.WaitGroup
				)
				if n%20 == 0 {
					repeat.Go(func() { again, againCode = reserve(n, other) })
				}
				r, code := reserve(n, this)
				repeat.Wait()
				if n%20 == 10 {
					again, againCode = reserve(n, other)
				}
				if n%10 == 0 && (code != againCode || !reflect.DeepEqual(r, again)) {
					t.Errorf("request %d: %+v %s, and again: %+v %s", n, r, code, again, againCode)
				}
				if code == "" {
					sold.Add(1)
					if before, twice := reserved.Swap(r.ID, n); twice {
						t.Errorf("requests %d and %d have the same reservation", before, n)
					}
				}
			}
		})
	}
	all.Wait()
	if sold.Load() != units {
		t.Errorf("%d of %d requests were answered with a unit, want %d", sold.Load(), requests, units)
	}
}

// wantNoErrorLogged allows one kind of errors: two stores that take the same
// key at the same time, of which the server refuses one.
func wantNoErrorLogged(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range regexp.MustCompile(`(?m)^.* (ERROR|PANIC): .*$`).FindAllString(string(text), -1) {
		if !regexp.MustCompile(`duplicate key value violates unique constraint "reservations_key_key"`).MatchString(line) {
			t.Errorf("the server's log has %s", line)
		}
	}
}
