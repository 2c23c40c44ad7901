package store

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

// During a rollout this version of the code works on the schema of the next,
// which may add columns, tables and indexes.
func TestThisVersionWorksOnTheNextSchema(t *testing.T) {
	t.Parallel()
	db := onPostgres(t)
	next := fstest.MapFS{}
	var tables []string
	if err := fs.WalkDir(migrations, "migrations/postgres", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".sql") {
			return err
		}
		text, err := fs.ReadFile(migrations, path)
		next["postgres/"+filepath.Base(path)] = &fstest.MapFile{Data: text}
		for line := range strings.Lines(string(text)) {
			if name, ok := strings.CutPrefix(line, "CREATE TABLE "); ok {
				tables = append(tables, strings.Fields(name)[0])
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if len(tables) != 8 {
		t.Fatalf("tables %q, want 8", tables)
	}
	var later strings.Builder
	later.WriteString("-- +goose Up\nCREATE TABLE later (id BIGINT PRIMARY KEY);\n")
	for _, table := range tables {
		fmt.Fprintf(&later, "ALTER TABLE %[1]s ADD COLUMN later BIGINT NOT NULL DEFAULT 7;\nCREATE INDEX %[1]s_later ON %[1]s (later);\n", table)
	}
	next["postgres/00099_later.sql"] = &fstest.MapFile{Data: []byte(later.String())}
	upgraded, err := sqldb.Open(t.Context(), db.cfg, "stock", next)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = upgraded.Close() })

	store := db.open(t, Options{})
	receive(t, store, 1, 100)
	held, err := inventory(store).Reserve(t.Context(), domain.Reserve{Lines: one(1, 10)})
	if err != nil {
		t.Fatal(err)
	}
	commands := keyed(held.ID)
	for _, name := range inTurn {
		if _, err := commands[name](inventory(store), "the key"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if results, err := inventory(store).Import(t.Context(), []domain.ImportLine{{ItemID: 9, Key: "import/a/b", Quantity: 4, Policy: domain.Deny}}); err != nil || !results[0].Changed {
		t.Errorf("import: %+v, %v", results, err)
	}
	if err := inventory(store).Purge(t.Context(), 0); err != nil {
		t.Error(err)
	}
	if got := slices.Sorted(maps.Keys(commands)); len(got) != len(inTurn) {
		t.Errorf("%d commands, %d of them in turn", len(got), len(inTurn))
	}
	wantSound(t, store)
}

func TestAFileOfTheVersionBeforeKeepsWhatItHad(t *testing.T) {
	t.Parallel()
	wantWhatItHad(t, database{cfg: before(t)}.open(t, Options{}))
}

// before is a file of the version before, with what is in testdata/before.sql.
func before(t *testing.T) sqldb.Config {
	t.Helper()
	migrated := fstest.MapFS{}
	for _, name := range []string{"00001_stock.sql", "00002_reservations.sql"} {
		text, err := fs.ReadFile(migrations, "migrations/sqlite/"+name)
		if err != nil {
			t.Fatal(err)
		}
		migrated["sqlite/"+name] = &fstest.MapFile{Data: text}
	}
	cfg := sqldb.Config{Data: t.TempDir()}
	old, err := sqldb.Open(t.Context(), cfg, "stock", migrated)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/before.sql")
	if err != nil {
		t.Fatal(err)
	}
	for statement := range strings.SplitSeq(strings.TrimSpace(string(text)), ";\n") {
		if err := old.Update(t.Context(), func(ctx context.Context, tx *sqldb.Tx) error { return tx.Exec(ctx, statement) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// wantWhatItHad demands that a store knows all of testdata/before.sql, and goes on.
func wantWhatItHad(t *testing.T, store *Store) {
	t.Helper()
	wantSound(t, store)
	wantBalance(t, store, 1, 7, 4, 3, 0)
	wantBalance(t, store, 2, -2, -2, 0, 0)
	books := inventory(store)
	results, err := books.Import(t.Context(), []domain.ImportLine{{ItemID: 1, Key: "import/hat/S", Quantity: 8, Policy: domain.Deny}})
	if err != nil || results[0].Changed {
		t.Errorf("the import again: %+v, %v; want nothing changed", results, err)
	}
	const held = "01a20425-7bdf-7b6e-9f94-ea1d0c4c620a"
	for _, step := range []domain.Step{domain.Commit, domain.Fulfil} {
		if _, err := books.Change(t.Context(), domain.Change{ID: held, Step: step}); err != nil {
			t.Error(err)
		}
	}
	made, err := books.Reserve(t.Context(), domain.Reserve{Lines: one(2, 100), TTL: time.Minute})
	if err != nil || made.Lines[0].Location != "main" {
		t.Errorf("%+v, %v; want a backorder without limit", made, err)
	}
	wantSound(t, store)
}
