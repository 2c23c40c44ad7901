package store

import (
	"fmt"
	"slices"
	"testing"

	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/internal/sqldb/sqldbtest"
	"github.com/kiteshop/kiteshop/services/item/internal/domain"
)

func TestMovedItemsAreFoundAndTheirIDsAreNotUsedAgain(t *testing.T) {
	t.Parallel()
	const items = 2*indexPage + 7
	dir, server := t.TempDir(), sqldbtest.StartPostgres(t)
	onFile := open(t, sqldb.Config{Data: dir})
	for i := range items {
		mustCreate(t, onFile, domain.Fields{Title: fmt.Sprint("Kite ", i), Tags: []string{fmt.Sprint("tag", i)}})
	}
	last := mustCreate(t, onFile, domain.Fields{Title: "Kite of a day"})
	if err := onFile.Delete(t.Context(), at(0), last.ID, 0); err != nil {
		t.Fatal(err)
	}
	if err := onFile.Close(); err != nil {
		t.Fatal(err)
	}
	schema, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	location := sqldb.Location(server.Database())
	if _, err := sqldb.Move(t.Context(), sqldb.Config{Data: dir, Store: location}, schema); err != nil {
		t.Fatal(err)
	}
	moved := open(t, sqldb.Config{Store: location})
	for _, i := range []int{0, indexPage - 1, indexPage, items - 1} {
		if got := pages(t, moved, fmt.Sprint("kite tag", i), 10); len(got) != 1 || got[0] != fmt.Sprint(i+1) {
			t.Errorf("tag%d finds %v", i, got)
		}
	}
	if next := mustCreate(t, moved, domain.Fields{Title: "Kite of tomorrow"}); next.ID != last.ID+1 {
		t.Errorf("the next item is %d, want %d", next.ID, last.ID+1)
	}
}

func TestAllColumnsAreOnBothEngines(t *testing.T) {
	t.Parallel()
	schema, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	onFile, onServer := open(t, sqldb.Config{Data: t.TempDir()}), open(t, sqldb.Config{Store: sqldb.Location(sqldbtest.StartPostgres(t).Database())})
	// The indexes of SQLite's search, and what PostgreSQL has for them and for the next id, are made anew.
	wantNames(t, onFile, []string{"commands", "items"}, `SELECT name FROM sqlite_schema
		WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'search_%' AND name <> 'goose_db_version'`)
	wantNames(t, onServer, []string{"commands", "goose_db_version", "items", "last_deleted", "words"}, `SELECT tablename FROM pg_tables WHERE schemaname = current_schema()`)
	for _, table := range schema.Tables {
		columns := namesOf(t, onFile, `SELECT name FROM pragma_table_info(?)`, table)
		wantNames(t, onServer, columns, `SELECT column_name FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = ?`, table)
	}
}

func wantNames(t *testing.T, s *Store, want []string, query string, args ...any) {
	t.Helper()
	if got := namesOf(t, s, query, args...); !slices.Equal(got, want) {
		t.Errorf("there are %v, want %v", got, want)
	}
}

func namesOf(t *testing.T, s *Store, query string, args ...any) (names []string) {
	t.Helper()
	rows, err := s.db.Read().Query(t.Context(), query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
