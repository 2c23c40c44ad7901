package sqldb_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"

	"github.com/kiteshop/kiteshop/services/internal/sqldb"
)

func queryRowGivesTheFirstRowOrErrNoRows(t *testing.T, db *sqldb.DB) {
	insert(t, db, 1, "kite")
	insert(t, db, 2, "line")
	if got := query[string](t, db.Read(), `SELECT title FROM items ORDER BY id DESC`); got != "line" {
		t.Errorf("title = %q, want line", got)
	}
	var title string
	if err := sqldb.QueryRow(t.Context(), db.Read(), `SELECT title FROM items WHERE id = ?`, 3).Scan(&title); !errors.Is(err, sql.ErrNoRows) {
		t.Errorf("error = %v, want sql.ErrNoRows", err)
	}
	if err := sqldb.QueryRow(t.Context(), db.Read(), `SELECT nothing FROM items`).Scan(&title); err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("error = %v, want one that names the column", err)
	}
}

func readersCannotWrite(t *testing.T, db *sqldb.DB) {
	write := func(q sqldb.Querier) {
		t.Helper()
		var id int64
		err := sqldb.QueryRow(t.Context(), q, `INSERT INTO items (id, title) VALUES (1, 'kite') RETURNING id`).Scan(&id)
		if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), "-", ""), "readonly") {
			t.Errorf("error = %v, want that of what is read-only", err)
		}
	}
	write(db.Read())
	view(t, db, write)
	wantTitles(t, db.Read(), "")
}

func view(t *testing.T, db *sqldb.DB, work func(q sqldb.Querier)) {
	t.Helper()
	err := db.Read().View(t.Context(), func(q sqldb.Querier) error {
		work(q)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func aViewStaysAsItIsWhileWritersCommit(t *testing.T, db *sqldb.DB) {
	insert(t, db, 1, "kite")
	view(t, db, func(q sqldb.Querier) {
		wantTitles(t, q, "kite")
		insert(t, db, 2, "line")
		wantTitles(t, db.Read(), "kite,line")
		wantTitles(t, q, "kite")
		if got := query[int](t, q, `SELECT count(*) FROM items`); got != 1 {
			t.Errorf("a query that is new to the view counts %d items, want 1", got)
		}
	})
	view(t, db, func(q sqldb.Querier) { wantTitles(t, q, "kite,line") })
}

func aViewGivesTheErrorOfItsWork(t *testing.T, db *sqldb.DB) {
	for range 20 { // more than there are connections to lose
		if err := db.Read().View(t.Context(), func(sqldb.Querier) error { return errWork }); !errors.Is(err, errWork) {
			t.Fatalf("error = %v, want that of the work", err)
		}
	}
	wantTitles(t, db.Read(), "")
}

func readsThatAreUnderWayDoNotHoldUpOthers(t *testing.T, db *sqldb.DB) {
	insert(t, db, 1, "kite")
	for range 3 { // one less than there may be at the same time
		rows, err := db.Read().Query(t.Context(), `SELECT id FROM items`)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		if !rows.Next() {
			t.Fatal(rows.Err())
		}
	}
	insert(t, db, 2, "line")
	wantTitles(t, db.Read(), "kite,line")
}

func aReadEndsWithItsContext(t *testing.T, db *sqldb.DB) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := db.Read().Query(ctx, `SELECT 1`); !errors.Is(err, context.Canceled) {
		t.Errorf("Query: error = %v, want context.Canceled", err)
	}
	if err := db.Read().View(ctx, func(sqldb.Querier) error { return errWork }); !errors.Is(err, context.Canceled) {
		t.Errorf("View: error = %v, want context.Canceled", err)
	}
	if err := db.Ping(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Ping: error = %v, want context.Canceled", err)
	}
}
