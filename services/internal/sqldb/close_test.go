package sqldb_test

import (
	"context"
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

func TestUpdateAfterCloseFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := openNew(t)
		closeDB(t, db)
		if err := db.Update(t.Context(), func(ctx context.Context, tx *sqldb.Tx) error { return nil }); err == nil {
			t.Error("no err")
		}
	})
}
