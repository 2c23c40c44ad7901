package sqldb_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kiteshop/kiteshop/services/internal/sqldb"
)

// whole describes the database of the tests. An item without a price is drift.
func whole(versions int) sqldb.Schema {
	return sqldb.Schema{
		Name:       "shop",
		Migrations: schema(versions),
		Tables:     []string{"items", "prices"},
		Instead:    map[string]string{"prices.amount": "abs(amount)"},
		Finish:     func(context.Context, *sqldb.Tx, map[string]int64) error { return nil },
		Drift:      `SELECT id FROM items WHERE id NOT IN (SELECT item FROM prices)`,
	}
}

// price inserts a title and its price.
func price(t *testing.T, db *sqldb.DB, id int64, title string, amount int64) {
	t.Helper()
	update(t, db, func(tx *sqldb.Tx) error {
		return errors.Join(
			tx.Exec(t.Context(), `INSERT INTO items (id, title) VALUES (?, ?)`, id, title),
			tx.Exec(t.Context(), `INSERT INTO prices (item, amount) VALUES (?, ?)`, id, amount))
	})
}

func TestACopyIsOfOneMomentWhileOthersWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db := openDir(t, dir, schema(1))
	begun, stop, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	defer func() {
		close(stop)
		<-ended
	}()
	go func() {
		defer close(ended)
		for id := int64(1); ; id++ {
			price(t, db, id, fmt.Sprint("kite ", id), id)
			if id == 10 {
				close(begun)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	select {
	case <-begun:
	case <-ended:
		return // it has said why
	}
	least := int64(10)
	for i := range 5 {
		to := filepath.Join(dir, fmt.Sprint("copy", i))
		copied, err := sqldb.Copy(t.Context(), dir, to, whole(1))
		if err != nil {
			t.Fatal(err)
		}
		if c := copied[0]; len(copied) != 1 || c.Name != "shop.db" || c.Version != 1 || !c.Compared || c.Drifts != 0 {
			t.Errorf("copied %+v", copied)
		}
		read := openDir(t, to, schema(1)).Read()
		items, prices := query[int64](t, read, `SELECT max(id) FROM items`), query[int64](t, read, `SELECT count(*) FROM prices`)
		if items != prices || items < least {
			t.Errorf("copy %d has %d items and %d prices, want as many of both, and %d or more", i, items, prices, least)
		}
		least = items
	}
}

func TestACopyIsOneFileAndTheOriginalStaysAsItWas(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data, first, second := filepath.Join(dir, "data"), filepath.Join(dir, "first"), filepath.Join(dir, "second")
	db := openDir(t, data, schema(1))
	price(t, db, 1, "kite", 5)
	closeDB(t, db)
	before, err := os.ReadFile(filepath.Join(data, "shop.db"))
	if err != nil {
		t.Fatal(err)
	}
	for _, of := range [][2]string{{data, first}, {first, second}} {
		if _, err := sqldb.Copy(t.Context(), of[0], of[1], whole(1)); err != nil {
			t.Fatal(err)
		}
		files, err := os.ReadDir(of[1])
		if err != nil || len(files) != 1 {
			t.Errorf("%s has %v, want shop.db alone", of[1], files)
		}
	}
	if after, err := os.ReadFile(filepath.Join(data, "shop.db")); err != nil || string(after) != string(before) {
		t.Errorf("the original has changed: %v", err)
	}
	wantTitles(t, openDir(t, second, schema(1)).Read(), "kite")
}

func TestACopySaysWhatDoesNotAddUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	insert(t, openDir(t, filepath.Join(dir, "data"), schema(1)), 1, "kite")
	copied, err := sqldb.Copy(t.Context(), filepath.Join(dir, "data"), filepath.Join(dir, "copy"), whole(1))
	if err != nil || copied[0].Drifts != 1 {
		t.Errorf("copied %+v, %v; want one drift", copied, err)
	}
	copied, err = sqldb.Copy(t.Context(), filepath.Join(dir, "copy"), filepath.Join(dir, "newer"), whole(2))
	if err != nil || copied[0].Compared || copied[0].Version != 1 {
		t.Errorf("copied %+v, %v; want the older schema 1, not compared", copied, err)
	}
}

func TestACopyThatFailsLeavesNothingAndSaysWhy(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	at := func(name string) string { return filepath.Join(parent, name) }
	used := openDir(t, at("used"), schema(1))
	insert(t, used, 1, "kite")
	closeDB(t, openDir(t, at("newer"), schema(2)))
	damaged := openDir(t, at("damaged"), schema(1))
	for id := range int64(500) {
		insert(t, damaged, id, fmt.Sprint(strings.Repeat("kite", 20), id))
	}
	closeDB(t, damaged)
	spoil(t, at("damaged/shop.db"))
	orphans := openDir(t, at("orphans"), schema(1))
	closeDB(t, orphans)
	executeFile(t, at("orphans/shop.db"), `INSERT INTO prices (item, amount) VALUES (7, 1)`)
	if err := os.MkdirAll(at("empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(at("foreign"), 0o700); err != nil {
		t.Fatal(err)
	}
	executeFile(t, at("foreign/shop.db"), `CREATE TABLE customers (id INTEGER)`)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	before := namesIn(t, parent)
	for _, c := range []struct {
		name     string
		ctx      context.Context
		from, to string
		want     string
	}{
		{"onto a directory", t.Context(), "used", "empty", at("empty") + " exists, and nothing is overwritten: name another directory, or move that one away"},
		{"onto one in use", t.Context(), "damaged", "used", fmt.Sprintf("%s is in use by process %d; stop it", at("used/shop.db"), os.Getpid())},
		{"of nothing", t.Context(), "empty", "new", "there is no " + at("empty/shop.db") + ": name a directory that has the data of a shop"},
		{"of another program's file", t.Context(), "foreign", "new", "database " + at("foreign/shop.db") + ": it is none of the shop"},
		{"of a newer schema", t.Context(), "newer", "new", "its schema has version 2 and this program knows 1 at most"},
		{"of a damaged file", t.Context(), "damaged", "new", "copy of " + at("damaged/shop.db") + ": the file is damaged"},
		{"of rows without those they refer to", t.Context(), "orphans", "new", "1 rows refer to others that are missing"},
		{"to a place that does not exist", t.Context(), "used", "no/new", "no such file or directory"},
		{"when the time is over", ended, "used", "new", "context canceled"},
	} {
		_, err := sqldb.Copy(c.ctx, at(c.from), at(c.to), whole(1))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	if left := strings.Join(namesIn(t, parent), " "); left != strings.Join(before, " ") {
		t.Errorf("there are now %s, before %s", left, before)
	}
}

// spoil overwrites a page in the middle of a file.
func spoil(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(strings.Repeat("spoilt", 600)), 5*4096); err != nil {
		t.Fatal(err)
	}
}

// executeFile runs a statement on a file without any rule about foreign keys.
func executeFile(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func namesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}
