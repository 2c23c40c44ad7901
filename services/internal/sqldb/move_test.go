package sqldb_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/internal/sqldb/sqldbtest"
)

// kites is a closed file with three items and their prices, one of which PostgreSQL takes otherwise.
func kites(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	db := openDir(t, dir, schema(1))
	price(t, db, 1, "kite", 5)
	price(t, db, 2, "line ünd 'tail'\n\\N\t", -9_007_199_254_740_993)
	price(t, db, 3, "", 0)
	closeDB(t, db)
	return dir
}

func TestAMoveBringsEveryRow(t *testing.T) {
	t.Parallel()
	dir, location := kites(t), sqldb.Location(sqldbtest.StartPostgres(t).Database())
	moving := whole(1)
	moving.Finish = func(ctx context.Context, tx *sqldb.Tx, ids map[string]int64) error {
		if ids["goose_db_version"] < 1 {
			t.Errorf("the last ids are %v, want those of goose's table, which counts", ids)
		}
		return tx.Exec(ctx, `INSERT INTO items (id, title) SELECT 4, 'made of the others'; INSERT INTO prices VALUES (4, 0)`)
	}
	moved, err := sqldb.Move(t.Context(), sqldb.Config{Data: dir, Store: location}, moving)
	if err != nil {
		t.Fatal(err)
	}
	if len(moved) != 2 || moved[0].Table != "items" || moved[0].Rows != 3 || len(moved[0].Checksum) != 64 || moved[1].Rows != 3 || moved[1].Checksum == moved[0].Checksum {
		t.Errorf("moved %+v", moved)
	}
	read := openSchema(t, location, "shop", schema(1)).Read()
	wantTitles(t, read, "kite,line ünd 'tail'\n\\N\t,,made of the others")
	if got := query[int64](t, read, `SELECT amount FROM prices WHERE item = 2`); got != 9_007_199_254_740_993 {
		t.Errorf("the amount is %d", got)
	}
	wantTitles(t, openDir(t, dir, schema(1)).Read(), "kite,line ünd 'tail'\n\\N\t,")
}

func TestAMoveThatFailsMovesNothingAndSaysWhy(t *testing.T) {
	t.Parallel()
	server := sqldbtest.StartPostgres(t)
	prepared := func(statement string) sqldb.Location {
		location := sqldb.Location(server.Database())
		db := openSchema(t, location, "shop", schema(1))
		if statement != "" {
			update(t, db, func(tx *sqldb.Tx) error { return tx.Exec(t.Context(), statement) })
		}
		closeDB(t, db)
		return location
	}
	used, old, drifting := kites(t), kites(t), kites(t)
	inUse := openDir(t, used, schema(1))
	t.Cleanup(func() { _ = inUse.Close() })
	executeFile(t, filepath.Join(drifting, "shop.db"), `DELETE FROM prices WHERE item = 3`)
	spoilt := `CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN new.amount = new.amount + 1; RETURN new; END';
		CREATE TRIGGER spoil BEFORE INSERT ON prices FOR EACH ROW WHEN (new.item = 3) EXECUTE FUNCTION spoil()`
	lost := `CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
		CREATE TRIGGER lose BEFORE INSERT ON prices FOR EACH ROW WHEN (new.item = 2) EXECUTE FUNCTION lose()`
	failing := whole(1)
	failing.Finish = func(context.Context, *sqldb.Tx, map[string]int64) error { return errors.New("the words are missing") }
	for _, c := range []struct {
		name, dir string
		location  sqldb.Location
		schema    sqldb.Schema
		want      string
	}{
		{"of nothing", t.TempDir(), prepared(""), whole(1), "name a directory that has the data of a shop"},
		{"of a file in use", used, prepared(""), whole(1), fmt.Sprintf("is in use by process %d", os.Getpid())},
		{"of an older schema", old, prepared(""), whole(2), "its schema has version 1 and this program's is 2: run the shop of this program on it once"},
		{"to another version", kites(t), prepared(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (9, true)`), whole(1), "the schema shop has version 9 and this program's is 1: give a new database"},
		{"to one that is used", kites(t), prepared(`INSERT INTO items VALUES (9, 'hat')`), whole(1), "the table items has rows, and nothing is mixed"},
		{"to one that changes a value", kites(t), prepared(spoilt), whole(1), "table prices: what is stored is not what was sent: 3 rows"},
		{"to one that loses a row", kites(t), prepared(lost), whole(1), "table prices: what is stored is not what was sent: 2 rows"},
		{"of numbers that do not add up", drifting, prepared(""), whole(1), "1 numbers do not add up"},
		{"that cannot be finished", kites(t), prepared(""), failing, "the words are missing"},
		{"to no URL", kites(t), "postgres://", whole(1), "-store: the user is missing"},
	} {
		_, err := sqldb.Move(t.Context(), sqldb.Config{Data: c.dir, Store: c.location}, c.schema)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
		if strings.HasSuffix(c.name, "used") || strings.HasSuffix(c.name, "URL") {
			continue
		}
		var left int
		ask(t, server, c.location, `SELECT (SELECT count(*) FROM shop.items) + (SELECT count(*) FROM shop.prices)`, &left)
		if left != 0 {
			t.Errorf("%s: %d rows are left", c.name, left)
		}
	}
	gone := sqldb.Location(server.Database())
	server.Kill()
	if _, err := sqldb.Move(t.Context(), sqldb.Config{Data: kites(t), Store: gone}, whole(1)); !errors.Is(err, sqldb.ErrUnavailable) {
		t.Errorf("without a server: %v, want ErrUnavailable", err)
	}
}

// ask reads the one value of a query in a database of the server.
func ask(t *testing.T, server *sqldbtest.Postgres, location sqldb.Location, text string, value any) {
	t.Helper()
	password, err := os.ReadFile(server.PasswordFile())
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := pgx.ParseConfig(location.String())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Password, cfg.TLSConfig = strings.TrimSpace(string(password)), nil
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if err := conn.QueryRow(t.Context(), text).Scan(value); err != nil {
		t.Fatal(err)
	}
}
