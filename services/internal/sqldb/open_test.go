package sqldb_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/kiteshop/kiteshop/services/internal/sqldb"
)

func openDir(t testing.TB, dir string, migrations fs.FS) *sqldb.DB {
	t.Helper()
	db, err := sqldb.Open(t.Context(), sqldb.Config{Data: dir}, "shop", migrations)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func openNew(t testing.TB) *sqldb.DB {
	t.Helper()
	return openDir(t, t.TempDir(), schema(1))
}

func TestOpenMakesTheDirectoryTheFileAndTheSchema(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b")
	db := openDir(t, dir, schema(2))
	if got := query[int](t, db.Read(), `SELECT count(*) FROM items, tags`); got != 0 {
		t.Errorf("rows = %d, want 0", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "shop.db")); err != nil {
		t.Error(err)
	}
	if err := db.Ping(t.Context()); err != nil {
		t.Errorf("Ping: %v", err)
	}
}

func TestOpenTakesTheDirectoryLiterally(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a b%20c?d=e#f&g", "ä+shop:1")
	db := openDir(t, dir, schema(1))
	insert(t, db, 1, "kite")
	closeDB(t, db)
	if _, err := os.Stat(filepath.Join(dir, "shop.db")); err != nil {
		t.Error(err)
	}
	wantTitles(t, openDir(t, dir, schema(1)).Read(), "kite")
}

func TestOpenRefusesADatabaseFromANewerVersion(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "shop.db")
	db := openDir(t, dir, schema(2))
	insert(t, db, 1, "kite")
	closeDB(t, db)

	_, err := sqldb.Open(t.Context(), sqldb.Config{Data: dir}, "shop", schema(1))
	want := "database " + path + ": its schema has version 2 and this program knows 1 at most: run the newer program that made it"
	if err == nil || err.Error() != want {
		t.Errorf("error = %v, want %s", err, want)
	}
	wantTitles(t, openDir(t, dir, schema(2)).Read(), "kite")
}

func TestASecondOpenSaysWhoHoldsTheFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "shop.db")
	db := openDir(t, dir, schema(1))
	want := fmt.Sprintf("%s is in use by process %d; stop it or give another directory with -data", path, os.Getpid())
	for range 2 {
		if _, err := sqldb.Open(t.Context(), sqldb.Config{Data: dir}, "shop", schema(1)); err == nil || err.Error() != want {
			t.Errorf("error = %v, want %s", err, want)
		}
	}
	insert(t, db, 1, "kite")
	closeDB(t, db)
	wantTitles(t, openDir(t, dir, schema(1)).Read(), "kite")
}

func TestOpenSaysWhichDirectoryCannotBeMade(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(file, "data")
	_, err := sqldb.Open(t.Context(), sqldb.Config{Data: dir}, "shop", schema(1))
	want := "the data directory " + dir + " cannot be made (give another with -data): "
	if err == nil || !strings.HasPrefix(err.Error(), want) || !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("error = %v, want %s…", err, want)
	}
}

func TestOpenRefusesAFileThatIsNoDatabaseAndLeavesItAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "shop.db")
	text := strings.Repeat("not a database; ", 100)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := sqldb.Open(t.Context(), sqldb.Config{Data: dir}, "shop", schema(1))
	if err == nil || !strings.HasPrefix(err.Error(), "database "+path+": ") {
		t.Errorf("error = %v, want one that names %s", err, path)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != text {
		t.Errorf("the file was changed (error %v)", err)
	}
}

func TestAMigrationThatFailsLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	broken := schema(2)
	broken["sqlite/00002_tags.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\nCREATE TABLE tags (item INTEGER);\nINSERT INTO nowhere VALUES (1);\n")}
	if _, err := sqldb.Open(t.Context(), sqldb.Config{Data: dir}, "shop", broken); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("error = %v, want one that names the table", err)
	}
	db := openDir(t, dir, schema(2))
	if got := query[int](t, db.Read(), `SELECT count(*) FROM tags`); got != 0 {
		t.Errorf("tags = %d, want 0", got)
	}
}

func TestEveryConnectionKeepsThePromisesOfTheFile(t *testing.T) {
	t.Parallel()
	db := openNew(t)
	check := func(q sqldb.Querier) {
		t.Helper()
		for pragma, want := range map[string]string{
			"journal_mode": "wal",
			"synchronous":  "2", // FULL: a commit waits for the disk
			"foreign_keys": "1",
			"busy_timeout": "5000", // milliseconds
		} {
			if got := query[string](t, q, `PRAGMA `+pragma); got != want {
				t.Errorf("%s = %s, want %s", pragma, got, want)
			}
		}
	}
	check(db.Read())
	update(t, db, func(tx *sqldb.Tx) error {
		check(tx)
		return nil
	})
}
