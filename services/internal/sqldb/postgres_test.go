package sqldb_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/internal/sqldb/sqldbtest"
)

// TestPostgres keeps the promises of a database that several processes share.
func TestPostgres(t *testing.T) {
	t.Parallel()
	server := sqldbtest.StartPostgres(t)
	for promise, test := range map[string]func(t *testing.T, location sqldb.Location){
		"two that open a fresh database at the same time migrate it once": twoThatOpenMigrateOnce,
		"the program before works on the schema of the next one":          theProgramBeforeWorksOnTheNextSchema,
		"a migration that fails leaves nothing behind":                    aMigrationThatFailsLeavesNoSchemaChange,
		"a migration may take longer than a statement of the service":     aMigrationHasNoTimeout,
		"a service without migrations for it says so":                     aServiceWithoutMigrationsSaysSo,
		"services have schemas of their own":                              servicesHaveSchemasOfTheirOwn,
		"a schema that exists needs no right to create one":               aSchemaThatExistsIsTaken,
		"updates of two processes run one after the other":                updatesOfTwoProcessesRunOneAfterTheOther,
		"an update that the server undoes runs again, a few times":        anUpdateThatTheServerUndoesRunsAgain,
		"a statement that fails outside Try fails the update":             aStatementOutsideTryFailsTheUpdate,
		"a commit whose connection ends has an unknown outcome":           aCommitWhoseConnectionEndsIsUnknown,
		"a new connection uses the password that the file has now":        aNewConnectionReadsThePasswordFile,
		"a wrong password is not shown":                                   aWrongPasswordIsNotShown,
		"every connection has its bounds":                                 everyConnectionHasItsBounds,
	} {
		location := sqldb.Location(server.Database())
		t.Run(promise, func(t *testing.T) {
			t.Parallel()
			test(t, location)
		})
	}
}

func twoThatOpenMigrateOnce(t *testing.T, location sqldb.Location) {
	dbs := make([]*sqldb.DB, 4)
	var all sync.WaitGroup
	for i := range dbs {
		all.Go(func() {
			var err error
			if dbs[i], err = sqldb.Open(t.Context(), sqldb.Config{Store: location}, "shop", schema(2)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, db := range dbs {
		if db != nil {
			defer closeDB(t, db)
		}
	}
	if t.Failed() {
		return
	}
	if got := query[string](t, dbs[0].Read(), `SELECT string_agg(version_id::text, ',' ORDER BY id) FROM goose_db_version`); got != "0,1,2" {
		t.Errorf("versions = %s, want 0,1,2", got)
	}
	insert(t, dbs[0], 1, "kite")
	wantTitles(t, dbs[3].Read(), "kite")
}

func theProgramBeforeWorksOnTheNextSchema(t *testing.T, location sqldb.Location) {
	before := openSchema(t, location, "shop", schema(1))
	next := openSchema(t, location, "shop", schema(2))
	restarted := openSchema(t, location, "shop", schema(1))
	insert(t, before, 1, "before")
	insert(t, next, 2, "next")
	insert(t, restarted, 3, "restarted")
	wantTitles(t, before.Read(), "before,next,restarted")
	if got := query[int](t, next.Read(), `SELECT count(*) FROM tags`); got != 0 {
		t.Errorf("tags = %d, want 0", got)
	}
}

func aMigrationThatFailsLeavesNoSchemaChange(t *testing.T, location sqldb.Location) {
	broken := schema(2)
	broken["postgres/00002_tags.sql"] = migration(`CREATE TABLE tags (item bigint); INSERT INTO nowhere VALUES (1);`)
	if _, err := sqldb.Open(t.Context(), sqldb.Config{Store: location}, "shop", broken); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("error = %v, want one that names the table", err)
	}
	db := openSchema(t, location, "shop", schema(2))
	if got := query[int](t, db.Read(), `SELECT count(*) FROM tags`); got != 0 {
		t.Errorf("tags = %d, want 0", got)
	}
}

func aMigrationHasNoTimeout(t *testing.T, location sqldb.Location) {
	settings := schema(2)
	settings["postgres/00002_tags.sql"] = migration(`CREATE TABLE tags AS SELECT current_setting('statement_timeout') AS tag;`)
	db := openSchema(t, location, "shop", settings)
	if got := query[string](t, db.Read(), `SELECT tag FROM tags`); got != "0" {
		t.Errorf("a statement of a migration may take %s, want no bound", got)
	}
}

func aServiceWithoutMigrationsSaysSo(t *testing.T, location sqldb.Location) {
	files := schema(1)
	delete(files, "postgres/00001_items.sql")
	_, err := sqldb.Open(t.Context(), sqldb.Config{Store: location}, "shop", files)
	if want := "the service has no migrations for postgres: "; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error = %v, want %s…", err, want)
	}
}

func servicesHaveSchemasOfTheirOwn(t *testing.T, location sqldb.Location) {
	item, stock := openSchema(t, location, "item", schema(1)), openSchema(t, location, "stock", schema(2))
	insert(t, item, 1, "kite")
	insert(t, stock, 1, "line")
	wantTitles(t, item.Read(), "kite")
	wantTitles(t, stock.Read(), "line")
}

func aSchemaThatExistsIsTaken(t *testing.T, location sqldb.Location) {
	admin := openSchema(t, location, "admin", schema(1))
	execute(t, admin, `CREATE ROLE plain LOGIN PASSWORD 'simple'`)
	execute(t, admin, `CREATE SCHEMA shop AUTHORIZATION plain`)
	insert(t, openSchema(t, as(t, location, "plain", "simple"), "shop", schema(1)), 1, "kite")
	_, err := sqldb.Open(t.Context(), sqldb.Config{Store: as(t, location, "plain", "simple")}, "other", schema(1))
	if err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("error = %v, want one of a permission", err)
	}
}

// execute runs what Update would not: it writes anywhere.
func execute(t *testing.T, db *sqldb.DB, statement string) {
	t.Helper()
	if _, err := db.Postgres().Exec(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

// as is the location for another user, with the password in a new file.
func as(t *testing.T, location sqldb.Location, user, password string) sqldb.Location {
	t.Helper()
	u, err := url.Parse(string(location))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	u.User = url.User(user)
	u.RawQuery = url.Values{"sslmode": {"disable"}, "password_file": {file}}.Encode()
	return sqldb.Location(u.String())
}

func passwordFile(t *testing.T, location sqldb.Location) string {
	t.Helper()
	u, err := url.Parse(string(location))
	if err != nil {
		t.Fatal(err)
	}
	return u.Query().Get("password_file")
}

func updatesOfTwoProcessesRunOneAfterTheOther(t *testing.T, location sqldb.Location) {
	const each = 25
	replicas := []*sqldb.DB{openSchema(t, location, "shop", schema(1)), openSchema(t, location, "shop", schema(1))}
	insert(t, replicas[0], 1, "0")
	var all sync.WaitGroup
	for range 2 {
		for _, db := range replicas {
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
	}
	all.Wait()
	wantTitles(t, replicas[0].Read(), "100")
}

func anUpdateThatTheServerUndoesRunsAgain(t *testing.T, location sqldb.Location) {
	db := openSchema(t, location, "shop", schema(1))
	deadlocks := func(most int) (runs int, err error) {
		err = db.Update(t.Context(), func(ctx context.Context, tx *sqldb.Tx) error {
			if runs++; runs <= most {
				return tx.Exec(ctx, `DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'deadlock_detected'; END $$`)
			}
			return add(ctx, tx, int64(runs), fmt.Sprint("run ", runs))
		})
		return runs, err
	}
	if runs, err := deadlocks(2); runs != 3 || err != nil {
		t.Errorf("after %d runs: %v", runs, err)
	}
	if runs, err := deadlocks(1000); runs != 3 || !errors.Is(err, sqldb.ErrUnavailable) {
		t.Errorf("after %d runs: %v, want that it is unavailable", runs, err)
	}
	wantTitles(t, db.Read(), "run 3")
}

func aStatementOutsideTryFailsTheUpdate(t *testing.T, location sqldb.Location) {
	db := openSchema(t, location, "shop", schema(1))
	err := db.Update(t.Context(), func(ctx context.Context, tx *sqldb.Tx) error {
		if err := add(ctx, tx, 1, "kite"); err != nil {
			return err
		}
		_ = tx.Exec(ctx, `INSERT INTO nowhere VALUES (1)`)
		return nil
	})
	if err == nil || errors.Is(err, sqldb.ErrOutcomeUnknown) {
		t.Errorf("error = %v, want one that says that nothing was stored", err)
	}
	insert(t, db, 2, "line")
	wantTitles(t, db.Read(), "line")
}

func aCommitWhoseConnectionEndsIsUnknown(t *testing.T, location sqldb.Location) {
	db := openSchema(t, location, "shop", schema(1))
	execute(t, db, `CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$`)
	execute(t, db, `CREATE CONSTRAINT TRIGGER dies AFTER INSERT ON prices DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION die()`)
	err := db.Update(t.Context(), func(ctx context.Context, tx *sqldb.Tx) error {
		return errors.Join(add(ctx, tx, 1, "kite"), tx.Exec(ctx, `INSERT INTO prices VALUES (1, 1)`))
	})
	if !errors.Is(err, sqldb.ErrOutcomeUnknown) || errors.Is(err, sqldb.ErrUnavailable) {
		t.Errorf("error = %v, want that the outcome is unknown", err)
	}
	insert(t, db, 2, "line")
	wantTitles(t, db.Read(), "line")
}

func aNewConnectionReadsThePasswordFile(t *testing.T, location sqldb.Location) {
	admin := openSchema(t, location, "admin", schema(1))
	execute(t, admin, `CREATE ROLE rotating LOGIN PASSWORD 'first'`)
	execute(t, admin, `CREATE SCHEMA shop AUTHORIZATION rotating`)
	rotating := as(t, location, "rotating", "first")
	db := openSchema(t, rotating, "shop", schema(1))
	insert(t, db, 1, "kite")

	execute(t, admin, `ALTER ROLE rotating PASSWORD 'second'`)
	insert(t, db, 2, "line") // the connection is the old one
	db.Postgres().Reset()
	if err := db.Update(t.Context(), func(context.Context, *sqldb.Tx) error { return nil }); !errors.Is(err, sqldb.ErrUnavailable) {
		t.Errorf("with the old password: %v, want that it is unavailable", err)
	}
	if err := os.WriteFile(passwordFile(t, rotating), []byte("second"), 0o600); err != nil {
		t.Fatal(err)
	}
	insert(t, db, 3, "tail")
	wantTitles(t, db.Read(), "kite,line,tail")
}

func aWrongPasswordIsNotShown(t *testing.T, location sqldb.Location) {
	u, err := url.Parse(string(location))
	if err != nil {
		t.Fatal(err)
	}
	u.User, u.RawQuery = url.UserPassword(u.User.Username(), "hunter2"), "sslmode=disable"
	_, err = sqldb.Open(t.Context(), sqldb.Config{Store: sqldb.Location(u.String())}, "shop", schema(1))
	if !errors.Is(err, sqldb.ErrUnavailable) || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "kiteshop:***@"+u.Host+u.Path) {
		t.Errorf("error = %v, want one that names the database and not the password", err)
	}
}

func everyConnectionHasItsBounds(t *testing.T, location sqldb.Location) {
	db := openSchema(t, location+"&pool_max_conns=3", "shop", schema(1))
	check := func(q sqldb.Querier, readOnly string) {
		t.Helper()
		for setting, want := range map[string]string{
			"statement_timeout":                   "10s",
			"lock_timeout":                        "5s",
			"idle_in_transaction_session_timeout": "10s",
			"search_path":                         `"shop"`,
			"default_transaction_read_only":       readOnly,
		} {
			if got := query[string](t, q, `SELECT current_setting(?)`, setting); got != want {
				t.Errorf("%s = %s, want %s", setting, got, want)
			}
		}
	}
	check(db.Read(), "on")
	update(t, db, func(tx *sqldb.Tx) error {
		check(tx, "off")
		return nil
	})
	if got := db.Postgres().Config().MaxConns; got != 3 {
		t.Errorf("connections = %d, want 3", got)
	}
}

func TestADatabaseThatIsGoneIsUnavailableUntilItIsBack(t *testing.T) {
	t.Parallel()
	server := sqldbtest.StartPostgres(t)
	db := openSchema(t, sqldb.Location(server.Database()), "shop", schema(1))
	insert(t, db, 1, "kite")
	calls := func() map[string]error {
		rows, queried := db.Read().Query(t.Context(), `SELECT 1`)
		if queried == nil {
			queried = errors.Join(rows.Close())
		}
		return map[string]error{
			"Ping":  db.Ping(t.Context()),
			"Query": queried,
			"View": db.Read().View(t.Context(), func(view sqldb.Querier) error {
				return sqldb.QueryRow(t.Context(), view, `SELECT 1`).Scan(new(int))
			}),
			"Update": db.Update(t.Context(), func(context.Context, *sqldb.Tx) error { return nil }),
		}
	}
	err := db.Update(t.Context(), func(ctx context.Context, tx *sqldb.Tx) error {
		if err := add(ctx, tx, 2, "line"); err != nil {
			return err
		}
		server.Kill()
		return add(ctx, tx, 3, "tail")
	})
	if !errors.Is(err, sqldb.ErrUnavailable) {
		t.Errorf("an Update that is under way: %v", err)
	}
	for name, err := range calls() {
		if !errors.Is(err, sqldb.ErrUnavailable) {
			t.Errorf("%s: %v, want that it is unavailable", name, err)
		}
	}
	server.Start()
	for name, err := range calls() {
		if err != nil {
			t.Errorf("%s after the start: %v", name, err)
		}
	}
	wantTitles(t, db.Read(), "kite")
}

func TestAServerThatHangsHoldsNoCallLongerThanItsContext(t *testing.T) {
	t.Parallel()
	server := sqldbtest.StartPostgres(t)
	db := openSchema(t, sqldb.Location(server.Database()), "shop", schema(1))
	insert(t, db, 1, "kite")
	server.Freeze()
	for name, call := range map[string]func(ctx context.Context) error{
		"Ping": db.Ping,
		"Update": func(ctx context.Context) error {
			return db.Update(ctx, func(context.Context, *sqldb.Tx) error { return nil })
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := call(ctx); !errors.Is(err, sqldb.ErrUnavailable) {
			t.Errorf("%s: %v, want that it is unavailable", name, err)
		}
		cancel()
	}
	server.Thaw()
	insert(t, db, 2, "line")
	wantTitles(t, db.Read(), "kite,line")
}
