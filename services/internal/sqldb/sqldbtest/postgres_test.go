package sqldbtest_test

import (
	"testing"

	"github.com/kiteshop/kiteshop/services/internal/sqldb/sqldbtest"
)

func TestAKilledServerStartsAgain(t *testing.T) {
	t.Parallel()
	server := sqldbtest.StartPostgres(t)
	first := server.Database()
	server.Kill()
	server.Start()
	if second := server.Database(); first == second {
		t.Errorf("both databases are %s", first)
	}
}
