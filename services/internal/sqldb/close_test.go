package sqldb_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/kiteshop/kiteshop/services/internal/sqldb"
)

func TestCloseWaitsForTheWriteThatIsUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := openNew(t)
		began, goOn := make(chan struct{}), make(chan struct{})
		updated, closed := make(chan error, 1), make(chan error, 1)
		go func() {
			updated <- db.Update(t.Context(), func(ctx context.Context, tx *sqldb.Tx) error {
				close(began)
				<-goOn
				return add(ctx, tx, 1, "kite")
			})
		}()
		<-began
		go func() { closed <- db.Close() }()
		synctest.Wait()
		select {
		case err := <-closed:
			t.Errorf("Close returned %v while a write was under way", err)
		default:
		}
		close(goOn)
		if err := <-updated; err != nil {
			t.Errorf("Update: %v", err)
		}
		synctest.Wait()
	})
}

func TestCloseLeavesTheFileWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db := openDir(t, dir, schema(1))
	insert(t, db, 1, "kite")
	closeDB(t, db)
	if beside, err := filepath.Glob(filepath.Join(dir, "shop.db-*")); err != nil || len(beside) > 0 {
		t.Errorf("beside the file there are %v (error %v): a connection is open", beside, err)
	}
}

func closeLetsTheWriteThatIsUnderWayEnd(t *testing.T, db *sqldb.DB) {
	closed := make(chan error, 1)
	update(t, db, func(tx *sqldb.Tx) error {
		go func() { closed <- db.Close() }()
		for id := range int64(10) {
			if err := add(t.Context(), tx, id, fmt.Sprint("kite ", id)); err != nil {
				return err
			}
		}
		return nil
	})
	if err := <-closed; err != nil {
		t.Errorf("Close: %v", err)
	}
}

func afterCloseNothingAnswers(t *testing.T, db *sqldb.DB) {
	closeDB(t, db)
	if err := db.Ping(t.Context()); err == nil {
		t.Error("Ping answers")
	}
	if _, err := db.Read().Query(t.Context(), `SELECT 1`); err == nil {
		t.Error("Query answers")
	}
	if err := db.Update(t.Context(), func(context.Context, *sqldb.Tx) error { return nil }); err == nil {
		t.Error("Update answers")
	}
	if err := db.Close(); err != nil {
		t.Errorf("the second Close: %v", err)
	}
}
