package sqldb_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/kiteshop/kiteshop/services/internal/sqldb"
)

// together runs works that all wait while another has the turn, so that they
// share a commit, in their order. It returns their errors.
func together(t *testing.T, db *sqldb.DB, works ...func(ctx context.Context, tx *sqldb.Tx) error) []error {
	t.Helper()
	results := make([]error, len(works))
	var all sync.WaitGroup
	update(t, db, func(*sqldb.Tx) error {
		for i, do := range works {
			all.Go(func() { results[i] = db.Update(t.Context(), do) })
			synctest.Wait() // it waits for its turn
		}
		return nil
	})
	all.Wait()
	return results
}

func TestWorksThatWaitTogetherShareACommit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := openNew(t)
		results := together(t, db,
			func(ctx context.Context, tx *sqldb.Tx) error { return add(ctx, tx, 1, "kite") },
			func(ctx context.Context, tx *sqldb.Tx) error {
				wantTitles(t, tx, "kite")
				wantTitles(t, db.Read(), "") // the first is not committed yet
				return add(ctx, tx, 2, "line")
			})
		if err := errors.Join(results...); err != nil {
			t.Error(err)
		}
		wantTitles(t, db.Read(), "kite,line")
	})
}

func TestAWorkThatFailsAmongOthersIsUndoneAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := openNew(t)
		results := together(t, db,
			func(ctx context.Context, tx *sqldb.Tx) error { return add(ctx, tx, 1, "before") },
			func(ctx context.Context, tx *sqldb.Tx) error {
				return errors.Join(add(ctx, tx, 2, "undone"), errWork)
			},
			func(ctx context.Context, tx *sqldb.Tx) error { return add(ctx, tx, 3, "after") })
		if results[0] != nil || !errors.Is(results[1], errWork) || results[2] != nil {
			t.Errorf("errors = %v, want that of the second alone", results)
		}
		wantTitles(t, db.Read(), "before,after")
	})
}

func TestAWorkThatSpoilsTheCommitFailsAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := openNew(t)
		results := together(t, db,
			func(ctx context.Context, tx *sqldb.Tx) error { return add(ctx, tx, 1, "before") },
			func(ctx context.Context, tx *sqldb.Tx) error {
				return tx.Exec(ctx, `INSERT INTO prices (item, amount) VALUES (99, 1999)`) // the reference is checked by COMMIT
			},
			func(ctx context.Context, tx *sqldb.Tx) error { return tx.Exec(ctx, `ROLLBACK`) }, // as SQLite does on a full disk
			func(ctx context.Context, tx *sqldb.Tx) error { return add(ctx, tx, 3, "after") })
		if results[0] != nil || results[1] == nil || !strings.Contains(results[1].Error(), "FOREIGN KEY") || results[2] == nil || results[3] != nil {
			t.Errorf("errors = %v, want those of the second and the third", results)
		}
		wantTitles(t, db.Read(), "before,after")
	})
}

func TestAWorkThatPanicsAmongOthersPanicsAtItsCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := openNew(t)
		var cause atomic.Value
		var all sync.WaitGroup
		update(t, db, func(*sqldb.Tx) error {
			all.Go(func() {
				defer func() { cause.Store(recover()) }()
				_ = db.Update(t.Context(), func(context.Context, *sqldb.Tx) error { panic("out of string") })
			})
			synctest.Wait()
			all.Go(func() {
				if err := db.Update(t.Context(), func(ctx context.Context, tx *sqldb.Tx) error { return add(ctx, tx, 1, "kite") }); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
			return nil
		})
		all.Wait()
		if cause.Load() != "out of string" {
			t.Errorf("the caller recovered %v", cause.Load())
		}
		wantTitles(t, db.Read(), "kite")
	})
}

// BenchmarkUpdate is one row a caller: the callers of a moment share a commit.
func BenchmarkUpdate(b *testing.B) {
	for name, callers := range map[string]int{"1": 1, "64": 64, "512": 512} {
		b.Run(name+" callers", func(b *testing.B) {
			db := openNew(b)
			var id atomic.Int64
			var all sync.WaitGroup
			b.ResetTimer()
			for range callers {
				all.Go(func() {
					for {
						next := id.Add(1)
						if next > int64(b.N) {
							return
						}
						if err := db.Update(b.Context(), func(ctx context.Context, tx *sqldb.Tx) error {
							return tx.Exec(ctx, `INSERT INTO items (id, title) VALUES (?, ?)`, next, next)
						}); err != nil {
							b.Error(err)
						}
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
		})
	}
}
