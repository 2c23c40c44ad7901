package store

import (
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/internal/sqldb/sqldbtest"
	"github.com/kiteshop/kiteshop/services/item/internal/domain"
)

// TestBothEngines keeps the promises that do not depend on the engine.
func TestBothEngines(t *testing.T) {
	t.Parallel()
	promises := map[string]func(t *testing.T, cfg sqldb.Config){
		"an answer from memory is never older than its bound":         anAnswerFromMemoryIsNeverOlderThanItsBound,
		"a change made here is seen at once":                          aChangeMadeHereIsSeenAtOnce,
		"of more matches than are ranked the newest take part":        ofMoreMatchesThanAreRankedTheNewestTakePart,
		"a row of an import that is refused changes nothing":          aRowOfAnImportThatIsRefusedChangesNothing,
		"a key has one effect and equal answers also after a restart": aKeyHasOneEffectAndEqualAnswers,
		"a key with other parameters is refused":                      aKeyWithOtherParametersIsRefused,
		"a refused command does not burn its key":                     aRefusedCommandDoesNotBurnItsKey,
		"equal keys at the same time have one effect":                 equalKeysAtTheSameTimeHaveOneEffect,
		"a key older than the retention is forgotten":                 aKeyOlderThanTheRetentionIsForgotten,
		"an update that is refused is not stored":                     anUpdateThatIsRefusedIsNotStored,
		"an id is not used twice":                                     anIDIsNotUsedTwice,
		"an item comes back as it was stored":                         anItemComesBackAsItWasStored,
		"a batch comes in the order in which it was asked for":        aBatchComesInTheOrderAskedFor,
		"a SKU and a variant are taken once, however long they are":   aSKUAndAVariantAreTakenOnce,
		"only an item of the expected version is changed or deleted":  onlyTheExpectedVersionIsChanged,
		"an import of a strange handle refuses its row":               anImportOfAStrangeHandleRefusesItsRow,
		"a list goes through all items":                               aListGoesThroughAllItems,
		"a seed is planted once":                                      aSeedIsPlantedOnce,
		"a search finds words by their places":                        aSearchRanksByPlaces,
	}
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		for promise, test := range promises {
			t.Run(promise, func(t *testing.T) {
				t.Parallel()
				test(t, sqldb.Config{Data: t.TempDir()})
			})
		}
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		server := sqldbtest.StartPostgres(t)
		for promise, test := range promises {
			cfg := sqldb.Config{Store: sqldb.Location(server.Database())}
			t.Run(promise, func(t *testing.T) {
				t.Parallel()
				test(t, cfg)
			})
		}
	})
}

// openAt opens the database of cfg; on PostgreSQL again, as another replica.
func openAt(t testing.TB, cfg sqldb.Config, maxAge time.Duration, now func() time.Time) *Store {
	t.Helper()
	s, err := Open(t.Context(), cfg, maxAge, now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func open(t testing.TB, cfg sqldb.Config) *Store {
	t.Helper()
	return openAt(t, cfg, 0, time.Now)
}

// executeElsewhere runs a statement that the store does not know of.
func executeElsewhere(t *testing.T, s *Store, cfg sqldb.Config, statement string, args ...any) {
	t.Helper()
	if pool := s.db.Postgres(); pool != nil {
		if _, err := pool.Exec(t.Context(), statement, args...); err != nil {
			t.Fatal(err)
		}
		return
	}
	elsewhere, err := sql.Open("sqlite", filepath.Join(cfg.Data, "item.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close()
	if _, err := elsewhere.Exec(statement, args...); err != nil {
		t.Fatal(err)
	}
}

func mustCreate(t *testing.T, s *Store, fields domain.Fields) domain.Item {
	t.Helper()
	fields.Status = domain.Active
	item, err := s.Create(t.Context(), at(0), fields)
	if err != nil {
		t.Fatal(err)
	}
	return *item.Item
}

// at is a command without a key, so many milliseconds after 1970.
func at(millis int64) domain.Command { return domain.Command{At: time.UnixMilli(millis)} }

func retitle(title string) func(domain.Fields) (domain.Fields, error) {
	return func(fields domain.Fields) (domain.Fields, error) {
		fields.Title = title
		return fields, nil
	}
}
