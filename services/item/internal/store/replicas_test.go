package store

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/internal/sqldb/sqldbtest"
	"github.com/kiteshop/kiteshop/services/item/internal/domain"
)

// TestReplicas keeps the promises of several stores on one PostgreSQL.
func TestReplicas(t *testing.T) {
	t.Parallel()
	server := sqldbtest.StartPostgres(t)
	for promise, test := range map[string]func(t *testing.T, cfg sqldb.Config){
		"of two changes to one version exactly one wins":      ofTwoChangesOneWins,
		"a SKU that two want at the same time is taken once":  aSKUThatTwoWantIsTakenOnce,
		"another replica's change is seen within the bound":   anotherReplicasChangeIsSeenWithinTheBound,
		"replicas that start together plant one seed":         replicasPlantOneSeed,
		"imports of one file at the same time create it once": importsOfOneFileCreateItOnce,
	} {
		cfg := sqldb.Config{Store: sqldb.Location(server.Database())}
		t.Run(promise, func(t *testing.T) {
			t.Parallel()
			test(t, cfg)
		})
	}
}

// together calls do for each of n replicas at the same time and returns the errors.
func together(t *testing.T, cfg sqldb.Config, n int, do func(s *Store) error) []error {
	t.Helper()
	replicas := make([]*Store, n)
	for i := range replicas {
		replicas[i] = open(t, cfg)
	}
	results := make([]error, n)
	var all sync.WaitGroup
	for i, s := range replicas {
		all.Go(func() { results[i] = do(s) })
	}
	all.Wait()
	return results
}

// wantOneWinner checks that all but one failed, with the code.
func wantOneWinner(t *testing.T, results []error, code fault.Code) {
	t.Helper()
	winners := 0
	for _, err := range results {
		if err == nil {
			winners++
		} else if fault.CodeOf(err) != code {
			t.Errorf("error %v, want %s", err, code)
		}
	}
	if winners != 1 {
		t.Errorf("%d won, want 1", winners)
	}
}

func ofTwoChangesOneWins(t *testing.T, cfg sqldb.Config) {
	s := open(t, cfg)
	id := mustCreate(t, s, domain.Fields{Title: "1"}).ID
	for version := range int64(5) {
		wantOneWinner(t, together(t, cfg, 2, func(s *Store) error {
			_, err := s.Update(t.Context(), at(1), id, version+1, retitle(fmt.Sprint(version+2)))
			return err
		}), fault.VersionMismatch)
	}
	if item, err := s.Get(t.Context(), id); err != nil || item.Version != 6 || item.Title != "6" {
		t.Errorf("stored %+v, %v", item, err)
	}
}

func aSKUThatTwoWantIsTakenOnce(t *testing.T, cfg sqldb.Config) {
	wantOneWinner(t, together(t, cfg, 4, func(s *Store) error {
		_, err := s.Create(t.Context(), at(0), domain.Fields{Title: "kite", SKU: "kite", Status: domain.Active})
		return err
	}), fault.Conflict)
}

func anotherReplicasChangeIsSeenWithinTheBound(t *testing.T, cfg sqldb.Config) {
	now := &clock{time.Unix(1_000, 0)}
	here, there := openAt(t, cfg, time.Second, now.now), openAt(t, cfg, time.Second, now.now)
	id := mustCreate(t, here, domain.Fields{Title: "before"}).ID
	want := func(s *Store, want string) {
		t.Helper()
		if item, err := s.Get(t.Context(), id); err != nil || item.Title != want {
			t.Errorf("title %+v, %v, want %s", item, err, want)
		}
	}
	want(here, "before")
	want(there, "before")
	if _, err := here.Update(t.Context(), at(1), id, 1, retitle("after")); err != nil {
		t.Fatal(err)
	}
	want(here, "after")
	now.Time = now.Add(time.Second - 1)
	want(there, "before") // from memory
	now.Time = now.Add(1)
	want(there, "after")
}

func replicasPlantOneSeed(t *testing.T, cfg sqldb.Config) {
	seed := domain.Item{ID: 1024, Fields: domain.Fields{SKU: "kitex", Title: "Kitex", Status: domain.Active}, Version: 1}
	if err := errors.Join(together(t, cfg, 4, func(s *Store) error { return s.Seed(t.Context(), seed) })...); err != nil {
		t.Error(err)
	}
	if page, err := open(t, cfg).List(t.Context(), 10, ""); err != nil || len(page.Items) != 1 {
		t.Errorf("the catalogue is %+v, %v", page, err)
	}
}

func importsOfOneFileCreateItOnce(t *testing.T, cfg sqldb.Config) {
	var rows []domain.ImportRow
	for n := range 20 {
		title := fmt.Sprint("kite ", n)
		rows = append(rows, domain.ImportRow{Handle: fmt.Sprint("kite-", n), Patch: domain.Patch{Title: &title}})
	}
	var mu sync.Mutex
	outcomes := map[domain.Outcome]int{}
	err := errors.Join(together(t, cfg, 3, func(s *Store) error {
		results, err := s.Import(t.Context(), rows, time.UnixMilli(0))
		mu.Lock()
		defer mu.Unlock()
		for _, result := range results {
			outcomes[result.Outcome]++
		}
		return err
	})...)
	if err != nil || outcomes[domain.Created] != 20 || outcomes[domain.Unchanged] != 40 {
		t.Errorf("outcomes %v, %v", outcomes, err)
	}
}

func TestWithoutItsDatabaseTheStoreIsUnavailableUntilItIsBack(t *testing.T) {
	t.Parallel()
	server := sqldbtest.StartPostgres(t)
	s := open(t, sqldb.Config{Store: sqldb.Location(server.Database())})
	id := mustCreate(t, s, domain.Fields{Title: "kite"}).ID
	calls := func() map[string]error {
		_, get := s.Get(t.Context(), id)
		_, batch := s.BatchGet(t.Context(), []int64{id})
		_, list := s.List(t.Context(), 1, "")
		_, search := s.Search(t.Context(), "kite", 1, "")
		_, update := s.Update(t.Context(), at(0), id, 0, retitle("line"))
		_, imported := s.Import(t.Context(), nil, time.UnixMilli(0))
		return map[string]error{"Get": get, "BatchGet": batch, "List": list, "Search": search, "Update": update, "Import": imported}
	}
	server.Kill()
	for name, err := range calls() {
		if f := fault.From(err); err == nil || f.Code != fault.Unavailable || f.Message != "the database of the items is not available: try again" {
			t.Errorf("%s: %v, want %s with a text that says nothing of the server", name, err, fault.Unavailable)
		}
	}
	if err := s.Ping(t.Context()); !errors.Is(err, sqldb.ErrUnavailable) {
		t.Errorf("Ping: %v", err)
	}
	server.Start()
	for name, err := range calls() {
		if err != nil {
			t.Errorf("%s after the start: %v", name, err)
		}
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("Ping after the start: %v", err)
	}
}
