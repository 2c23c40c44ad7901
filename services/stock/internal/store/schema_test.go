package store

import (
	"slices"
	"testing"

	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

func TestAFileOfTheVersionBeforeIsMovedWithAllItHad(t *testing.T) {
	t.Parallel()
	file, server := before(t), onPostgres(t)
	store := database{cfg: file}.open(t, Options{}) // migrates it
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	schema, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sqldb.Move(t.Context(), sqldb.Config{Data: file.Data, Store: server.cfg.Store}, schema); err != nil {
		t.Fatal(err)
	}
	wantWhatItHad(t, server.open(t, Options{}))
}

func TestAllTablesAreMovedWithAllTheirColumns(t *testing.T) {
	t.Parallel()
	server := onPostgres(t)
	onFile, onServer := database{cfg: sqldb.Config{Data: t.TempDir()}}.open(t, Options{}), server.open(t, Options{})
	const ofFile = `SELECT t.name || '.' || c.name FROM sqlite_schema t, pragma_table_info(t.name) c
		WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' AND t.name <> 'goose_db_version'`
	const ofServer = `SELECT c.table_name || '.' || c.column_name FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
		WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' AND table_name <> 'goose_db_version'`
	columns := columnsOf(t, onFile, ofFile)
	if got := columnsOf(t, onServer, ofServer); !slices.Equal(got, columns) {
		t.Errorf("PostgreSQL has the columns %v, SQLite %v", got, columns)
	}
	schema, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	var moved []string
	for _, table := range schema.Tables {
		moved = append(moved, columnsOf(t, onFile, `SELECT '`+table+`.' || name FROM pragma_table_info('`+table+`')`)...)
	}
	slices.Sort(moved)
	if !slices.Equal(moved, columns) {
		t.Errorf("moved are %v, and there are %v", moved, columns)
	}
	if floor := (domain.Rules{Policy: domain.Backorder}).Floor(); floor != -1000000000000 {
		t.Errorf("the floor without a limit is %d, which Schema must know", floor)
	}
}

func columnsOf(t *testing.T, store *Store, query string) (columns []string) {
	t.Helper()
	rows, err := store.db.Read().Query(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var column string
		if err := rows.Scan(&column); err != nil {
			t.Fatal(err)
		}
		columns = append(columns, column)
	}
	slices.Sort(columns)
	return columns
}
