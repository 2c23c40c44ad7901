package sqldb_test

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/internal/sqldb/sqldbtest"
)

// TestBothEngines keeps the promises that do not depend on the engine.
func TestBothEngines(t *testing.T) {
	t.Parallel()
	promises := map[string]func(t *testing.T, db *sqldb.DB){
		"QueryRow gives the first row or ErrNoRows":                  queryRowGivesTheFirstRowOrErrNoRows,
		"readers cannot write":                                       readersCannotWrite,
		"a view stays as it is while writers commit":                 aViewStaysAsItIsWhileWritersCommit,
		"a view gives the error of its work":                         aViewGivesTheErrorOfItsWork,
		"reads that are under way do not hold up others":             readsThatAreUnderWayDoNotHoldUpOthers,
		"a read ends with its context":                               aReadEndsWithItsContext,
		"after Close nothing answers":                                afterCloseNothingAnswers,
		"Close lets the write that is under way end":                 closeLetsTheWriteThatIsUnderWayEnd,
		"Update is seen by readers when it returns":                  updateIsSeenByReadersWhenItReturns,
		"Update undoes all of the work that fails":                   updateUndoesAllOfTheWorkThatFails,
		"Update undoes the work that panics, and panics":             updateUndoesTheWorkThatPanicsAndPanics,
		"Update undoes the work whose commit fails":                  updateUndoesTheWorkWhoseCommitFails,
		"Update with a cancelled context does nothing":               updateWithACancelledContextDoesNothing,
		"Update that waits for its turn ends with its context":       updateThatWaitsForItsTurnEndsWithItsContext,
		"Update that has begun is not interrupted":                   updateThatHasBegunIsNotInterrupted,
		"updates run one after the other":                            updatesRunOneAfterTheOther,
		"Try undoes only its own work":                               tryUndoesOnlyItsOwnWork,
		"Try inside Try undoes the inner or both":                    tryInsideTryUndoesTheInnerOrBoth,
		"what was tried and succeeded is undone with the Update":     whatTriedAndSucceededIsUndoneWithTheUpdate,
		"an argument is an argument wherever the statement has it":   anArgumentIsAnArgument,
		"a text with a question mark as its argument stays as it is": aQuestionMarkInAnArgumentStays,
	}
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		for promise, test := range promises {
			t.Run(promise, func(t *testing.T) {
				t.Parallel()
				test(t, openNew(t))
			})
		}
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		location := sqldb.Location(sqldbtest.StartPostgres(t).Database())
		names := 0
		for promise, test := range promises {
			names++
			name := fmt.Sprintf("shop%d", names)
			t.Run(promise, func(t *testing.T) {
				t.Parallel()
				test(t, openSchema(t, location, name, schema(1)))
			})
		}
	})
}

// schema is the migrations of the tests, in order.
func schema(versions int) fstest.MapFS {
	files := fstest.MapFS{}
	for engine, number := range map[string]string{"sqlite": "INTEGER", "postgres": "bigint"} {
		files[engine+"/00001_items.sql"] = migration(`
CREATE TABLE items (id ` + number + ` PRIMARY KEY, title TEXT NOT NULL UNIQUE);
CREATE TABLE prices (item ` + number + ` NOT NULL REFERENCES items (id) DEFERRABLE INITIALLY DEFERRED, amount ` + number + ` NOT NULL);`)
		if versions >= 2 {
			files[engine+"/00002_tags.sql"] = migration(`CREATE TABLE tags (item ` + number + ` NOT NULL REFERENCES items (id), tag TEXT NOT NULL);`)
		}
	}
	return files
}

func migration(up string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte("-- +goose Up\n" + up + "\n")}
}

func openSchema(t testing.TB, location sqldb.Location, name string, migrations fs.FS) *sqldb.DB {
	t.Helper()
	db, err := sqldb.Open(t.Context(), sqldb.Config{Store: location}, name, migrations)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func closeDB(t testing.TB, db *sqldb.DB) {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// query reads the one value of the one row that the query gives.
func query[T any](t *testing.T, q sqldb.Querier, text string, args ...any) (value T) {
	t.Helper()
	if err := sqldb.QueryRow(t.Context(), q, text, args...).Scan(&value); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return value
}

func wantTitles(t *testing.T, q sqldb.Querier, want string) {
	t.Helper()
	rows, err := q.Query(t.Context(), `SELECT title FROM items ORDER BY id`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var titles []string
	for rows.Next() {
		var title string
		if err := rows.Scan(&title); err != nil {
			t.Fatal(err)
		}
		titles = append(titles, title)
	}
	if got := strings.Join(titles, ","); got != want || rows.Err() != nil {
		t.Errorf("titles = %q (error %v), want %q", got, rows.Err(), want)
	}
}

func anArgumentIsAnArgument(t *testing.T, db *sqldb.DB) {
	for id := range int64(12) {
		insert(t, db, id, fmt.Sprint("kite ", id))
	}
	got := query[string](t, db.Read(), `SELECT title FROM items WHERE id NOT IN (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) AND id < ?`,
		0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11)
	if got != "kite 10" {
		t.Errorf("title = %q, want kite 10", got)
	}
}

func aQuestionMarkInAnArgumentStays(t *testing.T, db *sqldb.DB) {
	insert(t, db, 1, "kite? $1")
	update(t, db, func(tx *sqldb.Tx) error {
		return tx.Exec(t.Context(), `UPDATE items SET title = ? WHERE title = ?`, "line?", "kite? $1")
	})
	wantTitles(t, db.Read(), "line?")
}
