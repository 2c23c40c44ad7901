package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

const (
	hotItem   = 1
	oneLine   = `[{"ItemID":1,"Quantity":1,"Location":"main"}]`
	spreadTo  = 10_000 // items
	roundTime = 400 * time.Millisecond
)

// BenchmarkReserve compares reservations of one unit of one hot item, all
// durable, with a baseline that writes the same rows. One iteration is one
// round of each side, in turns; the figures are medians of the rounds.
func BenchmarkReserve(b *testing.B) {
	for _, callers := range []int{64, 512} {
		b.Run(fmt.Sprintf("postgres/%d callers against one statement each", callers), func(b *testing.B) {
			store := benchStore(b, onPostgres(b))
			compare(b, callers, reserving(store, hot, newID), naivePostgres(b, store))
		})
	}
	b.Run("postgres/one caller against one statement each", func(b *testing.B) {
		store := benchStore(b, onPostgres(b))
		compare(b, 1, reserving(store, hot, newID), naivePostgres(b, store))
	})
	for engine, open := range map[string]func(b *testing.B) *Store{
		"postgres": func(b *testing.B) *Store { return benchStore(b, onPostgres(b)) },
		"sqlite":   func(b *testing.B) *Store { return benchStore(b, database{cfg: sqldb.Config{Data: b.TempDir()}}) },
	} {
		b.Run(engine+"/512 callers against 10,000 items", func(b *testing.B) {
			store := open(b)
			compare(b, 512, reserving(store, hot, newID), reserving(store, spread, newID))
		})
		b.Run(engine+"/512 callers of a sold out item against one in stock", func(b *testing.B) {
			store := open(b)
			soldOut := reserving(store, func() int64 { return spreadTo + 1 }, newID)
			compare(b, 512, func(ctx context.Context) error {
				if err := soldOut(ctx); fault.CodeOf(err) != fault.SoldOut {
					return fmt.Errorf("not sold out: %w", err)
				}
				return nil
			}, reserving(store, hot, newID))
		})
	}
	for keys, newKey := range map[string]func() string{"ordered": newID, "random": rand.Text} {
		b.Run("sqlite/512 callers with "+keys+" keys against a log", func(b *testing.B) {
			store := benchStore(b, database{cfg: sqldb.Config{Data: b.TempDir()}})
			compare(b, 512, reserving(store, hot, newKey), rawLog(b))
		})
	}
	b.Run("sqlite/one caller against one transaction each", func(b *testing.B) {
		store := benchStore(b, database{cfg: sqldb.Config{Data: b.TempDir()}})
		compare(b, 1, reserving(store, hot, newID), naiveSQLite(store))
	})
}

func hot() int64 { return hotItem }

// spread gives the items in turns that do not follow their order.
func spread() int64 { return 1 + int64(turn.Add(7919)%spreadTo) }

// turn is shared by all that spread.
var turn atomic.Uint64

// benchStore has enough of every item but of the last, which is sold out.
func benchStore(b *testing.B, db database) *Store {
	b.Helper()
	store := db.open(b, Options{})
	var commands []domain.Command
	for id := int64(1); id <= spreadTo+1; id++ {
		commands = append(commands, domain.Adjustment{ItemID: id, Delta: domain.MaxQuantity, Reason: domain.Received, Key: newID()})
		if id == spreadTo+1 {
			commands = append(commands, domain.Adjustment{ItemID: id, Delta: -domain.MaxQuantity, Reason: domain.Sold, Key: newID()})
		}
		if len(commands) >= 500 || id > spreadTo {
			outcomes, err := store.Do(b.Context(), commands...)
			if err != nil {
				b.Fatal(err)
			}
			for _, outcome := range outcomes {
				if outcome.Err != nil {
					b.Fatal(outcome.Err)
				}
			}
			commands = nil
		}
	}
	return store
}

// work is what one caller does once.
type work func(ctx context.Context) error

func reserving(store *Store, item func() int64, newKey func() string) work {
	books := inventory(store)
	return func(ctx context.Context) error {
		_, err := books.Reserve(ctx, domain.Reserve{Lines: one(item(), 1), Key: newKey()})
		return err
	}
}

// naivePostgres is the best of the simple forms: one statement that checks,
// changes and records, and commits by itself.
func naivePostgres(b *testing.B, store *Store) work {
	b.Helper()
	cfg := store.db.Postgres().Config()
	cfg.MaxConns = 64
	pool, err := pgxpool.NewWithConfig(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	const statement = `
		WITH taken AS (
			UPDATE stock SET available = available - $3, held = held + $3, version = version + 1
			WHERE item_id = $2 AND location = 'main' AND available >= floor + $3 RETURNING item_id
		), made AS (
			INSERT INTO reservations (id, state, lines, reference, expires_at, created_at, updated_at, key, fingerprint, ttl)
			SELECT $1::uuid, 'HELD', $7, '', $4::bigint + 900000, $4, $4, $5, $6, 900000 FROM taken RETURNING id
		)
		INSERT INTO reservation_items (item_id, reservation_id) SELECT $2, id FROM made`
	return func(ctx context.Context) error {
		made, err := pool.Exec(ctx, statement, newID(), hotItem, 1, time.Now().UnixMilli(), newID(), "900000 \"\" 1*1@\"\"", oneLine)
		if err == nil && made.RowsAffected() != 1 {
			err = errors.New("nothing was reserved")
		}
		return err
	}
}

func naiveSQLite(store *Store) work {
	return func(ctx context.Context) error {
		return store.db.Update(ctx, func(ctx context.Context, tx *sqldb.Tx) error {
			id, now := newID(), time.Now().UnixMilli()
			return errors.Join(
				tx.Exec(ctx, `UPDATE stock SET available = available - 1, held = held + 1, version = version + 1
					WHERE item_id = ? AND location = 'main' AND available > floor`, hotItem),
				tx.Exec(ctx, `INSERT INTO reservations (id, state, lines, reference, expires_at, created_at, updated_at, key, fingerprint, ttl)
					VALUES (?, 'HELD', ?, '', ?, ?, ?, ?, ?, 900000)`, id, oneLine, now+900000, now, now, newID(), "900000 \"\" 1*1@\"\""),
				tx.Exec(ctx, `INSERT INTO reservation_items (item_id, reservation_id) VALUES (?, ?)`, hotItem, id))
		})
	}
}

// rawLog is the limit of what can be durable: the same lane appends what a
// reservation consists of to a file, with one sync for a batch.
func rawLog(b *testing.B) work {
	b.Helper()
	file, err := os.Create(filepath.Join(b.TempDir(), "log"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = file.Close() })
	var text strings.Builder
	log := newLane(func(_ context.Context, commands []domain.Command) ([]domain.Outcome, error) {
		text.Reset()
		outcomes := make([]domain.Outcome, len(commands))
		for i, command := range commands {
			r, _ := command.(domain.Reserve)
			fmt.Fprintf(&text, "%s HELD %s %d %d %d %s %s %d %s\n", r.ID, oneLine, 1<<40, 1<<40, 1<<40, r.Key, r.Fingerprint(), r.TTL, r.ID)
			outcomes[i].Answer.Reservation = &domain.Reservation{ID: r.ID}
		}
		_, err := file.WriteString(text.String())
		return outcomes, errors.Join(err, file.Sync())
	}, Measured{})
	b.Cleanup(log.close)
	return func(ctx context.Context) error {
		r := domain.Reserve{ID: newID(), Lines: one(hotItem, 1), TTL: domain.DefaultTTL, Key: newID()}
		if err := r.Validate(); err != nil {
			return err
		}
		_, err := log.do(ctx, []domain.Command{r})
		return err
	}
}

// compare reports how many times as much of ours is done as of the baseline.
func compare(b *testing.B, callers int, ours, baseline work) {
	round(b, callers, ours) // to warm up
	round(b, callers, baseline)
	var rates, baseRates, ratios, p50s, p99s, p50Ratios, p99Ratios []float64
	for b.Loop() {
		mine, other := round(b, callers, ours), round(b, callers, baseline)
		rates, baseRates, ratios = append(rates, mine.rate), append(baseRates, other.rate), append(ratios, mine.rate/other.rate)
		p50s, p99s = append(p50s, mine.p50), append(p99s, mine.p99)
		p50Ratios, p99Ratios = append(p50Ratios, mine.p50/other.p50), append(p99Ratios, other.p99/mine.p99)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(rates), "ours/s")
	b.ReportMetric(median(baseRates), "baseline/s")
	b.ReportMetric(median(ratios), "x-baseline")
	b.ReportMetric(median(p50s), "p50-ms")
	b.ReportMetric(median(p99s), "p99-ms")
	b.ReportMetric(median(p50Ratios), "x-baseline-p50")
	b.ReportMetric(median(p99Ratios), "baseline-p99/p99")
}

// result is that of a round: calls a second, and milliseconds of a call.
type result struct{ rate, p50, p99 float64 }

func round(b *testing.B, callers int, do work) result {
	b.Helper()
	taken := make([][]float64, callers)
	start := time.Now()
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			for time.Since(start) < roundTime {
				began := time.Now()
				if err := do(b.Context()); err != nil {
					b.Error(err)
					return
				}
				taken[i] = append(taken[i], float64(time.Since(began))/float64(time.Millisecond))
			}
		})
	}
	all.Wait()
	elapsed := time.Since(start).Seconds()
	sorted := slices.Concat(taken...)
	slices.Sort(sorted)
	return result{float64(len(sorted)) / elapsed, sorted[len(sorted)/2], sorted[len(sorted)*99/100]}
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
