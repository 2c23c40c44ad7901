package sqldb_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/sqldb"
)

var errWork = errors.New("the work failed")

func update(t *testing.T, db *sqldb.DB, work func(tx *sqldb.Tx) error) {
	t.Helper()
	if err := db.Update(t.Context(), func(_ context.Context, tx *sqldb.Tx) error { return work(tx) }); err != nil {
		t.Fatal(err)
	}
}

func insert(t *testing.T, db *sqldb.DB, id int64, title string) {
	t.Helper()
	update(t, db, func(tx *sqldb.Tx) error { return add(t.Context(), tx, id, title) })
}

func add(ctx context.Context, tx *sqldb.Tx, id int64, title string) error {
	return tx.Exec(ctx, `INSERT INTO items (id, title) VALUES (?, ?)`, id, title)
}

func updateIsSeenByReadersWhenItReturns(t *testing.T, db *sqldb.DB) {
	update(t, db, func(tx *sqldb.Tx) error {
		if err := add(t.Context(), tx, 1, "kite"); err != nil {
			return err
		}
		wantTitles(t, tx, "kite")
		wantTitles(t, db.Read(), "")
		return nil
	})
	wantTitles(t, db.Read(), "kite")
}

func updateUndoesAllOfTheWorkThatFails(t *testing.T, db *sqldb.DB) {
	err := db.Update(t.Context(), func(ctx context.Context, tx *sqldb.Tx) error {
		return errors.Join(add(ctx, tx, 1, "kite"), errWork)
	})
	if !errors.Is(err, errWork) {
		t.Errorf("error = %v, want that of the work", err)
	}
	insert(t, db, 2, "line")
	wantTitles(t, db.Read(), "line")
}

func updateUndoesTheWorkThatPanicsAndPanics(t *testing.T, db *sqldb.DB) {
	func() {
		defer func() {
			if cause := recover(); cause != "out of string" {
				t.Errorf("recovered %v, want the panic of the work", cause)
			}
		}()
		_ = db.Update(t.Context(), func(ctx context.Context, tx *sqldb.Tx) error {
			if err := add(ctx, tx, 1, "kite"); err != nil {
				t.Error(err)
			}
			panic("out of string")
		})
	}()
	insert(t, db, 2, "line")
	wantTitles(t, db.Read(), "line")
}

func updateUndoesTheWorkWhoseCommitFails(t *testing.T, db *sqldb.DB) {
	err := db.Update(t.Context(), func(ctx context.Context, tx *sqldb.Tx) error {
		return errors.Join(
			add(ctx, tx, 1, "kite"),
			tx.Exec(ctx, `INSERT INTO prices (item, amount) VALUES (99, 1999)`)) // the reference is checked by COMMIT
	})
	if err == nil || !strings.Contains(strings.ToLower(err.Error()), "foreign key constraint") {
		t.Errorf("error = %v, want that of the foreign key", err)
	}
	insert(t, db, 2, "line")
	wantTitles(t, db.Read(), "line")
}

func updateWithACancelledContextDoesNothing(t *testing.T, db *sqldb.DB) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 { // select chooses at random
		err := db.Update(ctx, func(context.Context, *sqldb.Tx) error {
			t.Error("the work was done")
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error = %v, want context.Canceled", err)
		}
	}
}

func updateThatWaitsForItsTurnEndsWithItsContext(t *testing.T, db *sqldb.DB) {
	update(t, db, func(tx *sqldb.Tx) error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		err := db.Update(ctx, func(context.Context, *sqldb.Tx) error {
			t.Error("two works run at the same time")
			return nil
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error = %v, want context.DeadlineExceeded", err)
		}
		return add(t.Context(), tx, 1, "kite")
	})
	wantTitles(t, db.Read(), "kite")
}

func updateThatHasBegunIsNotInterrupted(t *testing.T, db *sqldb.DB) {
	ctx, cancel := context.WithCancel(t.Context())
	err := db.Update(ctx, func(ctx context.Context, tx *sqldb.Tx) error {
		cancel()
		return add(ctx, tx, 1, "kite")
	})
	if err != nil {
		t.Errorf("Update: %v", err)
	}
	wantTitles(t, db.Read(), "kite")
}

func updatesRunOneAfterTheOther(t *testing.T, db *sqldb.DB) {
	const writers, each = 8, 5
	insert(t, db, 1, "0")
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range each {
				err := db.Update(t.Context(), func(ctx context.Context, tx *sqldb.Tx) error {
					var n int
					if err := sqldb.QueryRow(ctx, tx, `SELECT title FROM items WHERE id = 1`).Scan(&n); err != nil {
						return err
					}
					return tx.Exec(ctx, `UPDATE items SET title = ? WHERE id = 1`, strconv.Itoa(n+1))
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	wantTitles(t, db.Read(), "40")
}

func tryUndoesOnlyItsOwnWork(t *testing.T, db *sqldb.DB) {
	update(t, db, func(tx *sqldb.Tx) error {
		ctx := t.Context()
		if err := add(ctx, tx, 1, "before"); err != nil {
			return err
		}
		if err := tx.Try(ctx, func() error { return errors.Join(add(ctx, tx, 2, "undone"), errWork) }); !errors.Is(err, errWork) {
			t.Errorf("Try = %v, want the error of the work", err)
		}
		if err := tx.Try(ctx, func() error { return add(ctx, tx, 3, "before") }); err == nil {
			t.Error("the title before is taken twice")
		}
		if err := tx.Try(ctx, func() error { return add(ctx, tx, 4, "kept") }); err != nil {
			return err
		}
		return add(ctx, tx, 5, "after")
	})
	wantTitles(t, db.Read(), "before,kept,after")
}

func tryInsideTryUndoesTheInnerOrBoth(t *testing.T, db *sqldb.DB) {
	update(t, db, func(tx *sqldb.Tx) error {
		ctx := t.Context()
		nested := func(id int64, inner, outer error) error {
			return tx.Try(ctx, func() error {
				err := tx.Try(ctx, func() error { return errors.Join(add(ctx, tx, id, "inner "+string(rune('0'+id))), inner) })
				if !errors.Is(err, inner) {
					t.Errorf("inner Try = %v, want %v", err, inner)
				}
				return errors.Join(add(ctx, tx, id+1, "outer "+string(rune('0'+id))), outer)
			})
		}
		if err := nested(1, errWork, nil); err != nil {
			t.Errorf("outer Try = %v, want nil", err)
		}
		if err := nested(3, nil, errWork); !errors.Is(err, errWork) {
			t.Errorf("outer Try = %v, want the error of the work", err)
		}
		return nil
	})
	wantTitles(t, db.Read(), "outer 1")
}

func whatTriedAndSucceededIsUndoneWithTheUpdate(t *testing.T, db *sqldb.DB) {
	err := db.Update(t.Context(), func(ctx context.Context, tx *sqldb.Tx) error {
		if err := tx.Try(ctx, func() error { return add(ctx, tx, 1, "kite") }); err != nil {
			t.Error(err)
		}
		return errWork
	})
	if !errors.Is(err, errWork) {
		t.Errorf("error = %v, want that of the work", err)
	}
	wantTitles(t, db.Read(), "")
}

// On PostgreSQL only Try goes on.
func TestUpdateOfAFileGoesOnAfterAStatementThatFails(t *testing.T) {
	t.Parallel()
	db := openNew(t)
	update(t, db, func(tx *sqldb.Tx) error {
		if err := tx.Exec(t.Context(), `INSERT INTO nowhere VALUES (1)`); err == nil {
			t.Error("there is a table nowhere")
		}
		return add(t.Context(), tx, 1, "kite")
	})
	wantTitles(t, db.Read(), "kite")
}
