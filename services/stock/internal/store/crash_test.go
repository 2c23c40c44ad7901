package store

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

// torture makes the tests long: .ci/torture.
var torture = os.Getenv("TORTURE") != ""

const (
	coldItem = 2
	ample    = 1_000_000 // units of the hot and of the cold item, before the callers come
)

func receiveAmple(t *testing.T, store *Store) {
	t.Helper()
	receive(t, store, hotItem, ample)
	receive(t, store, coldItem, ample)
}

// caller has commands numbered from 0. Each has a key, so that it can be repeated.
type caller struct {
	books *domain.Inventory
	name  string
}

// kinds is how many kinds of commands take turns.
const kinds = 6

func (c caller) do(ctx context.Context, n int) error {
	key := fmt.Sprintf("%s/%d", c.name, n)
	switch n % kinds {
	case 0:
		_, err := c.books.Adjust(ctx, domain.Adjustment{ItemID: coldItem, Delta: 3, Reason: domain.Received, Reference: key, Key: key})
		return err
	case 1:
		_, err := c.books.Reserve(ctx, domain.Reserve{Lines: one(hotItem, 1), Reference: key, Key: key})
		return err
	case 2:
		_, err := c.both(ctx, key)
		return err
	case 3:
		r, err := c.both(ctx, fmt.Sprintf("%s/%d", c.name, n-1)) // again
		if err == nil {
			_, err = c.books.Change(ctx, domain.Change{ID: r.ID, Step: domain.Commit, Key: key})
		}
		return err
	case 4:
		r, err := c.both(ctx, fmt.Sprintf("%s/%d", c.name, n-2)) // again
		if err == nil {
			err = c.do(ctx, n-1) // again
		}
		if err == nil {
			_, err = c.books.Change(ctx, domain.Change{ID: r.ID, Step: domain.Fulfil, Key: key})
		}
		return err
	default: // one unit of an item that nobody else has; the reference of its movement is the key
		found := []domain.Count{{ItemID: itemOf(key), OnHand: 1}}
		results, err := c.books.Sync(ctx, domain.Sync{Name: c.name, Batch: int64(n), Counts: found})
		if err == nil && results[0] != (domain.CountResult{Delta: 1}) {
			err = fmt.Errorf("count %d was answered %+v, want one more", n, results)
		}
		return err
	}
}

// itemOf is the item of a key.
func itemOf(key string) int64 {
	sum := fnv.New64a()
	fmt.Fprint(sum, key)
	return int64(sum.Sum64() >> 1)
}

// both reserves of both items.
func (c caller) both(ctx context.Context, key string) (domain.Reservation, error) {
	lines := []domain.Line{{ItemID: coldItem, Quantity: 2}, {ItemID: hotItem, Quantity: 1}}
	return c.books.Reserve(ctx, domain.Reserve{Lines: lines, Reference: key, Key: key})
}

// done is how many commands of each kind were done.
type done [kinds]int64

// add adds the first n commands of a caller.
func (d *done) add(n int) {
	for i := range n {
		d[i%kinds]++
	}
}

// want demands that each command was done once.
func (d *done) want(t *testing.T, store *Store) {
	t.Helper()
	held, committed := d[2]-d[3], d[3]-d[4] // of those of both items
	onHand := ample - d[4]
	wantBalance(t, store, hotItem, onHand, onHand-d[1]-held-committed, d[1]+held, committed)
	onHand = ample + 3*d[0] - 2*d[4]
	wantBalance(t, store, coldItem, onHand, onHand-2*held-2*committed, 2*held, 2*committed)
	var counted []int64
	if err := query(t.Context(), store.db.Read(), scanInto(&counted), `SELECT count(*) FROM movements WHERE reason = 'counted' AND delta = 1`); err != nil || counted[0] != d[5] {
		t.Errorf("%d movements are of counts, %v; want %d", counted, err, d[5])
	}
	wantSound(t, store)
}

// childOrder is the JSON in the environment of a process that is the test
// binary and works until it is killed.
const childOrder = "STOCK_TEST_WORK_UNTIL_KILLED"

const childCallers = 8

// order is what a child is told.
type order struct {
	Data, Store string
	// Name begins the names of its callers.
	Name string
	// Point is where it kills itself, the time that is the number Pass. Empty: it waits to be killed.
	Point string
	Pass  int64
}

func TestMain(m *testing.M) {
	if text := os.Getenv(childOrder); text != "" {
		fmt.Fprintln(os.Stderr, workUntilKilled(text))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// workUntilKilled prints the caller and the number of each command that is answered.
func workUntilKilled(text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	ctx := context.Background()
	var passes atomic.Int64
	store, err := Open(ctx, sqldb.Config{Data: o.Data, Store: sqldb.Location(o.Store)}, Options{at: func(point string) {
		if point == o.Point && passes.Add(1) == o.Pass {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}})
	if err != nil {
		return err
	}
	failed := make(chan error)
	for i := range childCallers {
		c := caller{inventory(store), fmt.Sprintf("%s/%d", o.Name, i)}
		go func() {
			for n := 0; ; n++ {
				if err := c.do(ctx, n); err != nil {
					failed <- err
					return
				}
				fmt.Printf("%d %d\n", i, n)
			}
		}()
	}
	return <-failed
}

// child is a process that works until it is killed.
type child struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
	// acknowledged is how many commands of each caller were answered.
	acknowledged [childCallers]int
}

func startChild(t *testing.T, db database, o order) *child {
	t.Helper()
	o.Data, o.Store = db.cfg.Data, string(db.cfg.Store)
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childOrder+"="+string(text))
	cmd.Stderr = t.Output()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &child{cmd: cmd, lines: bufio.NewScanner(stdout)}
}

// next reads the next answer; there is none after the child's end.
func (c *child) next(t *testing.T) bool {
	t.Helper()
	if !c.lines.Scan() {
		return false
	}
	var i, n int
	if _, err := fmt.Sscanf(c.lines.Text(), "%d %d", &i, &n); err != nil || n != c.acknowledged[i] {
		t.Fatalf("the child printed %q after %d commands, %v", c.lines.Text(), c.acknowledged[i], err)
	}
	c.acknowledged[i]++
	return true
}

// rest reads until the child's end, which must be a kill.
func (c *child) rest(t *testing.T) {
	t.Helper()
	for c.next(t) {
	}
	if state := c.cmd.Wait(); state == nil || state.Error() != "signal: killed" {
		t.Fatalf("the child ended with %v, want signal: killed", state)
	}
}

// wantAnswered demands that what was acknowledged is there once. One more
// command of each caller was under way, and may be there once.
func (c *child) wantAnswered(t *testing.T, store *Store, name string) {
	t.Helper()
	var stored [childCallers]map[int]int
	for i := range stored {
		stored[i] = map[int]int{}
	}
	err := query(t.Context(), store.db.Read(), func(r *sql.Rows) error {
		var reference, state string
		if err := r.Scan(&reference, &state); err != nil {
			return err
		}
		at := strings.Split(reference, "/")
		i, err1 := strconv.Atoi(at[1])
		n, err2 := strconv.Atoi(at[2])
		if err1 != nil || err2 != nil {
			return fmt.Errorf("reference %q", reference)
		}
		stored[i][n]++
		if state == string(domain.Committed) || state == string(domain.Fulfilled) {
			stored[i][n+1]++
		}
		if state == string(domain.Fulfilled) {
			stored[i][n+2]++
		}
		return nil
	}, `SELECT reference, state FROM reservations WHERE reference LIKE ? UNION ALL SELECT reference, '' FROM movements WHERE reference LIKE ?`, name+"/%", name+"/%")
	if err != nil {
		t.Fatal(err)
	}
	for i, acknowledged := range c.acknowledged {
		for n := range acknowledged {
			if stored[i][n] != 1 {
				t.Errorf("command %d of caller %d was acknowledged and is there %d times", n, i, stored[i][n])
			}
			delete(stored[i], n)
		}
		if stored[i][acknowledged] == 1 {
			delete(stored[i], acknowledged)
		}
		if len(stored[i]) > 0 {
			t.Errorf("of caller %d, who was answered %d commands, there are besides, by number: %v", i, acknowledged, stored[i])
		}
	}
}

// repeat does what was under way, and counts all that is done.
func (c *child) repeat(t *testing.T, store *Store, name string, d *done) {
	t.Helper()
	for i, n := range c.acknowledged {
		if err := (caller{inventory(store), fmt.Sprintf("%s/%d", name, i)}).do(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		d.add(n + 1)
	}
}

// The points are on a batch's way; the empty one is any moment.
func TestWhatWasAcknowledgedSurvivesAKillAtEachPoint(t *testing.T) {
	t.Parallel()
	kills := 4 // at each point on each engine
	if torture {
		kills = 50
	}
	onEachEngine(t, func(t *testing.T, db database) {
		store := db.open(t, Options{})
		receiveAmple(t, store)
		var all done
		for kill := range kills {
			for _, point := range []string{"", "load", "write", "commit", "answer"} {
				if err := store.Close(); err != nil {
					t.Fatal(err)
				}
				o := order{Name: fmt.Sprintf("%s %d", point, kill), Point: point, Pass: 1 + rand.Int64N(20)}
				worker := startChild(t, db, o)
				if point == "" {
					for range 1 + rand.IntN(60) {
						if !worker.next(t) {
							t.Fatal("the child ended by itself")
						}
					}
					if err := worker.cmd.Process.Kill(); err != nil {
						t.Fatal(err)
					}
				}
				worker.rest(t)

				store = db.open(t, Options{})
				worker.wantAnswered(t, store, o.Name)
				worker.repeat(t, store, o.Name, &all)
				all.want(t, store)
				if t.Failed() {
					t.Fatalf("after kill %d at %q", kill, point)
				}
			}
		}
	})
}
