package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/internal/sqldb/sqldbtest"
	"github.com/kiteshop/kiteshop/services/shop"
)

// onPostgres is a shop on free ports, whose services share a database.
func onPostgres(t *testing.T) (shop.Config, *sqldbtest.Postgres) {
	t.Helper()
	server := sqldbtest.StartPostgres(t)
	cfg := config("")
	cfg.Item.Store.Store = sqldb.Location(server.Database())
	return cfg, server
}

// onBothEngines runs a test on a shop with SQLite and on one with PostgreSQL.
func onBothEngines(t *testing.T, test func(t *testing.T, s running)) {
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, open(t, config(t.TempDir())))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		cfg, _ := onPostgres(t)
		test(t, open(t, cfg))
	})
}

func TestTheBannerShowsTheStoreWithoutItsPassword(t *testing.T) {
	t.Parallel()
	cfg, server := onPostgres(t)
	want := "data      postgres://kiteshop@" + server.Address() + "/shop1\n"
	if got := open(t, cfg).Banner(); !strings.Contains(got, want) {
		t.Errorf("the banner is %s, want %s in it", got, want)
	}
}

func TestWithoutPostgresTheShopIsUnavailableUntilItIsBack(t *testing.T) {
	t.Parallel()
	cfg, server := onPostgres(t)
	cfg.Item.Lifecycle.Admin = freePort(t)
	var log lockedBuffer
	cfg.Gateway.Telemetry.Output = &log
	s := open(t, cfg)
	readyz := func() string {
		response := client{t: t, base: "http://" + cfg.Item.Lifecycle.Admin}.send("GET", "/readyz", "")
		return fmt.Sprint(response.status, " ", response.body)
	}
	id := s.create("Beret").ID
	if got := readyz(); !strings.HasPrefix(got, "200 ") {
		t.Errorf("readyz before: %s", got)
	}

	server.Kill()
	for _, request := range [][3]string{
		{"GET", "/api/v1/items", ""},
		{"GET", "/api/v1/items?q=beret", ""},
		{"POST", "/api/v1/items", `{"title":"Bowler"}`},
		{"PATCH", fmt.Sprintf("/api/v1/items/%d", id), `{"title":"Bowler"}`},
	} {
		var problem struct{ Code, Detail string }
		s.send(request[0], request[1], request[2]).want(t, http.StatusServiceUnavailable, &problem)
		if problem.Code != "unavailable" || strings.Contains(problem.Detail, server.Address()) {
			t.Errorf("%v: %+v", request, problem)
		}
	}
	logged := log.String()
	if !strings.Contains(logged, "failed to connect to `user=kiteshop database=shop1`") {
		t.Errorf("the log does not say what the callers are not told:\n%s", logged)
	}
	if got := readyz(); !strings.HasPrefix(got, "503 ") || !strings.Contains(got, `"store":"the database is not available: `) {
		t.Errorf("readyz meanwhile: %s", got)
	}

	server.Start()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !strings.HasPrefix(readyz(), "200 ") && ctx.Err() == nil {
		<-time.After(10 * time.Millisecond)
	}
	var got page
	s.send("GET", "/api/v1/items?q=beret", "").want(t, http.StatusOK, &got)
	if len(got.Items) != 1 {
		t.Errorf("afterwards the search finds %+v", got.Items)
	}
}
