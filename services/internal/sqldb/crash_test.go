package sqldb_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/kiteshop/kiteshop/services/internal/sqldb"
)

// childDir names the directory in the environment of a process that is the test
// binary and writes until it is killed.
const childDir = "SQLDB_TEST_WRITE_UNTIL_KILLED"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		fmt.Fprintln(os.Stderr, writeUntilKilled(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// writeUntilKilled adds an item and two prices at a time and prints the id of
// each item whose Update has returned.
func writeUntilKilled(dir string) error {
	ctx := context.Background()
	db, err := sqldb.Open(ctx, sqldb.Config{Data: dir}, "shop", schema(1))
	if err != nil {
		return err
	}
	var last int64
	if err := sqldb.QueryRow(ctx, db.Read(), `SELECT coalesce(max(id), 0) FROM items`).Scan(&last); err != nil {
		return err
	}
	for id := last + 1; ; id++ {
		err := db.Update(ctx, func(ctx context.Context, tx *sqldb.Tx) error {
			return errors.Join(
				tx.Exec(ctx, `INSERT INTO prices (item, amount) VALUES (?, 1)`, id),
				add(ctx, tx, id, strconv.FormatInt(id, 10)),
				tx.Exec(ctx, `INSERT INTO prices (item, amount) VALUES (?, 2)`, id))
		})
		if err != nil {
			return err
		}
		fmt.Println(id)
	}
}

type child struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

func startChild(t *testing.T, dir string) *child {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = t.Output()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &child{cmd, bufio.NewScanner(stdout)}
}

// next is the id that the child prints next; there is none after its end.
func (c *child) next(t *testing.T) (id int64, ok bool) {
	t.Helper()
	if !c.lines.Scan() {
		return 0, false
	}
	id, err := strconv.ParseInt(c.lines.Text(), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return id, true
}

// kill ends the child in the middle of its work and returns the last id that it printed.
func (c *child) kill(t *testing.T, last int64) int64 {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for id, ok := c.next(t); ok; id, ok = c.next(t) {
		last = id
	}
	if state := c.cmd.Wait(); state == nil || state.Error() != "signal: killed" {
		t.Fatalf("the child ended with %v, want signal: killed", state)
	}
	return last
}

// The kill shows that no commit waits in the process. That it waits for the
// disk too is a pragma: TestEveryConnectionKeepsThePromisesOfTheFile.
func TestWhatUpdateHasCommittedSurvivesAKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var stored int64
	for _, commits := range []int64{1, 17, 40} {
		writer := startChild(t, dir)
		var printed int64
		for range commits {
			id, ok := writer.next(t)
			if !ok {
				t.Fatal("the child ended by itself")
			}
			printed = id
		}
		printed = writer.kill(t, printed)
		if printed < stored+commits {
			t.Fatalf("the child printed %d after %d were stored, and %d times", printed, stored, commits)
		}

		db := openDir(t, dir, schema(1))
		stored = query[int64](t, db.Read(), `SELECT count(*) FROM items`)
		if stored != printed && stored != printed+1 { // the last commit may have been killed before its line
			t.Errorf("%d items are stored after %d were printed", stored, printed)
		}
		if got := query[int64](t, db.Read(), `SELECT coalesce(max(id), 0) FROM items`); got != stored {
			t.Errorf("the ids of %d items end at %d", stored, got)
		}
		if got := query[int64](t, db.Read(), `SELECT count(*) FROM prices JOIN items ON item = id`); got != 2*stored {
			t.Errorf("%d items have %d prices, want two each", stored, got)
		}
		if got := query[string](t, db.Read(), `PRAGMA integrity_check`); got != "ok" {
			t.Errorf("integrity_check = %s", got)
		}
		closeDB(t, db)
	}
}

func TestOpenSaysWhichProcessHoldsTheFileUntilItDies(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writer := startChild(t, dir)
	if _, ok := writer.next(t); !ok {
		t.Fatal("the child ended by itself")
	}
	_, err := sqldb.Open(t.Context(), sqldb.Config{Data: dir}, "shop", schema(1))
	want := fmt.Sprintf("%s is in use by process %d; stop it or give another directory with -data", filepath.Join(dir, "shop.db"), writer.cmd.Process.Pid)
	if err == nil || err.Error() != want {
		t.Errorf("error = %v, want %s", err, want)
	}
	writer.kill(t, 0)
	insert(t, openDir(t, dir, schema(1)), -1, "kite")
}
