package sqldb_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/internal/sqldb/sqldbtest"
)

func TestOpenWaitsForADatabaseThatStartsLater(t *testing.T) {
	t.Parallel()
	server := sqldbtest.StartPostgres(t)
	cfg := sqldb.Config{Store: sqldb.Location(server.Database()), Wait: time.Minute}
	server.Kill()
	started := false
	cfg.Waiting = func(err error) {
		if !errors.Is(err, sqldb.ErrUnavailable) {
			t.Errorf("waiting for %v", err)
		}
		if !started {
			server.Start()
			started = true
		}
	}
	db, err := sqldb.Open(t.Context(), cfg, "item", schema(1))
	if err != nil {
		t.Fatal(err)
	}
	closeDB(t, db)
	if !started {
		t.Error("it did not wait")
	}
}

func TestOpenWaitsForNothingThatMoreTimeDoesNotMend(t *testing.T) {
	t.Parallel()
	cfg := sqldb.Config{Store: "postgres://shop@127.0.0.1/shop?sslmode=perhaps", Wait: time.Hour}
	cfg.Waiting = func(err error) { t.Errorf("waiting for %v", err) }
	if _, err := sqldb.Open(t.Context(), cfg, "item", schema(1)); err == nil || errors.Is(err, sqldb.ErrUnavailable) {
		t.Errorf("error = %v", err)
	}
}

func TestOpenStopsWaitingWithItsContext(t *testing.T) {
	t.Parallel()
	server := sqldbtest.StartPostgres(t)
	cfg := sqldb.Config{Store: sqldb.Location(server.Database()), Wait: time.Hour}
	server.Kill()
	ctx, cancel := context.WithCancel(t.Context())
	cfg.Waiting = func(error) { cancel() }
	if _, err := sqldb.Open(ctx, cfg, "item", schema(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v", err)
	}
	server.Start() // which ends with the test
}
