package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/kiteshop/kiteshop/services/internal/sqldb"
)

// sold is a sale that was acknowledged.
type sold struct {
	key  string
	item int64
	id   string // of the reservation
}

// sales go on until they are stopped: items are created, received and reserved.
type sales struct {
	mu    sync.Mutex
	made  []sold
	stop  func()
	ended sync.WaitGroup
}

// sell begins sales at a shop by several callers. What a shop that stops refuses is no sale.
func sell(t *testing.T, c client) *sales {
	t.Helper()
	stopped := make(chan struct{})
	s := &sales{stop: sync.OnceFunc(func() { close(stopped) })}
	t.Cleanup(s.ended.Wait)
	t.Cleanup(s.stop)
	for caller := range 4 {
		s.ended.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stopped:
					return
				default:
				}
				key := fmt.Sprintf("sale-%d-%d", caller, i)
				id := c.stocked(key, 3)
				s.add(sold{key, id, c.reserve(id, 1, "Idempotency-Key: "+key).ID})
			}
		})
	}
	return s
}

func (s *sales) add(one sold) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made = append(s.made, one)
}

func (s *sales) soFar() []sold {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.made[:len(s.made):len(s.made)]
}

// wantSales demands that sales are known, that the books add up, and that no
// new item has the stock of an old one.
func (s running) wantSales(made []sold) {
	s.t.Helper()
	for _, one := range made {
		if again := s.reserve(one.item, 1, "Idempotency-Key: "+one.key); again.ID != one.id {
			s.t.Errorf("reservation %s of key %s is now %s", one.id, one.key, again.ID)
		}
		s.wantBalance(one.item, balance{OnHand: 3, Available: 2, Held: 1, Version: 2})
	}
	output, err := exec.Command(build(s.t, "../.."), "reconcile", "-stock", s.StockAddr().String()).CombinedOutput()
	if err != nil {
		s.t.Errorf("reconcile: %v\n%s", err, output)
	}
	s.wantBalance(s.create("new").ID, balance{})
}

func TestABackupOfARunningShopHasAllThatWasAcknowledgedBefore(t *testing.T) {
	t.Parallel()
	program, dir := build(t, "../.."), t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	s, stop := openUntil(t, config(at("data")))
	selling := sell(t, s.client)
	eventually(t, "some sales are made", func() bool { return len(selling.soFar()) > 20 })
	before := selling.soFar()
	run := func(code int, want string, args ...string) {
		t.Helper()
		cmd := exec.Command(program, args...)
		output, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != code || !regexp.MustCompile(want).Match(output) {
			t.Errorf("%q: it ended with %d and said\n%swant %d and\n%s", args, cmd.ProcessState.ExitCode(), output, code, want)
		}
	}
	table := `^FILE       BYTES +SCHEMA   CHECKED
stock.db   \d+ +4        whole, 0 numbers do not add up
item.db    \d+ +2        whole
%s is a copy of %s
$`
	run(0, fmt.Sprintf(table, at("backup"), at("data")), "backup", "-data", at("data"), at("backup"))
	run(1, "^kiteshop: "+at("backup")+" exists, and nothing is overwritten", "backup", "-data", at("data"), at("backup"))
	run(1, "^kiteshop: "+at("data/stock.db")+" is in use by process ", "restore", "-data", at("data"), at("backup"))
	selling.stop()
	selling.ended.Wait()
	stop()
	run(0, fmt.Sprintf(table, at("restored"), at("backup")), "restore", "-data", at("restored"), at("backup"))
	open(t, config(at("restored"))).wantSales(before)

	run(1, `^kiteshop: backup takes one new directory after its flags, and was given \[\]\n`, "backup")
	run(1, `^kiteshop: restore takes the directory of one backup after its flags, and was given \["a" "b"\]\n`, "restore", "a", "b")
	run(1, "^kiteshop: the data is in postgres://u@h:5432/d: use pg_dump", "backup", "-store", "postgres://u@h/d", at("b"))
	run(1, "^kiteshop: the data is to be in postgres://u@h:5432/d: use pg_restore", "restore", "-store", "postgres://u@h/d", at("b"))
}

func TestADumpOfARunningDatabaseHasAllThatWasAcknowledgedBefore(t *testing.T) {
	t.Parallel()
	cfg, server := onPostgres(t)
	selling := sell(t, open(t, cfg).client)
	eventually(t, "some sales are made", func() bool { return len(selling.soFar()) > 20 })
	before := selling.soFar()
	dump, err := server.Client("pg_dump", "--format=custom", "--dbname=shop1").Output()
	if err != nil {
		t.Fatalf("pg_dump: %v", err)
	}
	selling.stop()
	restored := config("")
	restored.Item.Store.Store = sqldb.Location(server.Database()) // shop2
	restore := server.Client("pg_restore", "--dbname=shop2", "--single-transaction", "--exit-on-error")
	restore.Stdin = strings.NewReader(string(dump))
	if output, err := restore.CombinedOutput(); err != nil {
		t.Fatalf("pg_restore: %v\n%s", err, output)
	}
	open(t, restored).wantSales(before)
}
