package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/zerolog"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

// site is a database that is reached through a proxy.
type site struct {
	database
	direct *pgxpool.Pool
	proxy  *toxiproxy.Proxy
}

func proxied(t *testing.T, db database) site {
	t.Helper()
	proxy := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), t.Name(), "127.0.0.1:0", db.server.Address())
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Stop)
	s := site{db, connect(t, db), proxy}
	s.cfg.Store = sqldb.Location(strings.Replace(string(db.cfg.Store), db.server.Address(), proxy.Listen, 1))
	return s
}

// toxic adds one to all connections and gives what removes it.
func (s site) toxic(t *testing.T, kind, stream, attributes string) (remove func()) {
	t.Helper()
	added, err := s.proxy.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(`{"type": %q, "stream": %q, "attributes": {%s}}`, kind, stream, attributes)))
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := s.proxy.Toxics.RemoveToxic(context.Background(), added.Name); err != nil {
			t.Error(err)
		}
	}
}

// connect gives connections that pass by the proxy and have no timeouts.
func connect(t *testing.T, db database) *pgxpool.Pool {
	t.Helper()
	location, err := url.Parse(string(db.cfg.Store))
	if err != nil {
		t.Fatal(err)
	}
	password, err := os.ReadFile(db.server.PasswordFile())
	if err != nil {
		t.Fatal(err)
	}
	location.User = url.UserPassword(location.User.Username(), strings.TrimSpace(string(password)))
	location.RawQuery = "sslmode=disable&search_path=stock"
	pool, err := pgxpool.New(t.Context(), location.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// lock locks the stock of the hot item until free is called.
func lock(t *testing.T, pool *pgxpool.Pool) (free func()) {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	if err == nil {
		_, err = tx.Exec(t.Context(), `SELECT FROM stock WHERE item_id = $1 FOR UPDATE`, hotItem)
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := tx.Rollback(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

// outages are those that a server or its network may have. Each ends when it was noticed.
var outages = []struct {
	name   string
	strike func(t *testing.T, s site, noticed func())
}{
	{"the server is killed", func(_ *testing.T, s site, noticed func()) {
		s.server.Kill()
		noticed()
		s.server.Start()
	}},
	{"the server is frozen", func(_ *testing.T, s site, noticed func()) {
		s.server.Freeze()
		noticed()
		s.server.Thaw()
	}},
	{"somebody holds a lock", func(t *testing.T, s site, noticed func()) {
		free := lock(t, s.direct)
		noticed()
		free()
	}},
	{"what is sent is reset", poisoned("reset_peer", "upstream", func() string { return `"timeout": 0` })},
	{"what is answered is reset", poisoned("reset_peer", "downstream", func() string { return `"timeout": 0` })},
	{"what is sent is cut somewhere", poisoned("limit_data", "upstream", anyBytes)},
	{"what is answered is cut somewhere", poisoned("limit_data", "downstream", anyBytes)},
	{"what is sent is swallowed", poisoned("timeout", "upstream", func() string { return `"timeout": 0` })},
	{"what is answered is swallowed", poisoned("timeout", "downstream", func() string { return `"timeout": 0` })},
}

func anyBytes() string { return fmt.Sprintf(`"bytes": %d`, 1+rand.IntN(4000)) }

func poisoned(kind, stream string, attributes func() string) func(*testing.T, site, func()) {
	return func(t *testing.T, s site, noticed func()) {
		remove := s.toxic(t, kind, stream, attributes())
		noticed()
		remove()
	}
}

// noticed gives what waits for an error more, or until over is closed.
func noticed(t *testing.T, errors *atomic.Int64, over <-chan struct{}) func() {
	before := errors.Load()
	return func() {
		eventually(t, "an outage is noticed", func() bool {
			select {
			case <-over:
				return true
			default:
				return errors.Load() > before
			}
		})
	}
}

// shift is callers at work, each with a second for a command.
type shift struct {
	callers        []caller
	counts         []int
	failed         [][]int // numbers of commands
	answers, fails atomic.Int64
	over           chan struct{}
	all            sync.WaitGroup
}

// begin starts a shift. Errors that are no outage fail the test.
func begin(t *testing.T, store *Store) *shift {
	const size = 8
	s := &shift{counts: make([]int, size), failed: make([][]int, size), over: make(chan struct{})}
	for i := range size {
		c := caller{inventory(store), fmt.Sprintf("caller/%d", i)}
		s.callers = append(s.callers, c)
		s.all.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-s.over:
					return
				default:
				}
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				began := time.Now()
				err := c.do(ctx, n)
				cancel()
				if took := time.Since(began); took > 3*time.Second {
					t.Errorf("a caller with a second was answered after %s", took)
				}
				s.counts[i]++
				if err == nil {
					s.answers.Add(1)
					continue
				}
				if !isOutage(err) {
					t.Errorf("command %d of caller %d: %v", n, i, err)
				}
				s.failed[i] = append(s.failed[i], n)
				s.fails.Add(1)
			}
		})
	}
	return s
}

// progress waits for some more answers.
func (s *shift) progress(t *testing.T) {
	t.Helper()
	before := s.answers.Load()
	eventually(t, "callers are answered again", func() bool { return s.answers.Load() >= before+20 })
}

// end repeats what failed, and demands that each command was done once.
func (s *shift) end(t *testing.T, store *Store) {
	t.Helper()
	close(s.over)
	s.all.Wait()
	var all done
	for i, c := range s.callers {
		for _, n := range s.failed[i] {
			if err := c.do(t.Context(), n); err != nil {
				t.Errorf("command %d of caller %d, which failed before: %v", n, i, err)
			}
		}
		all.add(s.counts[i])
	}
	all.want(t, store)
}

func TestNothingIsLostOrDoubledWhen(t *testing.T) {
	t.Parallel()
	times := 3
	if torture {
		times = 50
	}
	shared := onPostgres(t) // of those that harm a connection
	for _, outage := range outages {
		t.Run(outage.name, func(t *testing.T) {
			t.Parallel()
			db := database{cfg: sqldb.Config{Store: sqldb.Location(shared.server.Database())}, server: shared.server}
			if strings.HasPrefix(outage.name, "the server") {
				db = onPostgres(t)
			}
			s := proxied(t, db)
			store := s.open(t, Options{})
			receiveAmple(t, store)
			callers := begin(t, store)
			for range times {
				callers.progress(t)
				outage.strike(t, s, noticed(t, &callers.fails, callers.over))
			}
			callers.progress(t)
			callers.end(t, store)
		})
	}
}

// A caller without a deadline waits as long as the store tries.
func TestALockThatSomebodyHoldsIsWaitedForAWhile(t *testing.T) {
	t.Parallel()
	db := onPostgres(t)
	store := db.open(t, Options{})
	receive(t, store, hotItem, 1)
	free := lock(t, connect(t, db))
	r := domain.Reserve{Lines: one(hotItem, 1), Key: "key"}
	began := time.Now()
	_, err := inventory(store).Reserve(t.Context(), r)
	if took := time.Since(began); fault.CodeOf(err) != fault.Unavailable || took > patience+lockTimeout+2*time.Second {
		t.Errorf("%v after %s, want unavailable after %s", err, took, patience)
	}
	free()
	wantBalance(t, store, hotItem, 1, 1, 0, 0)
	if _, err := inventory(store).Reserve(t.Context(), r); err != nil {
		t.Error(err)
	}
	wantBalance(t, store, hotItem, 1, 0, 1, 0)
}

func TestTheSuccessorOfAProcessKilledWhileItWaitsForALockDoesEachCommandOnce(t *testing.T) {
	t.Parallel()
	db := onPostgres(t)
	store := db.open(t, Options{})
	receiveAmple(t, store)
	pool := connect(t, db)
	waiting := func() (processes int) {
		err := pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&processes)
		if err != nil {
			t.Fatal(err)
		}
		return processes
	}
	times := 3
	if torture {
		times = 50
	}
	var all done
	for n := range times {
		name := fmt.Sprintf("time %d", n)
		worker := startChild(t, db, order{Name: name})
		for range 20 {
			if !worker.next(t) {
				t.Fatal("the child ended by itself")
			}
		}
		free := lock(t, pool)
		eventually(t, "the child waits for the lock", func() bool { return waiting() > 0 })
		if err := worker.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		worker.rest(t)
		worker.wantAnswered(t, store, name)

		var repeated sync.WaitGroup
		repeated.Go(func() { worker.repeat(t, store, name, &all) })
		eventually(t, "the successor waits too, or the dead one has been given up", func() bool { return waiting() > 0 })
		free()
		repeated.Wait()
		worker.wantAnswered(t, store, name)
		all.want(t, store)
	}
}

// small mounts a file system of so many megabytes.
func small(t *testing.T, megabytes int) (dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "small") //nolint:usetesting // the server's own user must reach it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(dir) })
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=0777", megabytes)); err != nil {
		t.Skipf("a small file system cannot be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all the room that there is.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = file.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	_ = file.Close()
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

// On PostgreSQL it is the tables' disk. When that of its log is full the server
// ends, which is an outage like its being killed.
func TestNothingIsLostOrDoubledWhenTheDiskIsFull(t *testing.T) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		dir := small(t, 16)
		fullDisk(t, database{cfg: sqldb.Config{Data: filepath.Join(dir, "data")}}, dir)
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		dir := small(t, 32)
		db := onPostgres(t)
		space := filepath.Join(dir, "space")
		owner, err := os.Stat(db.server.PasswordFile())
		if err == nil {
			err = os.Mkdir(space, 0o700)
		}
		if err == nil {
			of := owner.Sys().(*syscall.Stat_t)
			err = os.Chown(space, int(of.Uid), int(of.Gid))
		}
		if err != nil {
			t.Fatal(err)
		}
		pool := connect(t, db)
		for _, statement := range []string{
			`CREATE TABLESPACE small LOCATION '` + space + `'`,
			`ALTER DATABASE shop1 SET default_tablespace = small`,
		} {
			if _, err := pool.Exec(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		fullDisk(t, db, dir)
	})
}

func fullDisk(t *testing.T, db database, dir string) {
	store := db.open(t, Options{})
	receiveAmple(t, store)
	callers := begin(t, store)
	for range 2 {
		callers.progress(t)
		noticed := noticed(t, &callers.fails, callers.over)
		free := fill(t, dir)
		noticed()
		free()
	}
	callers.progress(t)
	callers.end(t, store)
}

// keep is a toxic that holds back the first that is sent after it is told to,
// until it is let go, also when the sender is gone.
type keep struct{}

var keeping struct {
	next        atomic.Bool
	kept, letGo chan struct{}
}

func (*keep) Pipe(stub *toxics.ToxicStub) {
	for {
		select {
		case <-stub.Interrupt:
			return
		case chunk := <-stub.Input:
			if chunk == nil {
				stub.Close()
				return
			}
			if keeping.next.CompareAndSwap(true, false) {
				close(keeping.kept)
				<-keeping.letGo
			}
			stub.Output <- chunk
		}
	}
}

// A network may deliver what was sent on a connection that its sender knows to be broken.
func TestWhatArrivesLateDoesNothingThatWasRefused(t *testing.T) {
	t.Parallel()
	keeping.kept, keeping.letGo = make(chan struct{}), make(chan struct{})
	toxics.Register("keep", new(keep))
	db := onPostgres(t)
	s := proxied(t, db)
	told := newHearing()
	near, far := db.open(t, Options{}), s.open(t, Options{Changed: told.changed})
	pool := connect(t, db)
	told.listens(t, 1)
	receive(t, near, hotItem, 1)
	r, err := inventory(far).Reserve(t.Context(), domain.Reserve{Lines: one(hotItem, 1)}) // so that the statement is prepared
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing else is to be sent", func() bool { return told.times(hotItem) == 3 }) // near's change; its own, and that heard
	var backend int
	if err := pool.QueryRow(t.Context(), `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%WITH taken%' AND pid <> pg_backend_pid()`).Scan(&backend); err != nil {
		t.Fatal(err)
	}

	s.toxic(t, "keep", "upstream", "")
	keeping.next.Store(true)
	answer := make(chan error)
	go func() {
		_, err := inventory(far).Reserve(t.Context(), domain.Reserve{Lines: one(hotItem, 1), Key: "late"})
		answer <- err
	}()
	<-keeping.kept
	s.toxic(t, "timeout", "downstream", `"timeout": 1`)() // cuts the connections that there are
	refusal := <-answer
	if code := fault.CodeOf(refusal); code != fault.SoldOut && code != fault.OutcomeUnknown {
		t.Fatalf("%v, want sold_out or outcome_unknown", refusal)
	}
	if _, err := inventory(near).Change(t.Context(), domain.Change{ID: r.ID, Step: domain.Release}); err != nil {
		t.Fatal(err)
	}
	close(keeping.letGo)
	eventually(t, "the broken connection has ended", func() (ended bool) {
		err := pool.QueryRow(t.Context(), `SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)`, backend).Scan(&ended)
		return err == nil && ended
	})
	if fault.CodeOf(refusal) == fault.SoldOut {
		wantBalance(t, near, hotItem, 1, 1, 0, 0)
	}
}
