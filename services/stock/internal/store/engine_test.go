package store

import (
	"context"
	"database/sql"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/internal/sqldb/sqldbtest"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

// database is one that a test may open, again and, on PostgreSQL, several times at once.
type database struct {
	cfg    sqldb.Config
	server *sqldbtest.Postgres // nil: SQLite
}

// onEachEngine runs a test on a new database of every engine.
func onEachEngine(t *testing.T, test func(t *testing.T, db database)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, database{cfg: sqldb.Config{Data: t.TempDir()}})
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, onPostgres(t))
	})
}

func onPostgres(t testing.TB) database {
	t.Helper()
	server := sqldbtest.StartPostgres(t)
	return database{cfg: sqldb.Config{Store: sqldb.Location(server.Database())}, server: server}
}

func (db database) open(t testing.TB, options Options) *Store {
	t.Helper()
	store, err := Open(context.Background(), db.cfg, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// clock is one that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }

func inventory(store *Store) *domain.Inventory { return &domain.Inventory{Store: store, NewID: newID} }

// receive puts units of an item at the main location.
func receive(t testing.TB, store *Store, itemID, units int64) {
	t.Helper()
	if _, err := inventory(store).Adjust(context.Background(), domain.Adjustment{ItemID: itemID, Delta: units, Reason: domain.Received}); err != nil {
		t.Fatal(err)
	}
}

// one is a line of so many units of an item.
func one(itemID, quantity int64) []domain.Line {
	return []domain.Line{{ItemID: itemID, Quantity: quantity}}
}

// wantSound demands that the books add up.
func wantSound(t testing.TB, store *Store) {
	t.Helper()
	result, err := store.Reconcile(context.Background())
	if err != nil || len(result.Drifts) > 0 {
		t.Errorf("drifts %+v, error %v", result.Drifts, err)
	}
}

// wantBalance demands what an item has at all locations together.
func wantBalance(t testing.TB, store *Store, itemID int64, onHand, available, held, committed int64) {
	t.Helper()
	stocks, err := store.Stock(context.Background(), []int64{itemID})
	if err != nil {
		t.Fatal(err)
	}
	got := stocks[0].Total()
	got.Version = 0
	if want := (domain.Balance{OnHand: onHand, Available: available, Held: held, Committed: committed}); got != want {
		t.Errorf("item %d has %+v, want %+v", itemID, got, want)
	}
}

// scanInto reads a column of numbers.
func scanInto(numbers *[]int64) func(*sql.Rows) error {
	return func(r *sql.Rows) error {
		var n int64
		err := r.Scan(&n)
		*numbers = append(*numbers, n)
		return err
	}
}
